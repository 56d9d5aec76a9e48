"""Chains of steps: the protocol of a verifier, and how steps stand in a text.

A step is one line, "Step 3: ...". A verifier goes through a chain from the
front. What a step may rest on is what earlier steps established: steps that
were wrong establish nothing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

MAX_STEPS = 500
MAX_CHARACTERS = 4000
"""Of an enormous answer, so many steps of so many characters each are read."""

UNREADABLE = "unreadable"
UNKNOWN_PREMISE = "unknown_premise"
CONTRADICTS_STEP = "contradicts_step"
CONTRADICTS_PROBLEM = "contradicts_problem"
NOT_ENTAILED = "not_entailed"
REASONS = (UNREADABLE, UNKNOWN_PREMISE, CONTRADICTS_STEP, CONTRADICTS_PROBLEM, NOT_ENTAILED)
"""Why a step is wrong, the first that applies: it cannot be read; it rests on what no clue says and no valid step
established; it denies what an earlier step said; it denies the problem; it does not follow (yet)."""


@dataclass(frozen=True)
class Verdict:
    """Whether a step is valid; else one of REASONS, and what exactly is wrong."""

    ok: bool
    reason: str = ""
    detail: str = ""


VALID = Verdict(True)


def wrong(reason: str, detail: str = "") -> Verdict:
    return Verdict(False, reason, detail)


class Process(Protocol):
    """The process of one domain."""

    def verify(self, problem: Any, chain: Sequence[str]) -> list[Verdict]:
        """A verdict for every step of a chain."""
        ...

    def oracle_trace(self, problem: Any) -> list[str]:
        """A valid chain that ends with the answer. Raises ValueError where the problem has none."""
        ...

    def corrupt(self, problem: Any, trace: Sequence[str], rng: np.random.Generator) -> tuple[list[str], int]:
        """A valid chain made wrong, and the index of its first wrong step.

        Raises:
          ValueError: the chain is not valid, or nothing in it can be made wrong.
        """
        ...


def steps(text: str) -> list[str]:
    """The steps of a text, without their numbers."""
    found = re.findall(r"^[ \t]*step[ \t]+\d{1,4}[ \t]*[:.][ \t]*(\S.*?)[ \t]*$", text, re.IGNORECASE | re.MULTILINE)
    return [step[:MAX_CHARACTERS] for step in found[:MAX_STEPS]]


def write_steps(chain: Sequence[str]) -> str:
    """The inverse of `steps`, one line a step."""
    return "".join(f"Step {i}: {step}\n" for i, step in enumerate(chain, 1))


def verify_step(process: Process, problem: Any, prefix: Sequence[str], step: str) -> Verdict:
    """Whether a step is valid after the steps before it."""
    return process.verify(problem, [*prefix, step])[-1]


def first_error(verdicts: Sequence[Verdict]) -> int:
    """Index of the first wrong step, -1 where all are valid."""
    return next((i for i, verdict in enumerate(verdicts) if not verdict.ok), -1)


def corrupted(
    process: Process, problem: Any, trace: Sequence[str], attempts: Any, tries: int = 200
) -> tuple[list[str], int]:
    """The first of several changed chains that the verifier finds wrong.

    Args:
      process: its verifier decides which step is the first wrong one.
      problem: of the chain.
      trace: a valid chain.
      attempts: called again and again for another changed chain, or None.
      tries: how often.
    """
    if (bad := first_error(process.verify(problem, trace))) >= 0:
        raise ValueError(f"corrupt: step {bad + 1} of the chain is wrong already")
    for _ in range(tries):
        changed = attempts()
        if changed and (bad := first_error(process.verify(problem, changed))) >= 0:
            return changed, bad
    raise ValueError(f"corrupt: {tries} changes left the chain valid")
