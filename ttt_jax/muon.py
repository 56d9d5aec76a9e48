"""Muon over a decoder: matrices of one shape are orthogonalised together, in a few large products."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax


def muon_for_layers(
    learning_rate: optax.Schedule, adam_learning_rate: optax.Schedule, b1: float, b2: float, weight_decay: float
) -> optax.GradientTransformation:
    """optax's Muon for the matrices inside the layers, Adam for the embedding, the head and the norms.

    Updates are scaled to the RMS of an AdamW update (arXiv 2502.16982), so that
    both rates are of the same order. A decoder has few shapes of matrix: the
    Newton-Schulz products of each run as one batched product, where one matrix
    at a time would be hundreds of small ones, each launched and compiled.
    """
    inner = optax.contrib.muon(
        learning_rate, adam_learning_rate=adam_learning_rate, adam_b1=b1, adam_b2=b2,
        weight_decay=weight_decay, weight_decay_mask=decayed,
        consistent_rms=0.2, muon_weight_dimension_numbers=_dimensions,
    )  # fmt: skip

    def update(updates: Any, state: Any, params: Any = None):
        stacked, state = inner.update(_stack(updates), state, None if params is None else _stack(params))
        return _unstack(stacked, updates), state

    return optax.GradientTransformation(lambda params: inner.init(_stack(params)), update)


def decayed(params: Any) -> Any:
    """Weight decay acts on matrices, not on norms."""
    return jax.tree.map(lambda p: p.ndim >= 2, params)


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


def _dimensions(stacked: dict[str, dict[str, jax.Array]]) -> Any:
    return {
        "matrices": {
            shape: optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2) for shape in stacked["matrices"]
        },
        "others": dict.fromkeys(stacked["others"]),
    }
