"""optax's most used transformations, their work on a leaf one jitted function.

An adapter has hundreds of leaves of a few shapes. optax writes some thirty
operations for each of them, and a program that maps an update over tasks and
steps traces, batches and lowers all of these: seconds a program, on one core,
for every length of sequence. A jitted function is traced, batched and lowered
once for all leaves of a shape, and the compiled program is the same.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


class AdamState(NamedTuple):
    """Updates made, and the decaying means of gradients and of their squares."""

    steps: Int[Array, ""]
    mu: Any
    nu: Any


def adamw(
    learning_rate: optax.Schedule, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0
) -> optax.GradientTransformation:
    """`optax.adamw` (arXiv 1711.05101), whose decay acts on leaves of two or more axes: on matrices, not on norms.

    Args:
      learning_rate: step -> rate.
      b1, b2: decay of the means.
      eps: added to the root of the second.
      weight_decay: times the rate.
    """

    def init(params: Any) -> AdamState:
        zeros = partial(jax.tree.map, jnp.zeros_like)
        return AdamState(jnp.zeros([], jnp.int32), zeros(params), zeros(params))

    def update(updates: Any, state: Any, params: Any = None):
        count = state.steps + 1
        rate, c1, c2 = learning_rate(state.steps), 1 - b1**count, 1 - b2**count
        leaf = partial(_adamw, b1=b1, b2=b2, eps=eps, weight_decay=weight_decay)
        grads, tree = jax.tree.flatten(updates)
        others = (tree.flatten_up_to(of) for of in (state.mu, state.nu, params))
        done = [leaf(*of, rate, c1, c2) for of in zip(grads, *others, strict=True)]
        steps, mu, nu = (tree.unflatten([of[i] for of in done]) for i in range(3))
        return steps, AdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)


@partial(jax.jit, static_argnames=("b1", "b2", "eps", "weight_decay"))
def _adamw(grad, mu, nu, param, rate, c1, c2, *, b1, b2, eps, weight_decay):
    mu = b1 * mu + (1 - b1) * grad
    nu = b2 * nu + (1 - b2) * grad**2
    step = (mu / c1) / (jnp.sqrt(nu / c2) + eps)
    if weight_decay and param.ndim >= 2:
        step = step + weight_decay * param
    return (-rate * step).astype(grad.dtype), mu, nu


def clip_by_global_norm(max_norm: float) -> optax.GradientTransformation:
    """`optax.clip_by_global_norm`: all leaves scaled together where their norm exceeds `max_norm`."""

    def update(updates: Any, state: Any, params: Any = None):
        norm = global_norm(updates)
        return jax.tree.map(lambda x: _clipped(x, norm, max_norm), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


@jax.jit
def _clipped(x, norm, max_norm):
    return jnp.where(norm < max_norm, x, (x / norm.astype(x.dtype)) * max_norm).astype(x.dtype)


def global_norm(tree: Any) -> Float[Array, ""]:
    """The Euclidean norm of all leaves together."""
    return jnp.sqrt(sum(map(_sum_of_squares, jax.tree.leaves(tree))))


@jax.jit
def _sum_of_squares(x: jax.Array) -> jax.Array:
    return jnp.sum(jnp.square(x))


def apply_updates(params: Any, updates: Any) -> Any:
    """`optax.apply_updates`: the sums, in the types of `params`."""
    return jax.tree.map(_added, params, updates)


@jax.jit
def _added(x: jax.Array, step: jax.Array) -> jax.Array:
    return (x + step).astype(x.dtype)
