"""A deeper model that computes what a shallower one does, to train on from there.

Each layer is followed by copies of itself whose two output projections are
zero: the residual stream passes through them unchanged, while everything
inside them is a trained layer's, which gets a gradient as soon as the output
projections have moved (function-preserving growth: Net2Net, arXiv 1511.05641;
stacked copies: arXiv 1906.02337).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from ttt_jax.model.config import ModelConfig

_RESIDUAL = (("attn", "o"), ("mlp", "down"))


def can_grow(small: ModelConfig, large: ModelConfig) -> bool:
    """Whether the two differ in nothing but that `large` has more layers."""
    return large.num_layers > small.num_layers and replace(small, num_layers=large.num_layers) == large


def grow(params: Any, small: ModelConfig, large: ModelConfig) -> Any:
    """Parameters of `large` with the logits of `small`.

    Args:
      params: of `small`.

    Raises:
      ValueError: the shapes differ in more than the number of layers, or `large` has fewer.
    """
    if not can_grow(small, large):
        raise ValueError(f"only a model that is deeper and otherwise alike can be grown into: {small} -> {large}")
    grown = {name: leaf for name, leaf in params.items() if not name.startswith("layers_")}
    before = None
    for i in range(large.num_layers):
        source = i * small.num_layers // large.num_layers
        layer = params[f"layers_{source}"]
        grown[f"layers_{i}"] = _silent(layer) if source == before else layer
        before = source
    # Copies: one buffer under two names cannot be donated.
    return jax.tree.map(jnp.copy, grown)


def _silent(layer: Any) -> Any:
    """The layer with nothing to add to the residual stream."""
    layer = {room: dict(parts) for room, parts in layer.items()}
    for room, name in _RESIDUAL:
        layer[room][name] = jax.tree.map(jnp.zeros_like, layer[room][name])
    return layer
