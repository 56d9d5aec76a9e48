"""Counting votes: the flat vote, and the tally that every other method starts from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ttt_jax.decode.candidate import Candidate, Ranked
from ttt_jax.tasks.task import Domain


@dataclass(frozen=True)
class Tally:
    """One distinct answer and what the candidates that gave it amount to.

    Attributes:
      key: `domain.key(answer)`.
      answer: as the first of those candidates gave it.
      votes: how many candidates gave it.
      greedy: how many of these search did not find: the views, or samples, that wrote it of themselves.
      mean_logprob: mean of their log-probabilities (nats). Between answers of
        equal votes this orders like their sum, the product of the
        probabilities that the views gave.
    """

    key: str
    answer: Any
    votes: int
    greedy: int
    mean_logprob: float


def tally(candidates: Sequence[Candidate], domain: Domain) -> list[Tally]:
    """The distinct answers of one query, best first.

    More votes win: those of the views' own answers first, then those of what
    search found beside them. Ties go to the higher mean log-probability, then to
    the answer seen first. Candidates that did not parse have no vote.

    Raises:
      ValueError: where the candidates belong to more than one query.
    """
    queries = sorted({c.query for c in candidates})
    if len(queries) > 1:
        raise ValueError(f"candidates of queries {queries} given together; rank each query by itself")
    supporters: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        if candidate.answer is not None:
            supporters.setdefault(domain.key(candidate.answer), []).append(candidate)
    tallies = [
        # fsum is exact, so the order in which candidates arrive cannot decide a tie.
        Tally(
            key, same[0].answer, len(same), sum(not c.searched for c in same),
            math.fsum(c.logprob for c in same) / len(same),
        )
        for key, same in supporters.items()
    ]  # fmt: skip
    return sorted(tallies, key=lambda t: (-t.greedy, -t.votes, -t.mean_logprob))


def flat_vote(candidates: Sequence[Candidate], domain: Domain) -> list[Ranked]:
    """Every distinct answer, ranked as `tally` orders them; the score is the votes that search did not add."""
    return [Ranked(t.answer, t.votes, float(t.greedy)) for t in tally(candidates, domain)]
