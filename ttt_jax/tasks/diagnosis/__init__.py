"""Diagnosis (DiagnosisArena's records, arXiv 2505.14107), and SYNTHETIC cases whose exact posterior is known."""
