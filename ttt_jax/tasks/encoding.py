"""How grids are written as tokens, with a position in the sequence, a row and a column for each.

    BOS  INPUT rows.. OUTPUT rows.. END  INPUT rows.. OUTPUT rows.. END  ..  INPUT rows.. OUTPUT

Every row closes with NEWLINE. BOS, INPUT and OUTPUT stand at (0, 0); the place
of any other token follows from the token before it, so that nothing about an
answer's size is known before it is written (`grid_syntax.GridSyntax` is the
same rule, inside the decoding loop):

    after INPUT, OUTPUT    (1, 1)
    after a cell           (row, column + 1)
    after NEWLINE          (row + 1, 1)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from ttt_jax.tasks.grids import COLOURS, MAX_SIDE
from ttt_jax.tasks.task import Encoded

NEWLINE = 10
INPUT = 11
OUTPUT = 12
END = 13
BOS = 14
PAD = 15
VOCAB_SIZE = 16
POSITION_AXES = 3
MAX_ANSWER_TOKENS = MAX_SIDE * (MAX_SIDE + 1) + 1
"""The largest grid and its END: the room reserved for every answer."""

Grid = Int[np.ndarray, "height width"]

# (row, column) of every cell and newline of the largest grid, and of the END below it.
_PLACES = np.stack(np.meshgrid(np.arange(1, MAX_SIDE + 2), np.arange(1, MAX_SIDE + 2), indexing="ij"), -1).astype(
    np.int32
)


def grid_length(grid: Grid) -> int:
    """Tokens of a grid: its cells and a newline for each row."""
    height, width = grid.shape
    return height * (width + 1)


def encoded_length(demos: Sequence[tuple[Grid, Grid]], query: Grid | None = None) -> int:
    """The length of `encode_pairs(demos, query)` without writing it."""
    pairs = sum(grid_length(x) + grid_length(y) + 3 for x, y in demos)
    return 1 + pairs + (0 if query is None else grid_length(query) + 2)


def encode_pairs(demos: Sequence[tuple[Grid, Grid]], query: Grid | None = None) -> Encoded:
    """Writes solved pairs and, where given, an open query that ends with OUTPUT.

    Args:
      demos: (input, output) grids.
      query: an input whose output is to be predicted next.

    Returns:
      tokens int32[length], positions int32[length, 3] as (sequence, row,
      column), outputs int32[length]: k on the cells, newlines and END of
      the output of pair k, -1 elsewhere.
    """
    length = encoded_length(demos, query)
    tokens = np.empty(length, np.int32)
    positions = np.zeros((length, POSITION_AXES), np.int32)
    outputs = np.full(length, -1, np.int32)
    positions[:, 0] = np.arange(length)
    tokens[0] = BOS
    at = 1

    def write(marker: int, grid: np.ndarray) -> None:
        nonlocal at
        height, width = grid.shape
        tokens[at] = marker
        start, at = at + 1, at + 1 + height * (width + 1)
        rows = tokens[start:at].reshape(height, width + 1)
        rows[:, :width] = grid
        rows[:, width] = NEWLINE
        positions[start:at, 1:].reshape(height, width + 1, 2)[:] = _PLACES[:height, : width + 1]

    for k, (x, y) in enumerate(demos):
        write(INPUT, x)
        start = at + 1
        write(OUTPUT, y)
        tokens[at] = END
        positions[at, 1:] = y.shape[0] + 1, 1
        at += 1
        outputs[start:at] = k
    if query is not None:
        write(INPUT, query)
        tokens[at] = OUTPUT
    return Encoded(tokens, positions, outputs)


def grid_tokens(grid: Grid) -> Int[np.ndarray, " length"]:
    """The cells and newlines of one grid, int32, without END."""
    rows = np.full((grid.shape[0], grid.shape[1] + 1), NEWLINE, np.int32)
    rows[:, :-1] = grid
    return rows.reshape(-1)


def parse_grid(tokens: Sequence[int] | np.ndarray) -> Grid | None:
    """An answer's tokens, with or without END, to int8[height, width].

    Strict: complete rows of equal width, sides 1..30, colours only, nothing
    after END but END and PAD. None where that does not hold.
    """
    body = np.asarray(tokens, np.int64).reshape(-1)
    ends = np.flatnonzero(body == END)
    if ends.size:
        body, tail = body[: ends[0]], body[ends[0] :]
        if not np.isin(tail, (END, PAD)).all():
            return None
    newlines = np.flatnonzero(body == NEWLINE)
    if not newlines.size:
        return None
    width = int(newlines[0])
    height, rest = divmod(body.size, width + 1)
    if rest or not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        return None
    rows = body.reshape(height, width + 1)
    cells = rows[:, :width]
    if (rows[:, width] != NEWLINE).any() or (cells < 0).any() or (cells >= COLOURS).any():
        return None
    return cells.astype(np.int8)
