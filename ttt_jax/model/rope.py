"""Rotary position embedding whose frequency pairs are shared out over several position axes."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttt_jax.model.config import ModelConfig, RopeScaling

RopeTable = tuple[Float[Array, "batch length 1 pairs"], Float[Array, "batch length 1 pairs"]]
"""Cosines and sines of the angles, float32."""


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


def rope_table(config: ModelConfig, positions: Int[Array, "batch length axes"]) -> RopeTable:
    """What `rotate` takes, computed once for all layers."""
    rates, axes = inverse_frequencies(config)
    angles = positions[..., axes].astype(jnp.float32) * jnp.broadcast_to(rates, positions.shape[:-1] + rates.shape)
    return jnp.cos(angles)[..., None, :], jnp.sin(angles)[..., None, :]


def rotate(
    x: Float[Array, "batch length heads head_dim"], table: RopeTable
) -> Float[Array, "batch length heads head_dim"]:
    """Turns the pairs (x[i], x[i + head_dim / 2]): the half-split layout of Llama checkpoints.

    One expression over the whole head: split into halves and joined again, it
    was several kernels on a GPU, forward and backward.
    """
    return _turn(x.astype(jnp.float32), *table).astype(x.dtype)


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def norm_and_rotate(
    x: Float[Array, "batch length heads head_dim"], scale: Float[Array, " head_dim"], table: RopeTable, eps: float
) -> Float[Array, "batch length heads head_dim"]:
    """`rotate(x / rms(x) * scale)`, each head normalised on its own, in float32 (Qwen3's norm of q and k).

    A rotation keeps inner products, so that the sum which the norm's gradient
    needs, over the normed head times its gradient, is that over the result
    times its own: no reduction has a rotation in it, which is slow on a GPU.
    """
    return _norm_forward(x, scale, table, eps)[0]


def _norm_forward(x, scale, table, eps):
    x_f32 = x.astype(jnp.float32)
    inverse = jax.lax.rsqrt(jnp.mean(x_f32 * x_f32, axis=-1, keepdims=True) + eps)
    out = _turn(x_f32 * inverse * scale[None, None, None], *table).astype(x.dtype)
    return out, (x, inverse, scale, table, out)


def _norm_backward(eps, residuals, dy):
    x, inverse, scale, (cos, sin), out = residuals
    heads, head_dim = x.shape[-2:]
    dy = dy.astype(jnp.float32)
    along = jnp.mean(out.astype(jnp.float32) * dy, axis=-1, keepdims=True)
    back = _turn(dy, cos, -sin)
    normed = x.astype(jnp.float32) * inverse
    dx = inverse * (back * scale[None, None, None] - normed * along)
    # Over tokens first: a sum over tokens and heads at once has only head_dim columns, too few for a GPU.
    by_head = (back * normed).reshape(-1, heads * head_dim).sum(axis=0)
    return dx.astype(x.dtype), by_head.reshape(heads, head_dim).sum(axis=0).astype(scale.dtype), None


norm_and_rotate.defvjp(_norm_forward, _norm_backward)


def _turn(x: jax.Array, cos: jax.Array, sin: jax.Array) -> jax.Array:
    partner = jnp.roll(x, x.shape[-1] // 2, axis=-1)
    return x * jnp.concatenate([cos, cos], axis=-1) + partner * jnp.concatenate([-sin, sin], axis=-1)
