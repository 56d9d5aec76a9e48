"""How good chains of steps are, and how well somebody finds their errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ttt_jax.evaluate.intervals import mean, proportion
from ttt_jax.process.steps import (
    CONTRADICTS_PROBLEM,
    CONTRADICTS_STEP,
    UNKNOWN_PREMISE,
    UNREADABLE,
    Verdict,
    first_error,
)


@dataclass(frozen=True)
class Chain:
    """One chain, judged.

    Attributes:
      verdicts: one a step.
      right: whether the answer at its end is right.
    """

    verdicts: tuple[Verdict, ...]
    right: bool

    @property
    def first_error(self) -> int:
        return first_error(self.verdicts)

    def share(self, test: Callable[[Verdict], bool]) -> float:
        """Of the steps, how many pass a test; 0 of a chain without steps."""
        return sum(map(test, self.verdicts)) / len(self.verdicts) if self.verdicts else 0.0


def process_rates(chains: Sequence[Chain]) -> dict[str, Any]:
    """What metrics.json says of the process; shares are means over chains, with 95% intervals.

      step_validity     share of valid steps
      contradictions    share of steps that deny the problem or an earlier step
      coherence         share of steps that can be read, whose premises are established, and that deny no earlier step
      valid_chains      share of chains with steps, all of them valid
      no_steps          share of chains without steps
      right_by_invalid  of the chains whose answer is right, the share with no steps or a wrong one
      length            mean number of steps
      first_errors      reason -> in how many chains it is that of the first wrong step

    Raises:
      ValueError: without chains.
    """
    if not chains:
        raise ValueError("process_rates: there are no chains")
    incoherent = (UNREADABLE, UNKNOWN_PREMISE, CONTRADICTS_STEP)
    valid = [bool(chain.verdicts) and chain.first_error < 0 for chain in chains]
    right = [ok for ok, chain in zip(valid, chains, strict=True) if chain.right]
    return {
        "step_validity": mean([chain.share(lambda v: v.ok) for chain in chains]),
        "contradictions": mean(
            [chain.share(lambda v: v.reason in (CONTRADICTS_PROBLEM, CONTRADICTS_STEP)) for chain in chains]
        ),
        "coherence": mean([chain.share(lambda v: v.reason not in incoherent) for chain in chains]),
        "valid_chains": proportion(valid),
        "no_steps": proportion([not chain.verdicts for chain in chains]),
        "right_by_invalid": proportion([not ok for ok in right]) if right else None,
        "length": mean([len(chain.verdicts) for chain in chains]),
        "first_errors": dict(Counter(c.verdicts[c.first_error].reason for c in chains if c.first_error >= 0)),
    }


def processbench(predicted: Sequence[int], labels: Sequence[int]) -> dict[str, Any]:
    """Finding first errors, as ProcessBench counts it (arXiv 2412.06559).

    Args:
      predicted: for each chain the index of the step judged first wrong, -1 for none.
      labels: the true ones.

    Returns:
      "error" and "correct": accuracy over chains with and without an error;
      "f1": their harmonic mean; "accuracy": over all. None where there are no such chains.
    """
    pairs = list(zip(predicted, labels, strict=True))
    parts = {
        "error": [p == label for p, label in pairs if label >= 0],
        "correct": [p == label for p, label in pairs if label < 0],
    }
    found: dict[str, Any] = {name: proportion(of) if of else None for name, of in parts.items()}
    f1 = None
    if all(parts.values()):
        a, b = found["error"]["value"], found["correct"]["value"]
        f1 = 2 * a * b / (a + b) if a + b else 0.0
    return {**found, "f1": f1, "accuracy": proportion([p == label for p, label in pairs]) if pairs else None}


def agreement(chains: Sequence[Chain], fractions: Sequence[Sequence[float]], threshold: float = 0.0) -> dict[str, Any]:
    """How far roll-outs tell what the verifier knows.

    A step counts as good to the verifier where it and all steps before it are
    valid, and to the roll-outs where more than `threshold` of them end right.

    Returns:
      "agreement" over all steps, "kappa" (Cohen 1960; None where either says
      the same of all), and "false_good" and "false_bad": how many steps only
      the roll-outs, or only the verifier, find good.
    """
    exact, sampled = [], []
    for chain, of in zip(chains, fractions, strict=True):
        end = chain.first_error if chain.first_error >= 0 else len(chain.verdicts)
        exact += [i < end for i in range(len(chain.verdicts))]
        sampled += [x > threshold for x in of]
    if not exact:
        raise ValueError("agreement: there are no steps")
    pairs = list(zip(exact, sampled, strict=True))
    same = [a == b for a, b in pairs]
    p, q = sum(exact) / len(exact), sum(sampled) / len(sampled)
    chance = p * q + (1 - p) * (1 - q)
    return {
        "agreement": proportion(same),
        "kappa": (sum(same) / len(same) - chance) / (1 - chance) if chance < 1 and 0 < p < 1 and 0 < q < 1 else None,
        "false_good": sum(b and not a for a, b in pairs),
        "false_bad": sum(a and not b for a, b in pairs),
    }
