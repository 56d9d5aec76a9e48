"""Answers ranked by how likely the model finds them under many views (the likelihoods are `decode.score`'s)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from ttt_jax.decode.candidate import Candidate, Ranked, Scores
from ttt_jax.select.vote import Tally, tally
from ttt_jax.tasks.task import Domain


def likeliest(candidates: Sequence[Candidate], domain: Domain, limit: int) -> list[Any]:
    """The answers to one query that are worth scoring: the first `limit` by probability, summed over views.

    That is over the views that gave them. Not by votes: what search finds under
    many views may have been the greedy answer of none.
    """
    nats: dict[str, list[float]] = {}
    for candidate in candidates:
        if candidate.answer is not None:
            nats.setdefault(domain.key(candidate.answer), []).append(candidate.logprob)
    # A stable sort: between equals the order of the vote.
    ranked = sorted(tally(candidates, domain), key=lambda t: -_log_sum(nats[t.key]))
    return [t.answer for t in ranked[:limit]]


def product_of_experts(candidates: Sequence[Candidate], domain: Domain, scores: Scores) -> list[Ranked]:
    """Ranks answers by the sum over views of their log-probability (Franzen et al., ICML 2025).

    Args:
      candidates: of one query.
      domain: gives answers their keys.
      scores: of the scored answers.

    Returns:
      Scored answers, best first (ties in vote order), then the others in vote
      order with `score` None.
    """
    return _ranked(candidates, domain, scores, lambda answer, nats: math.fsum(nats))


def mixture_of_experts(candidates: Sequence[Candidate], domain: Domain, scores: Scores) -> list[Ranked]:
    """Ranks answers by their mean probability over views (the score is its logarithm): one view that cannot
    follow an answer does not count against it. Arguments and order as for `product_of_experts`."""
    return _ranked(candidates, domain, scores, lambda answer, nats: _log_sum(nats) - math.log(len(nats)))


def calibrated_experts(candidates: Sequence[Candidate], domain: Domain, scores: Scores) -> list[Ranked]:
    """Ranks answers by their mean share over views: each view's probabilities are divided by their sum over answers.

    So a view that finds every answer unlikely says as much as any other, and
    none can rule an answer out by itself. Arguments and order as for `product_of_experts`.
    """
    sums = [_log_sum(of_view) for of_view in zip(*map(_numbers, scores.values()), strict=True)]

    def share(answer: Tally, nats: Sequence[float]) -> float:
        known = [math.exp(x - total) for x, total in zip(nats, sums, strict=True) if math.isfinite(total)]
        return math.fsum(known) / len(nats)

    return _ranked(candidates, domain, scores, share)


def vote_and_likelihood(candidates: Sequence[Candidate], domain: Domain, scores: Scores) -> list[Ranked]:
    """Ranks answers by votes plus mean log-probability over views, as NVARC did for ARC Prize 2025.

    A vote is a candidate, whether greedy or found by search. Arguments and order as for `product_of_experts`.
    """
    return _ranked(candidates, domain, scores, lambda answer, nats: answer.votes + math.fsum(nats) / len(nats))


def _ranked(
    candidates: Sequence[Candidate],
    domain: Domain,
    scores: Scores,
    score: Callable[[Tally, Sequence[float]], float],
) -> list[Ranked]:
    in_vote_order = tally(candidates, domain)
    scored = [Ranked(t.answer, t.votes, score(t, _numbers(scores[t.key]))) for t in in_vote_order if scores.get(t.key)]
    rest = [Ranked(t.answer, t.votes, None) for t in in_vote_order if not scores.get(t.key)]
    return sorted(scored, key=lambda r: -(r.score or 0.0)) + rest


def _log_sum(nats: Sequence[float]) -> float:
    """log of the sum of exp; fsum, so that the order of views or candidates decides nothing."""
    most = max(nats, default=-math.inf)
    return most + math.log(math.fsum(math.exp(x - most) for x in nats)) if math.isfinite(most) else -math.inf


def _numbers(nats: Sequence[float]) -> list[float]:
    """A likelihood that is no number is the worst."""
    return [-math.inf if math.isnan(x) else x for x in nats]
