"""Numbers of the process, on chains counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from ttt_jax.process.metrics import Chain, agreement, process_rates, processbench
from ttt_jax.process.steps import (
    CONTRADICTS_PROBLEM,
    CONTRADICTS_STEP,
    NOT_ENTAILED,
    UNKNOWN_PREMISE,
    UNREADABLE,
    VALID,
    wrong,
)


def chain(*reasons: str, right: bool = True) -> Chain:
    return Chain(tuple(wrong(r) if r else VALID for r in reasons), right)


CHAINS = [
    chain("", "", ""),
    chain("", NOT_ENTAILED, CONTRADICTS_PROBLEM, ""),
    chain(UNREADABLE, UNKNOWN_PREMISE, CONTRADICTS_STEP, "", right=False),
    chain(),
]


def test_process_rates_are_means_over_chains():
    found = process_rates(CHAINS)
    value = {name: of["value"] for name, of in found.items() if name != "first_errors"}
    assert value["step_validity"] == pytest.approx((1 + 0.5 + 0.25 + 0) / 4)
    assert value["contradictions"] == pytest.approx((0 + 0.25 + 0.25 + 0) / 4)
    assert value["coherence"] == pytest.approx((1 + 1 + 0.25 + 0) / 4)
    assert value["valid_chains"] == 0.25 and value["no_steps"] == 0.25 and value["length"] == pytest.approx(11 / 4)
    # Three answers are right: one by a valid chain, one by a wrong step, one without any.
    assert value["right_by_invalid"] == pytest.approx(2 / 3) and found["right_by_invalid"]["n"] == 3
    assert found["first_errors"] == {NOT_ENTAILED: 1, UNREADABLE: 1}
    assert process_rates([CHAINS[2]])["right_by_invalid"] is None
    with pytest.raises(ValueError, match="no chains"):
        process_rates([])


def test_processbench_is_the_harmonic_mean_of_both_accuracies():
    labels = [-1, -1, -1, -1, 0, 2, 3]
    found = processbench([-1, -1, -1, 1, 0, 2, -1], labels)
    assert found["correct"]["value"] == 0.75 and found["error"]["value"] == pytest.approx(2 / 3)
    assert found["f1"] == pytest.approx(2 * 0.75 * (2 / 3) / (0.75 + 2 / 3))
    assert processbench(labels, labels)["f1"] == 1.0
    assert processbench([5] * 7, labels)["f1"] == 0.0
    assert processbench([-1], [-1])["f1"] is None and processbench([-1], [-1])["error"] is None
    with pytest.raises(ValueError):
        processbench([1], [1, 2])


def test_agreement_counts_steps_after_an_error_as_bad():
    chains = [chain("", "", ""), chain("", NOT_ENTAILED, "")]
    found = agreement(chains, [[1.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
    # exact: + + + | + - -, roll-outs: + + - | + + -
    assert found["agreement"]["value"] == pytest.approx(4 / 6)
    assert (found["false_good"], found["false_bad"]) == (1, 1)
    assert found["kappa"] == pytest.approx((4 / 6 - 20 / 36) / (1 - 20 / 36))
    assert agreement(chains, [[1.0, 1.0, 0.9], [0.9, 0.5, 0.0]], threshold=0.6)["agreement"]["value"] == 1.0
    assert agreement([chain("")], [[1.0]])["kappa"] is None
    with pytest.raises(ValueError, match="no steps"):
        agreement([chain()], [[]])


def test_perfect_roll_outs_of_a_deterministic_solver_agree_with_the_verifier():
    rng = np.random.default_rng(0)
    chains, fractions = [], []
    for _ in range(20):
        bad = int(rng.integers(-1, 4))
        c = chain(*[NOT_ENTAILED if i == bad else "" for i in range(4)])
        chains.append(c)
        fractions.append([float(not 0 <= bad <= i) for i in range(4)])
    assert agreement(chains, fractions)["agreement"]["value"] == 1.0
