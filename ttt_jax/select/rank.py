"""The one entry to selection: candidates of one query in, ranked answers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ttt_jax.decode.candidate import Candidate, Ranked
from ttt_jax.select.hierarchical import hierarchical_vote
from ttt_jax.select.likelihood import product_of_experts
from ttt_jax.select.vote import flat_vote
from ttt_jax.tasks.task import Domain

METHODS = ("vote", "hierarchical_vote", "product_of_experts")


def rank(
    candidates: Sequence[Candidate],
    method: str,
    domain: Domain,
    *,
    scores: Mapping[str, float] | None = None,
) -> list[Ranked]:
    """Every distinct answer to one query, best first; a submission takes as many as it has attempts.

    Args:
      candidates: of one query; those that did not parse are passed over.
      method: one of `METHODS`.
      domain: compares answers.
      scores: for product_of_experts only: `decode.score.score_candidates`'s
        sums, by `domain.key` of the answer.

    Raises:
      ValueError: for an unknown method, for candidates of several queries,
        or where product_of_experts has no scores.
    """
    if method == "vote":
        return flat_vote(candidates, domain)
    if method == "hierarchical_vote":
        return hierarchical_vote(candidates, domain)
    if method == "product_of_experts":
        if scores is None:
            raise ValueError("select.method product_of_experts ranks by scores: pass those of score_candidates")
        return product_of_experts(candidates, domain, scores)
    raise ValueError(f"select.method {method!r} is not one of {', '.join(METHODS)}")
