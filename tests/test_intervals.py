"""Intervals and tests against published values, brute force and scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.evaluate.intervals import bootstrap_mean, mcnemar, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe (1998), table I, method 3: the score method without continuity correction.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_table(successes, n, low, high):
    assert wilson(successes, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 400), data=st.data(), confidence=st.sampled_from([0.8, 0.95, 0.99]))
@settings(max_examples=60, deadline=None)
def test_wilson_equals_scipy(n, data, confidence):
    k = data.draw(st.integers(0, n))
    expected = scipy.stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    low, high = wilson(k, n, confidence)
    assert (low, high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert 0 <= low <= k / n <= high <= 1
    mirrored = wilson(n - k, n, confidence)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high))


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_proportion(successes, n):
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n)


def test_the_bootstrap_finds_the_quantiles_of_all_resamples():
    values = [0.0, 0.5, 1.0, 1.0]
    means = [np.mean(draw) for draw in itertools.product(values, repeat=4)]
    low, high = bootstrap_mean(values, resamples=200_000)
    assert (low, high) == pytest.approx(tuple(np.quantile(means, [0.025, 0.975])), abs=0.01)


def test_the_bootstrap_covers_a_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        low, high = bootstrap_mean(rng.choice([0.0, 0.5, 1.0], 60, p=[0.3, 0.2, 0.5]), resamples=500, seed=trial)
        hits += low <= 0.6 <= high
    assert 0.89 <= hits / 200 <= 0.99


def test_the_bootstrap_depends_on_the_values_alone():
    values = np.random.default_rng(1).random(30)
    assert bootstrap_mean(values) == bootstrap_mean(values[::-1])
    assert bootstrap_mean([0.5] * 7) == (0.5, 0.5)
    with pytest.raises(ValueError, match="bootstrap_mean"):
        bootstrap_mean([])


@given(a=st.integers(0, 60), b=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_mcnemar_is_the_exact_binomial_test(a, b):
    expected = 1.0 if a + b == 0 else scipy.stats.binomtest(a, a + b, 0.5).pvalue
    assert mcnemar(a, b) == pytest.approx(expected)
    assert mcnemar(a, b) == mcnemar(b, a)


def test_mcnemar_by_hand():
    assert mcnemar(0, 5) == pytest.approx(2 / 32)
    assert mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 64)
