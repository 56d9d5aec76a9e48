"""An adapter as one vector, so that it moves, and waits, in one piece.

An adapter has hundreds of arrays. To stack those of a group on the host, array by array, and to send them back would
keep the device waiting for a second or two a group; one vector each stays there until its group is answered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttt_jax.losses import Variables


@dataclass(frozen=True)
class Layout:
    """Where each array of a pytree lies in a vector: one after the other, as `jax.tree.leaves` gives them."""

    treedef: Any
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, tree: Any) -> Layout:
        """Of a pytree of float32 arrays, or abstract arrays."""
        leaves, treedef = jax.tree.flatten(tree)
        assert all(leaf.dtype == np.float32 for leaf in leaves), "a vector has one type"
        return cls(treedef, tuple(leaf.shape for leaf in leaves))

    @property
    def size(self) -> int:
        return sum(map(math.prod, self.shapes))

    def split(self, vectors: Any) -> Any:
        """The pytree that lies in the last axis of numpy or jax arrays [..., size]; views of numpy arrays."""
        leaves, start = [], 0
        for shape in self.shapes:
            stop = start + math.prod(shape)
            leaves.append(vectors[..., start:stop].reshape((*vectors.shape[:-1], *shape)))
            start = stop
        return jax.tree.unflatten(self.treedef, leaves)


@dataclass(frozen=True)
class Packed:
    """One job's trainable variables.

    Attributes:
      vector: float32[size], on the device or on the host.
      layout: what lies where.
    """

    vector: Float[np.ndarray, " size"] | Float[Array, " size"]
    layout: Layout

    @classmethod
    def of(cls, tree: Variables) -> Packed:
        """Of a pytree of host arrays."""
        layout, leaves = Layout.of(tree), jax.tree.leaves(tree)
        return cls(np.concatenate([np.ravel(leaf) for leaf in leaves]), layout)

    @property
    def waits_on_device(self) -> bool:
        return isinstance(self.vector, jax.Array)

    def on_host(self) -> Packed:
        return Packed(np.asarray(self.vector), self.layout)

    def tree(self) -> Variables:
        """The variables, on the host."""
        return self.layout.split(np.asarray(self.vector))


@jax.jit
def pack_slot(stacked: Any, slot: Int[Array, ""]) -> Float[Array, " size"]:
    """One entry of a stacked pytree as a vector."""
    return jnp.concatenate([x[slot].ravel() for x in jax.tree.leaves(stacked)])


@partial(jax.jit, static_argnames=("layout", "dtype"))
def unpack(vectors: tuple[Float[Array, " size"], ...], *, layout: Layout, dtype: Any) -> Any:
    """Vectors as one pytree with a leading axis, in the compute type."""
    return layout.split(jnp.stack(vectors).astype(dtype))
