"""The linear layer: a base kernel, its bias and its adapter, with the fewest bytes and operations."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float

from ttt_jax.model.quantize import QuantisedKernel, quantised_matmul

PRODUCT = "product"
"""Checkpoint name of what a remat policy may keep: the results of products."""

# Operations for which an accelerator reads or writes one byte (H100: 266, TPU v5e: 240).
OPERATIONS_PER_BYTE = 256


def project(
    x: Float[Array, "... in"], weights: dict[str, Any], scale: float, dtype: Any, out_dtype: Any = None
) -> Float[Array, "... out"]:
    """`x W + bias + scale * (x A) B`: a linear layer, with its bias and its adapter where there are any.

    Where that takes less time (`merging_pays`), the adapter is added to the
    kernel, `x (W + scale * A B)`, with gradients for both factors. In a narrow
    type this rounds the sum. With dropout, adapter and base have different
    inputs, and the adapter stays beside the kernel.

    Args:
      x: activations. Under vmap over tasks with `weights["kernel"]` unmapped, the
        base's product stays one product over all tasks.
      weights: kernel [in, out], and where there are any bias [out], a [in, rank], b [rank, out] and, while
        training, dropout, a function of what the adapter reads.
      scale: factor of the adapter's product.
      dtype: type of the operands.
      out_dtype: type of the result; None is `dtype`.
    """
    lead, x = x.shape[:-1], x.astype(dtype)
    # One axis of tokens: under vmap a product over two of them is transposed in memory first.
    x = x.reshape(-1, x.shape[-1])
    kernel, adapted, quantised = weights["kernel"], "a" in weights, isinstance(weights["kernel"], QuantisedKernel)
    dropout = weights.get("dropout")
    fan_in, fan_out = kernel.shape
    y: Any
    mergeable = adapted and not quantised and dropout is None
    if mergeable and merging_pays(len(x), fan_in, fan_out, weights["b"].shape[0]):
        y = merged_matmul(x, kernel, weights["a"], weights["b"], scale, out_dtype)
        adapted = False
    elif quantised:
        y = quantised_matmul(x, kernel, dtype, out_dtype)
    else:
        y = jnp.matmul(x, kernel.astype(dtype), preferred_element_type=out_dtype)
    if "bias" in weights:
        y = y + weights["bias"].astype(y.dtype)[None]
    if adapted:
        read = x if dropout is None else dropout(x)
        low = checkpoint_name(jnp.matmul(read, weights["a"].astype(dtype)), PRODUCT)
        y = y + scale * jnp.matmul(low, weights["b"].astype(dtype), preferred_element_type=out_dtype)
    return checkpoint_name(y, PRODUCT).reshape(*lead, -1)


def keep_products(primitive: Any, *args: Any, **params: Any) -> bool:
    """A remat policy: products and attention (whose kernels keep the logs of their sums) are not computed again."""
    attention = primitive.name.startswith("dot_product_attention_fwd")  # cudnn's
    return attention or jax.checkpoint_policies.save_only_these_names(PRODUCT)(primitive, *args, **params)


def merging_pays(tokens: int, fan_in: int, fan_out: int, rank: int) -> bool:
    """Whether a training step of one task is clearly faster with its adapter added to the kernel than beside it.

    Counted as in a roofline: every product takes the longer of its operations
    and its bytes (two an element). Beside the kernel there are six thin
    products, and their sums with the base's. Added to it there are the product
    A B, the sum, the kernel's gradient, and two products from that to the
    factors'. Many tokens through small matrices speak for adding; a few
    (decoding), or matrices so large that a third product of their size costs
    more than some bytes, against. A quarter must be gained: every task has a
    kernel of its own then, which takes memory.
    """

    def time(rows: int, inner: int, columns: int) -> float:
        moved = 2 * (rows * inner + inner * columns + rows * columns)
        return max(2.0 * rows * inner * columns, OPERATIONS_PER_BYTE * moved)

    beside = 3 * (time(tokens, fan_in, rank) + time(tokens, rank, fan_out))
    beside += OPERATIONS_PER_BYTE * 2 * tokens * (fan_in + fan_out)
    added = 3 * time(fan_in, rank, fan_out) + OPERATIONS_PER_BYTE * 2 * fan_in * fan_out
    return added + time(fan_in, tokens, fan_out) < 0.75 * beside


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def merged_matmul(
    x: Float[Array, "tokens in"],
    kernel: Float[Array, "in out"],
    a: Float[Array, "in rank"],
    b: Float[Array, "rank out"],
    scale: float,
    out_dtype: Any = None,
) -> Float[Array, "tokens out"]:
    """`x (kernel + scale * a b)`, summed in float32 and multiplied in the type of `x`.

    The gradients of the factors come from that of the sum, dW = x' dy:
    scale * dW b' and scale * a' dW. So no product of the size of the
    activations has the rank as an axis.
    """
    return jnp.matmul(x, _sum(x, kernel, a, b, scale), preferred_element_type=out_dtype)


def _sum(x: jax.Array, kernel: jax.Array, a: jax.Array, b: jax.Array, scale: float) -> jax.Array:
    delta = jnp.matmul(a.astype(x.dtype), b.astype(x.dtype)).astype(jnp.float32)
    return (kernel.astype(jnp.float32) + scale * delta).astype(x.dtype)


def _merged_forward(x, kernel, a, b, scale, out_dtype):
    merged = _sum(x, kernel, a, b, scale)
    like_kernel = jnp.zeros((), kernel.dtype)
    return jnp.matmul(x, merged, preferred_element_type=out_dtype), (x, merged, a, b, like_kernel)


def _merged_backward(scale, out_dtype, residuals, dy):
    x, merged, a, b, like_kernel = residuals
    dy = dy.astype(x.dtype)
    d_merged = jnp.matmul(x.T, dy)
    da = scale * jnp.matmul(d_merged, b.astype(x.dtype).T, preferred_element_type=jnp.float32)
    db = scale * jnp.matmul(a.astype(x.dtype).T, d_merged, preferred_element_type=jnp.float32)
    return jnp.matmul(dy, merged.T), d_merged.astype(like_kernel.dtype), da.astype(a.dtype), db.astype(b.dtype)


merged_matmul.defvjp(_merged_forward, _merged_backward)
