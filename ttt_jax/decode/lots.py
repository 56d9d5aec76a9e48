"""Given answers as rows of tokens, in lots: what `score` sends to the device, and in which shapes.

Shapes: T lots (or queries, where prompts are read), P prompt length, C answers of a lot, S room for an answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from ttt_jax.decode.views import View, answer_written, answered
from ttt_jax.runtime.mesh import alone
from ttt_jax.tasks.task import Answer, Domain, Encoded

# Tokens of an answer in one pass; the padding after an answer is shorter than this.
PASS_TOKENS = 1 << 7
# Answers are scored in lots of a few of one query, so many lots side by side. Lots of like length go together: all take
# as many passes as the longest answer among them, and only the last lot of a query has empty rows.
LOTS, LOT_ROWS = 16, 4


@dataclass(frozen=True)
class ScoreShapes:
    """The shapes in which answers are scored.

    Attributes:
      length: prompts are padded to this many tokens.
      rows: the most answers that a query is expected to have; more are scored all the same.
      rooms: an answer lies in the smallest of these that holds its tokens. Ascending; one longer than all
        of them has a room of its own.
    """

    length: int
    rows: int
    rooms: tuple[int, ...]

    def __post_init__(self) -> None:
        for room in self.rooms:
            if room > PASS_TOKENS and room % PASS_TOKENS:
                raise ValueError(f"a room of {room} tokens: above {PASS_TOKENS} it must be a multiple of that")

    def room(self, tokens: int) -> int:
        """The room of an answer of so many tokens."""
        return min((room for room in self.rooms if room >= tokens), default=_whole_passes(tokens))


def score_rooms(longest: int) -> tuple[int, ...]:
    """Rooms for answers of up to `longest` tokens, each four times the one before.

    Half or more of a room may stay empty: that costs attention to nothing, but no passes.
    """
    rooms, room = [], 2 * PASS_TOKENS
    while 2 * room <= longest:
        rooms.append(room)
        room *= 4
    last = _whole_passes(longest) if longest > PASS_TOKENS else 32 * -(-longest // 32)
    return (*rooms, last)


def _whole_passes(tokens: int) -> int:
    return PASS_TOKENS * -(-tokens // PASS_TOKENS)


def scored_together(queries: int, rows: int) -> tuple[int, int]:
    """How many lots are scored side by side, and rows of each, where so many queries have `rows` answers at most.

    On a mesh a lot is a query: to put lots together would move prompts from device to device.
    """
    if not alone():
        return queries, rows
    size = min(rows, LOT_ROWS)
    return min(queries * -(-rows // size), LOTS), size


def computed_tokens(longest: int, room: int) -> int:
    """Tokens of a row that go through the model."""
    step = min(room, PASS_TOKENS)
    return -(-longest // step) * step


class Tails(NamedTuple):
    """What answers are scored by: right-padded rows, each the last token of a prompt and its answer but for the end.

    Attributes:
      tokens: int32[T, C, S].
      positions: int32[T, C, S, axes].
      targets: int32[T, C, S], the token that follows each.
      lengths: int32[T, C]; 0 is no answer.
    """

    tokens: Int[np.ndarray, "T C S"]
    positions: Int[np.ndarray, "T C S axes"]
    targets: Int[np.ndarray, "T C S"]
    lengths: Int[np.ndarray, "T C"]


class Row(NamedTuple):
    """One answer written in one view.

    Attributes:
      key: of the answer.
      prompt: of the view.
      tokens, positions: of the answer after it, its stop token included.
    """

    key: str
    prompt: Encoded
    tokens: Int[np.ndarray, " length"]
    positions: Int[np.ndarray, "length axes"]

    @property
    def length(self) -> int:
        """Tokens of the answer, and so of what predicts them."""
        return len(self.tokens)


def written_row(view: View, answer: Answer, domain: Domain) -> Row:
    written = answer_written(answered(view, answer), domain)
    positions = written.positions.copy()
    # A text may ask otherwise than a demonstration does, and then the answer stands elsewhere in the sequence.
    positions[:, 0] += len(view.prompt) - positions[0, 0]
    return Row(domain.key(answer), view.prompt, written.tokens, positions)


Lot = tuple[int, list[Row]]
"""A query, an index, and some of its rows."""


def lot_batches(
    rows: Sequence[Sequence[Row]], shapes: ScoreShapes, lots: int, size: int, mixed: bool
) -> Iterator[tuple[int, list[Lot]]]:
    """The rows of one view, room by room, in batches of `lots` lots of at most `size` rows.

    The longest first: of a query, so that long rows share a lot, and lots, so that long ones share a batch. Where lots
    are not `mixed`, lot t is of query t.
    """
    by_room: dict[int, list[list[Row]]] = {}
    for t, of_query in enumerate(rows):
        for row in sorted(of_query, key=lambda row: -row.length):
            by_room.setdefault(shapes.room(row.length), [[] for _ in rows])[t].append(row)
    for room, of_room in sorted(by_room.items()):
        rounds = [
            [(t, of_query[start : start + size]) for t, of_query in enumerate(of_room)]
            for start in range(0, max(map(len, of_room)), size)
        ]
        if not mixed:
            yield from ((room, batch) for batch in rounds)
            continue
        filled = sorted((lot for batch in rounds for lot in batch if lot[1]), key=lambda lot: -lot[1][0].length)
        for start in range(0, len(filled), lots):
            batch = filled[start : start + lots]
            yield room, [*batch, *[(0, [])] * (lots - len(batch))]


def heads_of(rows: Sequence[Sequence[Row]], length: int, domain: Domain) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, positions and lengths of each query's prompt but for its last token, padded to [T, length]."""
    tokens = np.full((len(rows), length), domain.pad_token, np.int32)
    positions = np.zeros((*tokens.shape, domain.position_axes), np.int32)
    lengths = np.zeros(len(rows), np.int32)
    for t, of_query in enumerate(rows):
        for row in of_query[:1]:
            size = lengths[t] = len(row.prompt) - 1
            tokens[t, :size], positions[t, :size] = row.prompt.tokens[:-1], row.prompt.positions[:-1]
    return tokens, positions, lengths


def tails_of(
    batch: Sequence[Sequence[Row]], rows: int, room: int, domain: Domain
) -> tuple[Tails, Int[np.ndarray, " C"]]:
    """The rows of a batch in a room, and the most tokens of the rows 0, 1, ... of all queries."""
    shape = (len(batch), rows, room)
    tokens, targets = np.full(shape, domain.pad_token, np.int32), np.full(shape, domain.pad_token, np.int32)
    positions = np.zeros((*shape, domain.position_axes), np.int32)
    lengths = np.zeros(shape[:2], np.int32)
    for t, of_query in enumerate(batch):
        for r, row in enumerate(of_query):
            size = lengths[t, r] = row.length
            tokens[t, r, 0], tokens[t, r, 1:size] = row.prompt.tokens[-1], row.tokens[:-1]
            positions[t, r, 0], positions[t, r, 1:size] = row.prompt.positions[-1], row.positions[:-1]
            targets[t, r, :size] = row.tokens
    return Tails(tokens, positions, targets, lengths), lengths.max(axis=0)
