"""The process beside the answer: steps, checked one by one by exact verifiers."""
