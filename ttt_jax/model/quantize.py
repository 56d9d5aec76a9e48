"""Base kernels that stay quantised in memory: int8 per output channel, or 4-bit NormalFloat in blocks.

A quantised kernel stands in the parameter tree where the array stood, and
`astype` dequantises it: the decoder computes with it as with any other kernel.
Only the linear layers inside the decoder's layers are quantised (the embedding,
the head and the norms are not, as in QLoRA, arXiv 2305.14314), and only as a
frozen base: adapters and their gradients are in full precision.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8, UInt8

from ttt_jax.model.tree import flatten, unflatten

Method = Literal["int8", "nf4"]

BLOCK = 64
# The quantiles of a normal distribution, scaled to [-1, 1], with an exact zero (arXiv 2305.14314, appendix E).
NF4 = np.array(
    [
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
    ],
    np.float32,
)  # fmt: skip


class QuantisedKernel:
    """A kernel [in, out] that `astype` dequantises."""

    dtype = jnp.float32
    """The type that it stands for; merging an adapter into it gives an array of this type."""

    def astype(self, dtype: Any) -> jax.Array:
        raise NotImplementedError


@flax.struct.dataclass
class Int8Kernel(QuantisedKernel):
    """`values * scales`, one scale for each output channel."""

    values: Int8[Array, "in out"]
    scales: Float[Array, "1 out"]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    def astype(self, dtype: Any) -> jax.Array:
        return (self.values.astype(jnp.float32) * self.scales).astype(dtype)


@flax.struct.dataclass
class NF4Kernel(QuantisedKernel):
    """4-bit codes of blocks of 64 inputs, each with the largest magnitude in it as its scale.

    Attributes:
      codes: two to a byte: the first half of a block in the low bits, the second in the high bits.
      scales: one for each block and output.
      in_features: rows of the kernel; the last block may go beyond.
    """

    codes: UInt8[Array, "blocks half out"]
    scales: Float[Array, "blocks 1 out"]
    in_features: int = flax.struct.field(pytree_node=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.in_features, self.codes.shape[-1]

    def astype(self, dtype: Any) -> jax.Array:
        codes = jnp.concatenate([self.codes & 15, self.codes >> 4], axis=1)
        # Sixteen selects run on every accelerator at the speed of memory; a gather does not.
        values = jax.lax.select_n(codes.astype(jnp.int32), *(jnp.full(codes.shape, level) for level in NF4))
        kernel = (values * self.scales.astype(jnp.float32)).astype(dtype)
        return kernel.reshape(-1, kernel.shape[-1])[: self.in_features]


def quantised_matmul(
    x: Float[Array, "... in"], kernel: QuantisedKernel, dtype: Any, out_dtype: Any = None
) -> Float[Array, "... out"]:
    """`x @ kernel`, the kernel dequantised to `dtype` for this product alone, and again for its gradient.

    The gradient is with respect to `x`; a quantised kernel has none (zeros).
    """
    return _matmul(x, kernel, dtype, out_dtype)


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _matmul(x: jax.Array, kernel: QuantisedKernel, dtype: Any, out_dtype: Any) -> Any:
    x, kernel = _now(x, kernel)
    return jnp.matmul(x, kernel.astype(dtype), preferred_element_type=out_dtype)


def _forward(x, kernel, dtype, out_dtype):
    # Left to itself, autodiff would keep the dequantised kernel for the backward pass.
    return _matmul(x, kernel, dtype, out_dtype), (kernel, jnp.zeros((), x.dtype))


def _backward(dtype, out_dtype, residuals, dy):
    kernel, like_x = residuals
    dy, dequantised = _now(dy, kernel)
    dx = jnp.matmul(dy.astype(dtype), dequantised.astype(dtype).T).astype(like_x.dtype)
    none = jax.tree.map(
        lambda leaf: (
            jnp.zeros_like(leaf)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else np.zeros(leaf.shape, jax.dtypes.float0)
        ),
        kernel,
    )
    return dx, none


_matmul.defvjp(_forward, _backward)


def _now(x: jax.Array, kernel: QuantisedKernel) -> tuple[jax.Array, QuantisedKernel]:
    """Ties dequantising to an activation: else it moves out of the loop over steps, and all layers stand at once."""
    return jax.lax.optimization_barrier((x, kernel))


def quantizes(path: str) -> bool:
    """Whether a parameter is quantised: the kernels of layers."""
    return path.startswith("layers_") and path.endswith(".kernel")


@partial(jax.jit, static_argnames="method")
def quantize_kernel(kernel: Float[Array, "in out"], method: Method) -> QuantisedKernel:
    """The nearest representable kernel; zeros stay zero.

    Raises:
      ValueError: there is no such method.
    """
    kernel = kernel.astype(jnp.float32)
    if method == "int8":
        scales = jnp.max(jnp.abs(kernel), axis=0, keepdims=True) / 127
        values = jnp.round(kernel / jnp.where(scales > 0, scales, 1)).astype(jnp.int8)
        return Int8Kernel(values, scales)
    if method != "nf4":
        raise ValueError(f"quantize: {method!r} is not one of int8, nf4")
    rows = kernel.shape[0]
    blocks = jnp.pad(kernel, ((0, -rows % BLOCK), (0, 0))).reshape(-1, BLOCK, kernel.shape[1])
    # Rounded before the codes are chosen, so that these fit the scale that will be used.
    scales = jnp.max(jnp.abs(blocks), axis=1, keepdims=True).astype(jnp.bfloat16)
    scaled = blocks / jnp.where(scales > 0, scales, 1).astype(jnp.float32)
    codes = sum((scaled > middle).astype(jnp.uint8) for middle in (NF4[1:] + NF4[:-1]) / 2)
    low, high = jnp.split(codes, 2, axis=1)
    return NF4Kernel(low | high << 4, scales, rows)


def quantize(params: Any, method: Method) -> Any:
    """The base with the kernels of its layers quantised."""
    flat = flatten(params).items()
    return unflatten({path: quantize_kernel(leaf, method) if quantizes(path) else leaf for path, leaf in flat})


def dequantize(params: Any, dtype: Any = jnp.float32) -> Any:
    """The base with arrays of `dtype` in place of quantised kernels."""
    return jax.tree.map(lambda leaf: leaf.astype(dtype) if is_quantised(leaf) else leaf, params, is_leaf=is_quantised)


def is_quantised(leaf: Any) -> bool:
    return isinstance(leaf, QuantisedKernel)
