"""Where the next grid token stands and which tokens are legal: the decoding side of `encoding`."""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ttt_jax.tasks import encoding as enc
from ttt_jax.tasks.grids import COLOURS, MAX_SIDE


class GridState(NamedTuple):
    """int32 scalars of one row of decoding.

    Attributes:
      sequence, row, column: the place of the last token.
      next_row, next_column: the place of the token to come; (0, 0) outside a grid.
      width: cells in each row of the grid being written; 0 until its first NEWLINE.
    """

    sequence: Int[Array, ""]
    row: Int[Array, ""]
    column: Int[Array, ""]
    next_row: Int[Array, ""]
    next_column: Int[Array, ""]
    width: Int[Array, ""]


class GridSyntax:
    """`ttt_jax.decode.syntax.Syntax` of one output grid, up to 30x30, closed by END.

    A grid may end after any complete row. Once END has come, only END and PAD
    follow. There is always a legal token.
    """

    def start(self, position: Int[Array, " 3"]) -> GridState:
        """The state after a prompt that ends with OUTPUT, at `position` (sequence, row, column)."""
        sequence, row, column = position.astype(jnp.int32)
        one = jnp.ones_like(sequence)
        return GridState(sequence, row, column, one, one, jnp.zeros_like(sequence))

    def advance(self, state: GridState, token: Int[Array, ""]) -> GridState:
        """The state after `token`, any of the vocabulary, whether legal or not."""
        row, column = state.next_row, state.next_column
        cell, newline = token < COLOURS, token == enc.NEWLINE
        opens = (token == enc.INPUT) | (token == enc.OUTPUT)
        zero, one = jnp.zeros_like(row), jnp.ones_like(row)
        first_newline = newline & (state.width == 0)
        return GridState(
            sequence=state.sequence + 1,
            row=jnp.where(opens, zero, row),
            column=jnp.where(opens, zero, column),
            next_row=jnp.where(cell, row, jnp.where(newline, row + 1, jnp.where(opens, one, zero))),
            next_column=jnp.where(cell, column + 1, jnp.where(newline | opens, one, zero)),
            width=jnp.where(first_newline, column - 1, jnp.where(cell | newline, state.width, zero)),
        )

    def position(self, state: GridState) -> Int[Array, " 3"]:
        """(sequence, row, column) of the last token."""
        return jnp.stack([state.sequence, state.row, state.column])

    def legal(self, state: GridState) -> Bool[Array, " vocab"]:
        """bool[16]: which tokens may come next."""
        row, column, width = state.next_row, state.next_column, state.width
        within = (row >= 1) & (row <= MAX_SIDE)
        row_full = jnp.where(width > 0, column == width + 1, column > 1)
        cell = within & (column <= jnp.where(width > 0, width, MAX_SIDE))
        newline = within & row_full
        end = (column == 1) & (row >= 2)
        over = row == 0
        token = jnp.arange(enc.VOCAB_SIZE)
        return (
            ((token < COLOURS) & cell)
            | ((token == enc.NEWLINE) & newline)
            | ((token == enc.END) & (end | over))
            | ((token == enc.PAD) & over)
        )
