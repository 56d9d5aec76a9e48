"""Rotary position embedding whose frequency pairs are shared out over several position axes."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttt_jax.model.config import ModelConfig, RopeScaling


def inverse_frequencies(config: ModelConfig) -> tuple[np.ndarray, np.ndarray]:
    """The turning rate of each pair and the axis that turns it.

    Returns:
      rates: float32[head_dim / 2]; pair i of an axis with n pairs turns by
        theta ** (-i / n) radians a position (arXiv 2104.09864, equation 15),
        slowed by `config.rope.scaling`.
      axes: int32[head_dim / 2], the position axis of each pair.
    """
    pairs = config.rope.pairs or (config.head_dim // 2,)
    rates = np.concatenate([theta ** (-np.arange(n) / n) for theta, n in zip(config.rope.theta, pairs, strict=True)])
    if config.rope.scaling is not None:
        rates = scale_rates(rates, config.rope.scaling)
    return rates.astype(np.float32), np.repeat(np.arange(len(pairs)), pairs)


def scale_rates(rates: np.ndarray, scaling: RopeScaling) -> np.ndarray:
    """The slower rates, in radians a position, that `scaling` makes of `rates`."""
    low, high, length = scaling.low_freq_factor, scaling.high_freq_factor, scaling.original_length
    if low is None or high is None or length is None:
        return rates / scaling.factor
    turns = length * rates / (2 * np.pi)
    kept = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return kept * rates + (1 - kept) * rates / scaling.factor


def rope_table(
    config: ModelConfig, positions: Int[Array, "batch length axes"]
) -> tuple[Float[Array, "batch length 1 pairs"], Float[Array, "batch length 1 pairs"]]:
    """Cosines and sines (float32) that `rotate` takes, computed once for all layers."""
    rates, axes = inverse_frequencies(config)
    angles = positions[..., axes].astype(jnp.float32) * jnp.broadcast_to(rates, positions.shape[:-1] + rates.shape)
    return jnp.cos(angles)[..., None, :], jnp.sin(angles)[..., None, :]


def rotate(x: Float[Array, "batch length heads head_dim"], table) -> Float[Array, "batch length heads head_dim"]:
    """Turns the pairs (x[i], x[i + head_dim / 2]): the half-split layout of Llama checkpoints.

    One expression over the whole head, so that it fuses with the norm before it
    (split into halves and joined again, it was several kernels on a GPU, forward and backward).
    """
    cos, sin = table
    x_f32 = x.astype(jnp.float32)
    partner = jnp.roll(x_f32, x.shape[-1] // 2, axis=-1)
    turned = x_f32 * jnp.concatenate([cos, cos], axis=-1) + partner * jnp.concatenate([-sin, sin], axis=-1)
    return turned.astype(x.dtype)
