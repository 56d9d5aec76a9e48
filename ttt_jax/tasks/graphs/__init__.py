"""Thirteen graph tasks (GraphPRM, arXiv 2503.00845): generated, solved by networkx, answers checked by property."""
