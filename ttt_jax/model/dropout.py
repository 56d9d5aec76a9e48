"""Dropout on the inputs of adapters, while they train.

As PEFT has it: `y = x W + scale * (dropout(x) A) B`, every layer with a mask of
its own; the base sees all of `x`. The masks are a collection of variables,
`dropout`, the tree of the adapter with a `Dropout` in place of its factors. What
is applied without that collection (decoding, scoring, checks) drops nothing.
"""

from __future__ import annotations

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32

from ttt_jax.model.tree import flatten, unflatten

INPUT = "input"
"""Name of a layer's `Dropout` in the collection."""


class Dropout(flax.struct.PyTreeNode):
    """Sets elements to zero and scales the others up, so that the mean stays (arXiv 1207.0580).

    Attributes:
      seed: says which: a seed gives one mask for each shape, however often and wherever it is asked for.
        So a rematerialised layer drops again what it dropped before.
      rate: the probability of each element to be dropped, in [0, 1).
    """

    seed: UInt32[Array, " two"]
    rate: float = flax.struct.field(pytree_node=False)

    def kept(self, shape: tuple[int, ...]) -> Bool[Array, " *shape"]:
        """What stays; fewer than 2^32 elements."""
        index, stride = jnp.uint32(0), 1
        for axis in reversed(range(len(shape))):
            index = index + jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * jnp.uint32(stride)
            stride *= shape[axis]
        # A hash of (seed, index): jax.random's 20 rounds an element, in every layer and again in the backward pass,
        # would cost a small model as much as its own products, and minutes of compiling.
        bits = _mix(_mix(index ^ self.seed[0]) + self.seed[1])
        return bits >= jnp.uint32(round(self.rate * 2**32))

    def __call__(self, x: Float[Array, " *shape"]) -> Float[Array, " *shape"]:
        return jnp.where(self.kept(x.shape), x / (1 - self.rate), 0).astype(x.dtype)


def dropouts(key: jax.Array, adapter: Any, rate: float) -> dict[str, Any]:
    """The collection `dropout` for one step of one adapter.

    Args:
      key: of the step.
      adapter: as `init_adapter` makes it; only its layers count.
      rate: of all layers.
    """
    layers = sorted({name.rpartition(".")[0] for name in flatten(adapter)})
    seeds = jax.random.bits(key, (len(layers), 2))
    return unflatten({f"{layer}.{INPUT}": Dropout(seeds[i], rate) for i, layer in enumerate(layers)})


def _mix(x: jax.Array) -> jax.Array:
    """A permutation of 32 bits in which every bit of `x` flips each bit half of the time (MurmurHash3's finaliser)."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
