"""Hierarchical vote: within each group of views first, then between the groups (arXiv 2411.07279, section 3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from ttt_jax.decode.candidate import Candidate, Ranked
from ttt_jax.select.vote import Tally, tally
from ttt_jax.tasks.task import Domain

IDENTITY = "identity"
CANDIDATES_PER_GROUP = 3


def hierarchical_vote(candidates: Sequence[Candidate], domain: Domain) -> list[Ranked]:
    """Ranks answers by how many groups put them forward.

    The groups are all candidates together, and the candidates of each
    `group` (identity and every kind of transform). A group puts forward its
    three most voted answers; where it has fewer, a grid of the majority of
    their rows and then one of the majority of their columns take the missing
    places (`majority_grids`), unless they repeat an answer that is there.

    Ties between groups' counts go to the answer with more identity votes,
    then more votes in all, then the higher mean log-probability, then the one
    seen first. Answers that no group put forward follow in vote order.

    Returns:
      Ranked answers whose score is the number of groups that put them forward;
      a majority grid that no candidate gave has `votes == 0`.
    """
    overall = tally(candidates, domain)
    by_group: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_group.setdefault(candidate.group, []).append(candidate)
    groups = [overall] + [tally(members, domain) for _, members in sorted(by_group.items())]

    known = {t.key: t for t in overall}
    answers = {t.key: t.answer for t in overall}
    forwarded: Counter[str] = Counter()
    for group in groups:
        chosen = {t.key: t.answer for t in group[:CANDIDATES_PER_GROUP]}
        for grid in majority_grids(group):
            if len(chosen) < CANDIDATES_PER_GROUP:
                chosen.setdefault(domain.key(grid), grid)
        forwarded.update(list(chosen))  # the mapping itself would add its values
        answers = {**chosen, **answers}

    identity_votes = {t.key: t.votes for t in tally(by_group.get(IDENTITY, []), domain)}
    seen = {t.key: place for place, t in enumerate(overall)}

    def order(key: str) -> tuple[float, ...]:
        # `overall` is sorted by votes and log-probability already; majority grids come after it.
        return -forwarded[key], -identity_votes.get(key, 0), seen.get(key, len(seen))

    # Keys that tie to the end are majority grids without a vote: the content decides.
    ranked = sorted(answers, key=lambda key: (order(key), key))
    return [Ranked(answers[k], known[k].votes if k in known else 0, float(forwarded[k])) for k in ranked]


def majority_grids(tallies: Sequence[Tally]) -> list[Any]:
    """Grids put together from the votes of one group: by rows, then by columns.

    Only grids of the commonest shape take part, each as often as it was
    voted for. Row i of the first grid is the commonest row i, column j of the
    second the commonest column j; ties, also between shapes, go to the better
    ranked answer. Answers that are not 2-D arrays give nothing.
    """
    if not all(isinstance(t.answer, np.ndarray) and t.answer.ndim == 2 for t in tallies):
        return []
    shapes: Counter[tuple[int, ...]] = Counter()
    for t in tallies:
        shapes[t.answer.shape] += t.votes
    if not shapes:
        return []
    # most_common keeps the order of insertion among equals, and tallies are best first.
    shape = shapes.most_common(1)[0][0]
    grids = [(t.answer, t.votes) for t in tallies if t.answer.shape == shape]
    by_rows = _majority_rows(grids)
    by_columns = _majority_rows([(grid.T, votes) for grid, votes in grids]).T
    return [by_rows, by_columns]


def _majority_rows(grids: Sequence[tuple[np.ndarray, int]]) -> np.ndarray:
    height = grids[0][0].shape[0]
    rows = []
    for i in range(height):
        votes: Counter[tuple[int, ...]] = Counter()
        for grid, count in grids:
            votes[tuple(grid[i].tolist())] += count
        rows.append(votes.most_common(1)[0][0])
    return np.array(rows, dtype=grids[0][0].dtype)
