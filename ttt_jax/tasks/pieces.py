"""Grid pairs written once and then put together, under any transform, by copying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8

from ttt_jax.tasks import encoding
from ttt_jax.tasks.grids import COLOURS
from ttt_jax.tasks.transforms import GridTransform, Pair

_AS_GIVEN = GridTransform()
# Tokens that are no colours stay what they are.
_SIGNS = tuple(range(COLOURS, encoding.VOCAB_SIZE))
_BOS = np.array([encoding.BOS], np.uint8)
_ORIGIN = np.zeros((1, encoding.POSITION_AXES), np.int32)


class Piece(NamedTuple):
    """A pair as it stands in a sequence: INPUT rows.. OUTPUT rows.. END.

    Attributes:
      tokens: in the colours of the task.
      places: the positions, 0 for that in the sequence.
      answer: tokens before those of the output.
    """

    tokens: UInt8[np.ndarray, " length"]
    places: Int[np.ndarray, "length axes"]
    answer: int


class GridRewriter:
    """`ttt_jax.tasks.task.Rewriter` of grids.

    Symmetries and shifts are done once: their tokens are kept, a byte each, and places for each shape (a task of
    1500 tokens under all symmetries takes 50 kB). Colours are a look-up in a table of tokens, orders are the order
    in which pieces are joined.

    Args:
      pairs: (input, output) grids.
    """

    def __init__(self, pairs: Sequence[Pair]):
        self._pairs = tuple(pairs)
        self._kept: dict[tuple[int, int, tuple[int, int]], Piece] = {}
        self._places: dict[tuple[int, ...], np.ndarray] = {}
        # A symmetry makes no pair longer than this.
        longest = sum(max(encoding.encoded_length([pair]), _turned_length(pair)) - 1 for pair in self._pairs)
        self._count = np.arange(1 + longest, dtype=np.int32)

    def length(self, pairs: Sequence[int]) -> int:
        """Tokens of so many of the pairs, as given."""
        return encoding.encoded_length([self._pairs[i] for i in pairs])

    def write(
        self,
        pairs: Sequence[int],
        transform: GridTransform | None,
        tokens: Int[np.ndarray, " room"],
        positions: Int[np.ndarray, "room axes"],
    ) -> list[tuple[int, int]] | None:
        """See `Rewriter.write`."""
        transform = transform or _AS_GIVEN
        order = [*(pairs[i] for i in transform.order), *pairs[len(transform.order) :]]
        pieces = [self._piece(i, transform) for i in order]
        spans, at = [], 1
        for piece in pieces:
            start, at = at, at + len(piece.tokens)
            spans.append((start + piece.answer, at))
        if at > len(tokens):
            return None
        table = np.array((*transform.colours, *_SIGNS), np.int32)
        # No index is out of range; with the default mode, numpy would write to a buffer of its own first.
        table.take(np.concatenate([_BOS, *(piece.tokens for piece in pieces)]), out=tokens[:at], mode="clip")
        np.concatenate([_ORIGIN, *(piece.places for piece in pieces)], out=positions[:at])
        positions[:at, 0] = self._count[:at]
        return spans

    def _piece(self, pair: int, transform: GridTransform) -> Piece:
        key = (pair, transform.symmetry, transform.shift)
        if key not in self._kept:
            self._kept[key] = self._written(pair, GridTransform(transform.symmetry, shift=transform.shift))
        return self._kept[key]

    def _written(self, pair: int, transform: GridTransform) -> Piece:
        ((x, y),) = changed = transform.apply_pairs([self._pairs[pair]])
        encoded = encoding.encode_pairs(changed)
        places = encoded.positions[1:].copy()
        places[:, 0] = 0
        places = self._places.setdefault((*x.shape, *y.shape), places)
        return Piece(encoded.tokens[1:].astype(np.uint8), places, encoding.grid_length(x) + 2)


def _turned_length(pair: Pair) -> int:
    x, y = pair
    return encoding.encoded_length([(x.T, y.T)])
