"""Confidence intervals and tests of what a run measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike


def wilson(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion, both ends within [0, 1].

    E. B. Wilson, JASA 22 (1927), 209-212; without continuity correction: method
    3 of R. G. Newcombe, Statistics in Medicine 17 (1998), 857-872.

    Raises:
      ValueError: unless 0 <= successes <= n and n > 0.
    """
    if n <= 0 or not 0 <= successes <= n:
        raise ValueError(f"wilson: {successes} successes of {n} are no proportion")
    z2 = NormalDist().inv_cdf((1 + confidence) / 2) ** 2
    p = successes / n
    centre = p + z2 / (2 * n)
    half = math.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    low, high = (centre - half) / (1 + z2 / n), (centre + half) / (1 + z2 / n)
    # Exact where rounding would leave 1e-17 of the end of the range.
    return (0.0 if successes == 0 else max(low, 0.0)), (1.0 if successes == n else min(high, 1.0))


def bootstrap_mean(
    values: ArrayLike, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean (Efron and Tibshirani 1993, chapter 13).

    Args:
      values: [n], one number a task; resampled with replacement.
      confidence: coverage aimed at.
      resamples: how many means are drawn.
      seed: of the draw: the same values give the same interval.

    Raises:
      ValueError: without values.
    """
    x = np.asarray(values, np.float64)
    if x.ndim != 1 or not x.size:
        raise ValueError(f"bootstrap_mean: expected numbers [n], found shape {x.shape}")
    rng = np.random.default_rng(seed)
    # Equal values are drawn together: the count of each is multinomial.
    distinct, counts = np.unique(x, return_counts=True)
    means = rng.multinomial(x.size, counts / x.size, size=resamples) @ distinct / x.size
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def proportion(values: Sequence[bool]) -> dict[str, float]:
    """{"value", "low", "high", "n"}: the share of true ones with Wilson's 95% interval. Raises ValueError of none."""
    low, high = wilson(sum(values), len(values))
    return {"value": sum(values) / len(values), "low": low, "high": high, "n": len(values)}


def mean(values: Sequence[float]) -> dict[str, float]:
    """{"value", "low", "high", "n"}: the mean with its 95% bootstrap interval. Raises ValueError without values."""
    low, high = bootstrap_mean(values)
    return {"value": math.fsum(values) / len(values), "low": low, "high": high, "n": len(values)}


def mcnemar(only_a: int, only_b: int) -> float:
    """Exact two-sided p value of McNemar's test.

    Q. McNemar, Psychometrika 12 (1947), 153-157, with the binomial distribution:
    where two ways are equally good, each task that only one of them solves is a
    fair coin.

    Args:
      only_a: tasks that only the first solves.
      only_b: tasks that only the second solves.
    """
    n, fewer = only_a + only_b, min(only_a, only_b)
    tail = sum(math.comb(n, i) for i in range(fewer + 1))
    return min(1.0, 2 * tail / 2**n)
