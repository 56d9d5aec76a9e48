"""Where accuracy falls below one half as problems get harder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def threshold(x: Sequence[float], right: Sequence[bool], resamples: int = 400, seed: int = 0) -> dict[str, Any]:
    """Where accuracy crosses 50%: a logistic curve, with a 95% bootstrap interval.

    Args:
      x: [n] difficulty: level, log10 of the search space, nodes.
      right: [n].
      resamples: of the answers, with replacement.
      seed: of the resamples.

    Returns:
      {"at_50", "low", "high", "n"}; None for all where answers do not get
      worse with difficulty, or are all right or all wrong. An end of the
      interval is None where more than 2.5% of the resamples have no crossing.
    """
    a, b = np.asarray(x, float), np.asarray(right, float)
    found: dict[str, Any] = {"at_50": _crossing(a, b), "low": None, "high": None, "n": len(a)}
    if found["at_50"] is None:
        return found
    rng = np.random.default_rng(seed)
    drawn = [_crossing(a[i], b[i]) for i in rng.integers(len(a), size=(resamples, len(a)))]
    known = [value for value in drawn if value is not None]
    if len(known) >= 0.975 * resamples:
        found["low"], found["high"] = (float(q) for q in np.quantile(known, [0.025, 0.975]))
    return found


def _crossing(x: np.ndarray, y: np.ndarray, ridge: float = 1e-3) -> float | None:
    """-intercept / slope of a logistic regression (Newton's method, with a little ridge on the slope)."""
    if not len(x) or y.min() == y.max() or x.min() == x.max():
        return None
    middle, scale = x.mean(), x.std()
    design = np.stack([np.ones_like(x), (x - middle) / scale], 1)
    weights = np.zeros(2)
    penalty = np.diag([0.0, ridge * len(x)])
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30, 30)))
        slope = design.T @ (y - p) - penalty @ weights
        curvature = (design * (p * (1 - p))[:, None]).T @ design + penalty + 1e-9 * np.eye(2)
        move = np.linalg.solve(curvature, slope)
        weights += move
        if abs(move).max() < 1e-8:
            break
    return float(middle - scale * weights[0] / weights[1]) if weights[1] < 0 else None
