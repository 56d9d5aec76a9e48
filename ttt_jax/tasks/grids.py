"""What a grid is: int8[height, width], colours 0..9, sides 1..30 (arXiv 1911.01547)."""

from __future__ import annotations

from typing import Any

import numpy as np

MAX_SIDE = 30
COLOURS = 10


def as_grid(cells: Any) -> np.ndarray:
    """Checks nested lists of cells and returns them as an int8 grid.

    Raises:
      ValueError: what is wrong, in words that can follow the field's name.
    """
    if not isinstance(cells, list):
        raise ValueError(f"must be a list of rows, not {_kind(cells)}")
    if not cells:
        raise ValueError("is empty, a grid has 1 to 30 rows")
    if len(cells) > MAX_SIDE:
        raise ValueError(f"has {len(cells)} rows, at most {MAX_SIDE} are allowed")
    for r, row in enumerate(cells):
        if not isinstance(row, list):
            raise ValueError(f"row {r} must be a list of cells, not {_kind(row)}")
        if not row:
            raise ValueError(f"row {r} is empty, a row has 1 to 30 cells")
        if len(row) > MAX_SIDE:
            raise ValueError(f"row {r} has {len(row)} cells, at most {MAX_SIDE} are allowed")
        if len(row) != len(cells[0]):
            raise ValueError(f"is ragged: row {r} has {len(row)} cells, row 0 has {len(cells[0])}")
        for c, cell in enumerate(row):
            if type(cell) is not int:  # bool is an int to isinstance, but not a colour
                raise ValueError(f"cell ({r}, {c}) must be an integer, not {_kind(cell)}")
            if not 0 <= cell < COLOURS:
                raise ValueError(f"cell ({r}, {c}) has colour {cell}, colours are 0 to {COLOURS - 1}")
    return np.array(cells, np.int8)


def _kind(value: Any) -> str:
    if isinstance(value, (bool, int, float)):
        return f"{type(value).__name__} {value}"[:40]
    return (
        "null"
        if value is None
        else {"str": "a string", "dict": "an object", "list": "a list"}.get(type(value).__name__, type(value).__name__)
    )
