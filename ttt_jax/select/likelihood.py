"""Product of experts: answers ranked by their likelihood under every view (see `decode.score`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ttt_jax.decode.candidate import Candidate, Ranked
from ttt_jax.select.vote import tally
from ttt_jax.tasks.task import Domain


def most_voted(candidates: Sequence[Candidate], domain: Domain, limit: int) -> list[Any]:
    """The answers to one query that are worth scoring: the first `limit` of the flat vote."""
    return [t.answer for t in tally(candidates, domain)[:limit]]


def product_of_experts(candidates: Sequence[Candidate], domain: Domain, scores: Mapping[str, float]) -> list[Ranked]:
    """Ranks answers by the sum over views of their log-probability (Franzen et al., ICML 2025).

    Args:
      candidates: of one query.
      domain: gives answers their keys.
      scores: summed log-probability in nats of each scored answer, by `domain.key`.

    Returns:
      Scored answers, the likeliest first (ties in vote order), then the
      others in vote order with `score` None.
    """
    in_vote_order = tally(candidates, domain)
    scored = [t for t in in_vote_order if t.key in scores]
    rest = [t for t in in_vote_order if t.key not in scores]
    scored.sort(key=lambda t: -scores[t.key])
    return [Ranked(t.answer, t.votes, scores.get(t.key)) for t in scored + rest]
