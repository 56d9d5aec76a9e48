"""How an answer goes on, token by token: positions and legal tokens.

A domain hands the decoder a `Syntax`: pure jax functions of a small state, so
that grids get their row and column positions and their grammar inside the
jitted loop. Plain text uses `TextSyntax`. All functions treat ONE row; the
decoder vmaps them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

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
