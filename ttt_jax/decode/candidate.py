"""One decoded answer, as it is kept on disk and handed to selection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

JudgedStep = tuple[str, str, str]
"""A step as it was written, why it is wrong ("" where it is valid; `process.steps.REASONS`), and what exactly is."""


@dataclass(frozen=True)
class Candidate:
    """An answer decoded from one view and mapped back to the task as given.

    Attributes:
      query: index of the query in the task.
      view: name of the view's transform.
      group: group of the view in the hierarchical vote.
      sample: which completion of that view.
      tokens: the generated tokens, the stop token included where it came.
      logprob: sum of the tokens' log-probabilities under the model (nats,
        temperature 1, no grammar mask).
      answer: the answer in the task's own frame, None where it did not parse.
      searched: found by search, beside the greedy answer of its view.
      steps: the steps towards it, verified; None where none were asked for.
    """

    query: int
    view: str
    group: str
    sample: int
    tokens: tuple[int, ...]
    logprob: float
    answer: Any | None
    searched: bool = False
    steps: tuple[JudgedStep, ...] | None = None


Scores = Mapping[str, Sequence[float]]
"""Of one query: by `domain.key` of an answer, its log-probability in nats under each of several views."""


@dataclass(frozen=True)
class Ranked:
    """One answer to one query, after selection; lists of these are best first.

    Attributes:
      answer: in the task's own frame.
      votes: how many candidates gave it.
      score: what it was ranked by: votes (vote), groups (hierarchical_vote)
        or, by the other methods, what `select.likelihood` makes of its
        likelihoods (None where the answer was not among the scored ones).
    """

    answer: Any
    votes: int
    score: float | None
