"""Answers of logic grids: how they are asked for, written, read and compared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from ttt_jax.tasks.last_json import last_json
from ttt_jax.tasks.zebra.puzzle import Puzzle

Answer = dict[str, dict[str, str]]
"""{"House 1": {attribute: value}}."""

WORKED_EXAMPLE = """\
# Example

There are 3 houses, numbered 1 to 3 from left to right, as seen from across the street. \
Each house is occupied by a different person. \
Each house has a unique attribute for each of the following characteristics:
 - Each person has a unique name: `Ada`, `Ben`, `Cleo`
 - Each person bakes a cake: `carrot`, `lemon`, `plum`

## Clues:
1. The person who bakes the lemon cake is directly left of Cleo.
2. Ada is not in the first house.
3. Ben is the person who bakes the lemon cake.
4. The person who bakes the carrot cake is in the third house.

{"reasoning": "Clues 1 and 3 put Ben directly left of Cleo, so Ben is in house 1 or 2. If he were in house 2, \
Ada would be in house 1, which clue 2 excludes. So Ben is in house 1 with the lemon cake, Cleo in house 2 and \
Ada in house 3. Clue 4 gives Ada the carrot cake, which leaves plum for Cleo.", \
"solution": {"House 1": {"Name": "Ben", "Cake": "lemon"}, \
"House 2": {"Name": "Cleo", "Cake": "plum"}, "House 3": {"Name": "Ada", "Cake": "carrot"}}}

"""


def template(puzzle: Puzzle, reasoning: bool = True) -> str:
    """The JSON that an answer fills in, with room for the reasoning where it is to stand inside."""
    house = {attribute.name: "___" for attribute in puzzle.attributes}
    houses = {f"House {h + 1}": house for h in range(puzzle.houses)}
    return json.dumps({**({"reasoning": "___"} if reasoning else {}), "solution": houses}, ensure_ascii=False)


def write_answer(answer: Answer) -> str:
    return json.dumps({"solution": answer}, ensure_ascii=False)


def read_answer(text: str) -> Answer | None:
    """The solution in the last complete JSON object of a text, with or without the "solution" around it.

    None where there is no such object, or it has no house. Cells that are no text are left out.
    """
    found = last_json(text)
    return None if found is None else as_answer(found.get("solution", found))


def as_answer(value: Any) -> Answer | None:
    """The houses and cells of a JSON value; None where it has none."""
    if not isinstance(value, dict):
        return None
    answer = {}
    for house, cells in value.items():
        if isinstance(cells, dict):
            row = {str(name): str(cell) for name, cell in cells.items() if isinstance(cell, str | int | float)}
            if row:
                answer[str(house)] = row
    return answer or None


def normal(answer: Answer) -> dict[tuple[str, str], str]:
    """(house, attribute) -> value, all lower-cased and stripped."""

    def plain(text: str) -> str:
        return text.strip().lower()

    return {(plain(h), plain(a)): plain(v) for h, row in answer.items() for a, v in row.items()}


def cell_majority(answers: Sequence[Answer]) -> Answer:
    """The most frequent value of each cell, the earliest among equals; may be no answer that anybody gave."""
    votes: dict[tuple[str, str], Counter[str]] = {}
    for answer in answers:
        for cell, value in normal(answer).items():
            votes.setdefault(cell, Counter())[value] += 1
    result: Answer = {}
    for (house, name), of in votes.items():
        result.setdefault(house, {})[name] = of.most_common(1)[0][0]
    return result


def most_common(answers: Sequence[Answer]) -> int:
    """Index of the answer whose cells are the most popular in sum, the earliest among equals."""
    cells = [normal(answer) for answer in answers]
    popularity = Counter(cell for answer in cells for cell in answer.items())
    return max(range(len(cells)), key=lambda i: sum(popularity[cell] for cell in cells[i].items()))
