"""How an answer goes on, token by token: positions and legal tokens.

A domain hands the decoder a `Syntax`: pure jax functions of a small state, so
that grids get their row and column positions and their grammar inside the
jitted loop. Plain text uses `TextSyntax`. All functions treat ONE row; the
decoder vmaps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

State = Any


class Syntax(Protocol):
    def start(self, position: Int[Array, " axes"]) -> State:
        """The state after the prompt, whose last token stands at `position`."""
        ...

    def advance(self, state: State, token: Int[Array, ""]) -> State:
        """The state after `token` has been chosen."""
        ...

    def position(self, state: State) -> Int[Array, " axes"]:
        """Where the token chosen last (or the end of the prompt) stands."""
        ...

    def legal(self, state: State) -> Bool[Array, " vocab"] | None:
        """Which tokens may come next; None where every token may."""
        ...


@dataclass(frozen=True)
class TextSyntax:
    """Any token may follow; the position counts up by one."""

    def start(self, position: Int[Array, " axes"]) -> State:
        return position

    def advance(self, state: State, token: Int[Array, ""]) -> State:
        return state + jnp.ones_like(state)

    def position(self, state: State) -> Int[Array, " axes"]:
        return state

    def legal(self, state: State) -> None:
        return None


def replay(
    syntax: Syntax,
    tokens: Int[Array, " length"],
    positions: Int[Array, "length axes"],
    start: Int[Array, ""],
    stop: Int[Array, ""],
) -> State:
    """The state of one row after tokens that are written already.

    Args:
      syntax: of the answer.
      tokens, positions: a prompt, then the beginning of its answer, then padding.
      start: where the answer begins; the token before it closes the prompt.
      stop: where what is written of it ends.
    """
    return jax.lax.fori_loop(
        start, stop, lambda i, state: syntax.advance(state, tokens[i]), syntax.start(positions[start - 1])
    )
