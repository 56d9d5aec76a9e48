"""Rotary position embedding whose frequency pairs are shared out over several position axes."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttt_jax.model.config import ModelConfig


def inverse_frequencies(config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """The turning rate of each pair and the axis that turns it.

    Returns:
      rates: float32[head_dim / 2]; pair i of an axis with n pairs turns by
        theta ** (-i / n) radians a position (arXiv 2104.09864, equation 15).
      axes: int32[head_dim / 2], the position axis of each pair.
    """
    pairs = config.rope.pairs or (config.head_dim // 2,)
    rates = np.concatenate([theta ** (-np.arange(n) / n) for theta, n in zip(config.rope.theta, pairs, strict=True)])
    return rates.astype(np.float32), np.repeat(np.arange(len(pairs)), pairs)


def rope_table(
    config: ModelConfig, positions: Int[Array, "batch length axes"]
) -> tuple[Float[Array, "batch length 1 pairs"], Float[Array, "batch length 1 pairs"]]:
    """Cosines and sines (float32) that `rotate` takes, computed once for all layers."""
    rates, axes = inverse_frequencies(config)
    angles = positions[..., axes].astype(jnp.float32) * jnp.broadcast_to(rates, positions.shape[:-1] + rates.shape)
    return jnp.cos(angles)[..., None, :], jnp.sin(angles)[..., None, :]


def rotate(x: Float[Array, "batch length heads head_dim"], table) -> Float[Array, "batch length heads head_dim"]:
    """Turns the pairs (x[i], x[i + head_dim / 2]): the half-split layout of Llama checkpoints."""
    cos, sin = table
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    turned = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)
    return turned.astype(x.dtype)
