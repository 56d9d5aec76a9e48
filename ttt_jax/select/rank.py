"""The one entry to selection: candidates of one query in, ranked answers out."""

from __future__ import annotations

from collections.abc import Sequence

from ttt_jax.decode.candidate import Candidate, Ranked, Scores
from ttt_jax.select.hierarchical import hierarchical_vote
from ttt_jax.select.likelihood import (
    calibrated_experts,
    mixture_of_experts,
    product_of_experts,
    vote_and_likelihood,
)
from ttt_jax.select.vote import flat_vote
from ttt_jax.tasks.task import Domain

VOTES = {"vote": flat_vote, "hierarchical_vote": hierarchical_vote}
SCORED = {
    "product_of_experts": product_of_experts,
    "mixture_of_experts": mixture_of_experts,
    "calibrated_experts": calibrated_experts,
    "vote_and_likelihood": vote_and_likelihood,
}
"""Methods that need the likelihoods of candidates."""
METHODS = (*VOTES, *SCORED)


def rank(
    candidates: Sequence[Candidate],
    method: str,
    domain: Domain,
    *,
    scores: Scores | None = None,
) -> list[Ranked]:
    """Every distinct answer to one query, best first; a submission takes as many as it has attempts.

    Args:
      candidates: of one query; those that did not parse are passed over.
      method: one of `METHODS`.
      domain: compares answers.
      scores: for `SCORED` methods: what `decode.score.score_candidates` found.

    Raises:
      ValueError: for an unknown method, for candidates of several queries,
        or where a method has no scores that needs them.
    """
    if method in VOTES:
        return VOTES[method](candidates, domain)
    if method in SCORED:
        if scores is None:
            raise ValueError(f"select.method {method} ranks by scores: pass those of score_candidates")
        return SCORED[method](candidates, domain, scores)
    raise ValueError(f"select.method {method!r} is not one of {', '.join(METHODS)}")
