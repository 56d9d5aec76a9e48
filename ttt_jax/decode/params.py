"""Parameters as decoding and scoring take them."""

from __future__ import annotations

from typing import Any

import jax
from jaxtyping import Array, Int

from ttt_jax.model.quantize import is_quantised
from ttt_jax.runtime.mesh import constrain


def variables(base: Any, adapted: Any | None) -> dict[str, Any]:
    """The collections of `model.apply`: the base, and over it what a task has adapted.

    None means the base alone, not an adapter of zeros.
    """
    return {"params": base, **(adapted or {})}


@jax.jit(static_argnames="dtype")
def cast(tree: Any, dtype: Any) -> Any:
    """Matrices in the compute type, once, so that no decoded token pays for it.

    Vectors (norm scales) stay as they are: norms are computed in float32.
    None passes through.
    """
    return jax.tree.map(lambda x: x if is_quantised(x) or x.ndim < 2 else x.astype(dtype), tree, is_leaf=is_quantised)


@jax.jit
def take(stacked: Any, which: Int[Array, " queries"]) -> Any:
    """Entries of a stacked pytree."""
    return constrain(jax.tree.map(lambda x: x[which], stacked))
