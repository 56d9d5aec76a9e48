"""ZebraLogic's public records: {"id", "size": "N*M", "puzzle", "solution": {"header", "rows"}, ...}."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ttt_jax.tasks.task import Refused
from ttt_jax.tasks.zebra.puzzle import Puzzle, Solution
from ttt_jax.tasks.zebra.solver import solve
from ttt_jax.tasks.zebra.wording import WordingError, read_puzzle

_FIELDS = ("id", "size", "puzzle", "solution")
_HIDDEN = "___"


@dataclass(frozen=True)
class Record:
    """A puzzle as it stands in a file.

    Attributes:
      id: of the record.
      puzzle: its clues, understood.
      solution: the only one that the clues allow.
      text: the puzzle word for word.
      extra: fields that the format does not know, kept as they are.
    """

    id: str
    puzzle: Puzzle
    solution: Solution
    text: str
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The record as it is written, its solution filled in."""
        houses, attributes = self.puzzle.size
        rows = [[str(h + 1), *cells.values()] for h, cells in enumerate(self.puzzle.answer(self.solution).values())]
        return {
            "id": self.id,
            "size": f"{houses}*{attributes}",
            "puzzle": self.text,
            "solution": {"header": ["House", *(a.name for a in self.puzzle.attributes)], "rows": rows},
            **self.extra,
        }


def read_record(value: Any, file: str, place: int, convention: str = "") -> Record | Refused:
    """Understands a record, and proves that its clues have exactly one solution.

    A solution hidden as "___" is found by solving; one that is given has to be
    the one that the clues allow.
    """
    id_ = str(value.get("id", f"#{place}")) if isinstance(value, dict) else f"#{place}"

    def refused(name: str, reason: str) -> Refused:
        return Refused(file, id_, name, reason)

    if not isinstance(value, dict):
        return refused("record", f"expected an object, found {type(value).__name__}")
    for name in _FIELDS:
        if name not in value:
            return refused(name, "is missing")
    if not isinstance(value["puzzle"], str):
        return refused("puzzle", f"expected text, found {type(value['puzzle']).__name__}")
    table = value["solution"]
    if not isinstance(table, dict) or not isinstance(table.get("header"), list):
        return refused("solution", 'expected {"header": [..], "rows": [..]}')
    header = [str(name) for name in table["header"]]
    if header[:1] != ["House"] or len(set(header)) != len(header):
        return refused("solution.header", f"expected House and then distinct attributes, found {header}")
    try:
        puzzle = read_puzzle(value["puzzle"], header[1:], convention=convention)
    except WordingError as error:
        name, _, reason = str(error).partition(": ")
        return refused(name, reason)
    if str(value["size"]).replace("x", "*") != "{}*{}".format(*puzzle.size):
        return refused("size", "is {}, the puzzle is {}*{}".format(value["size"], *puzzle.size))
    solved = solve(puzzle)
    if solved.solution is None:
        return refused("puzzle", "unsatisfiable: no assignment satisfies all clues")
    if not solved.unique:
        return refused("puzzle", "ambiguous: more than one assignment satisfies all clues")
    wrong = _disagreement(table.get("rows"), puzzle, solved.solution)
    if wrong:
        return refused("solution.rows", wrong)
    extra = {name: x for name, x in value.items() if name not in _FIELDS}
    return Record(id_, puzzle, solved.solution, value["puzzle"], extra)


def read_records(path: str | Path, convention: str = "") -> tuple[list[Record], list[Refused]]:
    """The records of a .json (a list, or one record) or .jsonl file, or of all those in a directory.

    Raises:
      ValueError: there is no such file, or it is no JSON.
    """
    path = Path(path)
    files = sorted(f for f in path.iterdir() if f.suffix in (".json", ".jsonl")) if path.is_dir() else [path]
    if not files or not all(f.is_file() for f in files):
        raise ValueError(f"tasks.path: {path}: no .json or .jsonl file")
    records, refused, seen = [], [], set()
    for file in files:
        for place, value in enumerate(_values(file), 1):
            record = read_record(value, str(file), place, convention)
            if isinstance(record, Record) and record.id in seen:
                record = Refused(str(file), record.id, "id", "another record has it")
            if isinstance(record, Record):
                seen.add(record.id)
                records.append(record)
            else:
                refused.append(record)
    return records, refused


def write_records(path: str | Path, records: Iterable[Record]) -> None:
    """A .jsonl file, one record a line."""
    lines = (json.dumps(record.to_json(), ensure_ascii=False) + "\n" for record in records)
    Path(path).write_text("".join(lines), encoding="utf-8")


def _values(file: Path) -> list[Any]:
    text = file.read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip()] if file.suffix == ".jsonl" else [text]
    values = []
    for number, line in enumerate(lines, 1):
        try:
            values.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"tasks.path: {file}: record {number} is no JSON: {error}") from None
    return values[0] if file.suffix != ".jsonl" and isinstance(values[0], list) else values


def _disagreement(rows: Any, puzzle: Puzzle, solution: Solution) -> str | None:
    """Why rows are not the table of the solution; None where they are, or hide it."""
    truth = list(puzzle.answer(solution).values())
    if not isinstance(rows, list) or len(rows) != len(truth):
        return f"expected {len(truth)} rows"
    for h, (row, cells) in enumerate(zip(rows, truth, strict=True), 1):
        if not isinstance(row, list) or len(row) != len(cells) + 1:
            return f"row {h}: expected {len(cells) + 1} cells"
        for found, (name, value) in zip(row[1:], cells.items(), strict=True):
            if str(found) != _HIDDEN and str(found).strip().lower() != value.strip().lower():
                return f"row {h}: {name} is {found!r}, the clues allow only {value!r}"
    return None
