"""Muon over a decoder: matrices of one shape are orthogonalised together, in a few large products."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

# Coefficients of the odd polynomial that takes singular values in (0, 1] close to 1 (Jordan et al., 2024, as in optax).
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


class MomentumState(NamedTuple):
    """Steps made, and the mean of the gradients so far."""

    steps: jax.Array
    mean: Any


def muon_for_layers(
    learning_rate: optax.Schedule,
    adam_learning_rate: optax.Schedule,
    b1: float,
    b2: float,
    weight_decay: float,
    dtype: Any = jnp.bfloat16,
) -> optax.GradientTransformation:
    """Muon for the matrices inside the layers, Nesterov's Adam for the embedding, the head and the norms.

    Updates are scaled to the RMS of an AdamW update (arXiv 2502.16982), so that
    both rates are of the same order. A decoder has few shapes of matrix: the
    Newton-Schulz products of each run as one batched product, where one matrix
    at a time would be hundreds of small ones, each launched and compiled. With
    float32 as `dtype` the updates are those of `optax.contrib.muon`.

    Args:
      learning_rate, adam_learning_rate: of the matrices and of the rest.
      b1, b2: Adam's.
      weight_decay: of the matrices.
      dtype: type of the Newton-Schulz products, whose iteration corrects its own rounding.
    """
    inner = optax.partition(
        {
            "matrices": optax.chain(
                orthogonal_momentum(dtype=dtype),
                optax.add_decayed_weights(weight_decay),
                optax.scale_by_learning_rate(learning_rate),
            ),
            "others": optax.adamw(adam_learning_rate, b1=b1, b2=b2, weight_decay=0.0, nesterov=True),
        },
        {"matrices": "matrices", "others": "others"},
    )

    def update(updates: Any, state: Any, params: Any = None):
        stacked: Any
        stacked, state = inner.update(_stack(updates), state, None if params is None else _stack(params))
        return _unstack(stacked, updates), state

    return optax.GradientTransformation(lambda params: inner.init(_stack(params)), update)


def orthogonal_momentum(
    beta: float = 0.95, rms: float = 0.2, dtype: Any = jnp.bfloat16
) -> optax.GradientTransformation:
    """Nesterov momentum of stacks of matrices [n, in, out], each orthogonalised and scaled to about `rms`."""

    def init(params: Any) -> MomentumState:
        return MomentumState(jnp.zeros([], jnp.int32), optax.tree.zeros_like(params))

    def update(updates: Any, state: Any, params: Any = None):
        count = state.steps + 1
        mean = optax.tree.update_moment(updates, state.mean, beta, 1)
        ahead = jax.tree.map(
            lambda m, g: beta * m / (1 - beta ** (count + 1)) + (1 - beta) * g / (1 - beta**count), mean, updates
        )
        scaled = jax.tree.map(lambda x: rms * max(x.shape[-2:]) ** 0.5 * orthogonalise(x, dtype), ahead)
        return scaled, MomentumState(count, mean)

    return optax.GradientTransformation(init, update)


def orthogonalise(
    x: Float[Array, "stack rows columns"], dtype: Any = jnp.bfloat16, steps: int = 5
) -> Float[Array, "stack rows columns"]:
    """Each matrix with its singular values moved close to 1, by `steps` Newton-Schulz iterations in `dtype`."""
    a, b, c = _COEFFICIENTS
    tall = x.shape[-2] > x.shape[-1]
    y = (x / (jnp.linalg.norm(x, axis=(-2, -1), keepdims=True) + 1e-8)).astype(dtype)
    for _ in range(steps):
        # The smaller of the two squares.
        square = jnp.einsum("nij,nik->njk" if tall else "nij,nkj->nik", y, y)
        polynomial = b * square + c * (square @ square)
        y = a * y + (y @ polynomial if tall else polynomial @ y)
    return y.astype(x.dtype)


def _is_matrix(path: Any, leaf: Any) -> bool:
    return leaf.ndim == 2 and any(str(getattr(key, "key", "")).startswith("layers_") for key in path)


def _stack(tree: Any) -> dict[str, dict[str, jax.Array]]:
    """{"matrices": {shape: [n, in, out]}, "others": {name: leaf}}."""
    matrices: dict[str, list[jax.Array]] = {}
    others = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if _is_matrix(path, leaf):
            matrices.setdefault("x".join(map(str, leaf.shape)), []).append(leaf)
        else:
            others[jax.tree_util.keystr(path)] = leaf
    return {"matrices": {shape: jnp.stack(of) for shape, of in matrices.items()}, "others": others}


def _unstack(stacked: dict[str, dict[str, jax.Array]], like: Any) -> Any:
    matrices = {shape: iter(of) for shape, of in stacked["matrices"].items()}

    def leaf(path: Any, leaf: Any) -> Any:
        if _is_matrix(path, leaf):
            return next(matrices["x".join(map(str, leaf.shape))])
        return stacked["others"][jax.tree_util.keystr(path)]

    return jax.tree_util.tree_map_with_path(leaf, like)
