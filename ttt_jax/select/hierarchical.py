"""Hierarchical vote: within each group of views first, then between the groups (arXiv 2411.07279, section 3.2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ttt_jax.decode.candidate import Candidate, Ranked
from ttt_jax.select.vote import Tally, tally
from ttt_jax.tasks.task import Domain

IDENTITY = "identity"
PLACES = 3


def hierarchical_vote(candidates: Sequence[Candidate], domain: Domain) -> list[Ranked]:
    """Ranks answers by the votes that groups of views cast for them.

    The groups are all candidates together, and the candidates of each
    `group` (identity and every kind of transform); what each casts is in
    `cast_votes`. Ties go to the answer with more identity votes, then more
    candidates, then the higher mean log-probability, then to the one seen
    first. Answers that no group voted for come last, by the same rules. What
    search found is cast by no group.

    Returns:
      Every distinct answer, best first; the score is the number of votes cast by groups.
    """
    by_group: dict[str, list[Candidate]] = {}
    own = [candidate for candidate in candidates if not candidate.searched]
    for candidate in own:
        by_group.setdefault(candidate.group, []).append(candidate)
    overall = tally(candidates, domain)
    identity = {t.key: t.votes for t in tally(by_group.get(IDENTITY, []), domain)}
    cast: Counter[str] = Counter(cast_votes(tally(own, domain)))
    for members in by_group.values():
        cast.update(cast_votes(tally(members, domain)))
    # A stable sort: what still ties keeps its place in `overall`.
    ranked = sorted(overall, key=lambda t: (-cast[t.key], -identity.get(t.key, 0)))
    return [Ranked(t.answer, t.votes, float(cast[t.key])) for t in ranked]


def cast_votes(group: Sequence[Tally]) -> list[str]:
    """The keys that one group votes for, given its distinct answers, best first.

    Its three best answers get a vote each. With fewer than three, the paper
    fills the places left with a grid of the commonest rows and then one of
    the commonest columns, among answers of the commonest shape. Of at most
    two distinct answers every such row and column is the better answer's
    (ties go to the better ranked), so the places left are more votes for the
    best: a group that agrees weighs more.

    A single prediction agrees with nothing and is cast once (the published
    code casts it three times).
    """
    keys = [t.key for t in group[:PLACES]]
    if sum(t.votes for t in group) <= 1:
        return keys
    return keys + keys[:1] * (PLACES - len(keys))
