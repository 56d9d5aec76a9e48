"""Logic-grid puzzles (ZebraLogic, arXiv 2502.01100): generated, solved and proved unique exactly."""
