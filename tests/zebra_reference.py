"""Two ways to count a puzzle's solutions that share nothing with the SAT encoding."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np

from ttt_jax.tasks.zebra.puzzle import Puzzle, Solution

DISTANCES = {"consecutive": (1,), "beside": (1, -1), "one_between": (2, -2), "two_between": (3, -3)}


def count_by_enumeration(puzzle: Puzzle, without: int | None = None) -> int:
    """Counts among all (N!)^M assignments."""
    houses, attributes = puzzle.size
    orders = np.array(list(permutations(range(houses))), np.int8)
    chosen = np.array(list(product(range(len(orders)), repeat=attributes)), np.int16)
    ok = np.ones(len(chosen), bool)
    for i, clue in enumerate(puzzle.clues):
        if i == without:
            continue
        a = orders[chosen[:, clue.a[0]], clue.a[1]]
        b = clue.house if clue.b is None else orders[chosen[:, clue.b[0]], clue.b[1]]
        match clue.kind:
            case "found_at" | "same_house":
                ok &= a == b
            case "not_at":
                ok &= a != b
            case "left_of":
                ok &= a < b
            case "right_of":
                ok &= a > b
            case kind:
                ok &= np.isin(b - a, DISTANCES[kind])
    return int(ok.sum())


def solutions_by_search(puzzle: Puzzle, limit: int = 2, without: int | None = None) -> list[Solution]:
    """Backtracking over sets of possible houses with arc consistency; at most `limit` solutions."""
    houses, attributes = puzzle.size
    clues = [clue for i, clue in enumerate(puzzle.clues) if i != without]
    found: list[Solution] = []

    def allowed(kind: str, a: int, b: int) -> bool:
        if kind in DISTANCES:
            return b - a in DISTANCES[kind]
        return {"found_at": a == b, "same_house": a == b, "not_at": a != b, "left_of": a < b, "right_of": a > b}[kind]

    def narrow(places: dict) -> bool:
        changed = True
        while changed:
            before = {item: set(p) for item, p in places.items()}
            for clue in clues:
                if clue.b is None:
                    places[clue.a] = {h for h in places[clue.a] if allowed(clue.kind, h, clue.house)}
                    continue
                a, b = places[clue.a], places[clue.b]
                places[clue.a] = {x for x in a if any(allowed(clue.kind, x, y) for y in b)}
                places[clue.b] = {y for y in b if any(allowed(clue.kind, x, y) for x in places[clue.a])}
            for item, p in places.items():
                if len(p) == 1:
                    for other in range(houses):
                        if other != item[1]:
                            places[item[0], other] = places[item[0], other] - p
            if not all(places.values()):
                return False
            changed = before != places
        return True

    def search(places: dict) -> None:
        if len(found) >= limit or not narrow(places):
            return
        open_ = [item for item in places if len(places[item]) > 1]
        if not open_:
            rows = tuple(tuple(next(iter(places[a, v])) for v in range(houses)) for a in range(attributes))
            if all(len(set(row)) == houses for row in rows):
                found.append(rows)
            return
        item = min(open_, key=lambda i: len(places[i]))
        for h in sorted(places[item]):
            search({**{k: set(p) for k, p in places.items()}, item: {h}})

    search({(a, v): set(range(houses)) for a in range(attributes) for v in range(houses)})
    return found
