"""The one attention function, behind which the kernels live."""

from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


def kernel_name(dtype, head_dim: int) -> Literal["cudnn", "xla"]:
    """The kernel that causal attention without a mask runs on here: `cudnn` or `xla`."""
    on_gpu = jax.default_backend() == "gpu"
    return "cudnn" if on_gpu and dtype == jnp.bfloat16 and head_dim % 8 == 0 and head_dim <= 128 else "xla"


def causal_attention(
    q: Float[Array, "batch length heads head_dim"],
    k: Float[Array, "batch length kv_heads head_dim"],
    v: Float[Array, "batch length kv_heads head_dim"],
    segments: Int[Array, "batch length"] | None = None,
    window: int | None = None,
) -> Float[Array, "batch length heads head_dim"]:
    """Each position attends to itself and earlier ones.

    Within its own segment where segments are given, and to the last `window`
    positions (itself included) where that is given.
    """
    reach = None if window is None else (window - 1, 0)
    kernel = kernel_name(q.dtype, q.shape[-1]) if segments is None else "xla"
    same = None if segments is None else segments[:, None, :, None] == segments[:, None, None, :]
    return jax.nn.dot_product_attention(
        q, k, v, mask=same, is_causal=True, local_window_size=reach, implementation=kernel
    )


def cached_attention(
    q: Float[Array, "batch length heads head_dim"],
    keys: Float[Array, "batch kv_heads slots head_dim"],
    values: Float[Array, "batch kv_heads slots head_dim"],
    mask: Bool[Array, "batch length slots"],
) -> Float[Array, "batch length heads head_dim"]:
    """Attention of a few new positions to the slots of a cache that `mask` allows."""
    batch, length, heads, head_dim = q.shape
    kv_heads = keys.shape[1]
    q = q.reshape(batch, length, kv_heads, heads // kv_heads, head_dim)
    scores = jnp.einsum("blkgd,bksd->bkgls", q, keys, preferred_element_type=jnp.float32) * head_dim**-0.5
    # A finite floor: a row with nothing to attend to (padding) gets a uniform mean instead of NaN.
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    return jnp.einsum("bkgls,bksd->blkgd", weights, values).reshape(batch, length, heads, head_dim)
