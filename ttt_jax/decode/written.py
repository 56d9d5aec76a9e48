"""Answers that stand, wholly or in part, at the ends of prompts: where their tokens stand and what could have come."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from ttt_jax.decode.generate import Prompts
from ttt_jax.decode.syntax import Syntax


@partial(jax.jit, static_argnames=("syntax", "longest"))
def placed(syntax: Syntax, prompts: Prompts, written: Int[Array, "T R"], longest: int) -> Prompts:
    """The same prompts, with the positions of the answers at their ends as the syntax says."""
    _, places, _ = walk(syntax, prompts, written, min(longest, prompts.tokens.shape[-1]))
    return with_places(prompts, written, places)


def with_places(prompts: Prompts, written: Int[Array, "T R"], places: Int[Array, "T R N axes"]) -> Prompts:
    """The same prompts, with the positions of the answers at their ends as `walk` found them."""
    P = prompts.tokens.shape[-1]
    step = jnp.arange(P)[None, None] - (prompts.lengths - written)[..., None]
    of_answer = (step >= 0) & (step < written[..., None])
    moved = jnp.take_along_axis(places, jnp.clip(step, 0, places.shape[2] - 1)[..., None], axis=2)
    return prompts._replace(positions=jnp.where(of_answer[..., None], moved, prompts.positions))  # pyright: ignore


def walk(
    syntax: Syntax, prompts: Prompts, written: Int[Array, "T R"], longest: int
) -> tuple[Int[Array, "T R N"], Int[Array, "T R N axes"], Bool[Array, "T R N V"] | None]:
    """The answers at the ends of prompts: their tokens, their positions, and the legal tokens before each.

    The loop is outside and the rows inside, so that every step writes one slice.
    """
    rows = lambda f: jax.vmap(jax.vmap(f))  # noqa: E731
    start = jnp.maximum(prompts.lengths - written, 1)
    at = jnp.minimum(start[..., None] + jnp.arange(longest)[None, None], prompts.tokens.shape[-1] - 1)
    answers = jnp.take_along_axis(jnp.asarray(prompts.tokens), at, axis=2)
    end = jnp.take_along_axis(jnp.asarray(prompts.positions), (start - 1)[..., None, None], axis=2)[:, :, 0]

    def put(table, x, i):
        return jax.lax.dynamic_update_slice_in_dim(table, x[:, :, None].astype(table.dtype), i, axis=2)

    def step(i, carry):
        state, places, legal = carry
        allowed = rows(syntax.legal)(state)
        legal = None if legal is None else put(legal, allowed, i)
        state = rows(syntax.advance)(state, answers[:, :, i])
        return state, put(places, rows(syntax.position)(state), i), legal

    state = rows(syntax.start)(end)
    allowed = jax.eval_shape(rows(syntax.legal), state)
    legal = None if allowed is None else jnp.zeros((*answers.shape, allowed.shape[-1]), bool)
    places = jnp.zeros((*answers.shape, end.shape[-1]), end.dtype)
    _, places, legal = jax.lax.fori_loop(0, jnp.max(written), step, (state, places, legal))
    return answers, places, legal
