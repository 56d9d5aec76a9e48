"""What our attention kernels for GPUs share: the running softmax of flash attention (Dao, arXiv 2307.08691).

A carry is (out, top, total): for each query the weighted sum of values so far, float32[queries, head_dim], the largest
score, and the sum of weights, float32[queries]. Scores are in units of log 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental.pallas import triton as gpu
from jaxtyping import Array, Bool, Float, Int

SMALLEST = 16
"""Rows and columns that a matrix unit takes at least."""
# Finite, so that a block with nothing to attend to leaves no NaN; what comes after it outweighs it altogether.
NEVER = -1e30

Carry = tuple[Float[Array, "queries head_dim"], Float[Array, " queries"], Float[Array, " queries"]]


def flash_start(queries: int, head_dim: int) -> Carry:
    """The carry before the first block of keys."""
    return (
        jnp.zeros((queries, head_dim), jnp.float32),
        jnp.full((queries,), NEVER, jnp.float32),
        jnp.zeros((queries,), jnp.float32),
    )


def flash_step(
    q: Float[Array, "queries head_dim"],
    keys: Callable[[], Float[Array, "slots head_dim"]],
    values: Callable[[], Float[Array, "slots head_dim"]],
    allowed: Bool[Array, "queries slots"],
    carry: Carry,
) -> Carry:
    """The carry after a block of slots, of which each query sees the `allowed` ones; `keys` and `values` load them."""
    out, top, total = carry
    # Exponentials of base 2: the units of the chip have no other.
    scale = q.shape[-1] ** -0.5 * math.log2(math.e)
    scores = jnp.where(allowed, gpu.dot(q, keys().T) * scale, NEVER)
    higher = jnp.maximum(top, jnp.max(scores, axis=-1))
    less = jnp.exp2(top - higher)
    weights = jnp.exp2(scores - higher[:, None])
    read = gpu.dot(weights.astype(q.dtype), values())
    return out * less[:, None] + read, higher, total * less + jnp.sum(weights, axis=-1)


def flash_end(carry: Carry, dtype: Any) -> Float[Array, "queries head_dim"]:
    """What the queries have read; 0 of one that met no block."""
    out, _, total = carry
    return (out / jnp.maximum(total, 1e-30)[:, None]).astype(dtype)


def blocks(slots: Int[Array, ""], size: int) -> Int[Array, ""]:
    """How many blocks hold so many slots."""
    # Not `pl.cdiv` or `//`: both are made for Python's integers.
    return jax.lax.div(slots + (size - 1), size)
