"""The one attention function, behind which the kernels live."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int

from ttt_jax.model.cache import Reading
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.decode_attention import decode_attention
from ttt_jax.model.flash import SMALLEST
from ttt_jax.model.fused_attention import fused_attention

Kernel = Literal["cudnn", "splash", "xla"]
Kernels = Literal["auto", "library", "xla"]
"""What attention may run on: the fastest kernels that there are, all but our own, or plain XLA."""

# Rows and columns of scores that splash attention holds at a time; sequences are padded to whole lanes.
SPLASH_BLOCK, LANES = 512, 128


def kernel_name(dtype: Any, head_dim: int) -> Kernel:
    """The kernel that causal attention runs on here: `cudnn`, `splash` (Pallas, TPU) or `xla`.

    Here is the mesh around the call, else the default backend. cudnn has no segments and gives way to xla there.
    """
    platform = _platform()
    if platform == "tpu":
        # XLA cannot split a Pallas kernel over chips: that takes a mesh (`_on_each_device`).
        one_chip = jax.local_device_count() == 1
        return "xla" if jax.sharding.get_abstract_mesh().empty and not one_chip else "splash"
    # The name of the platform is gpu for a backend and may be cuda for a device.
    on_gpu = platform in ("gpu", "cuda")
    return "cudnn" if on_gpu and dtype == jnp.bfloat16 and head_dim % 8 == 0 and head_dim <= 128 else "xla"


def causal_attention(
    q: Float[Array, "batch length heads head_dim"],
    k: Float[Array, "batch length kv_heads head_dim"],
    v: Float[Array, "batch length kv_heads head_dim"],
    segments: Int[Array, "batch length"] | None = None,
    window: int | None = None,
    batch_axes: tuple[str, ...] = (),
    kernels: Kernels = "auto",
) -> Float[Array, "batch length heads head_dim"]:
    """Each position attends to itself and earlier ones.

    Within its own segment where segments are given, and to the last `window`
    positions (itself included) where that is given. Under a mesh, heads are
    split over `tensor`, and the batch over `batch_axes`, or by task where it is
    mapped over tasks (`mesh.over_tasks`).
    """
    kernel = "xla" if kernels == "xla" else kernel_name(q.dtype, q.shape[-1])
    if kernel == "splash":
        return _on_each_device(splash_attention, batch_axes)(q, k, v, segments, window)
    if segments is not None:
        kernel = "xla"
    reach = None if window is None else (window - 1, 0)
    same = None if segments is None else segments[:, None, :, None] == segments[:, None, None, :]
    return jax.nn.dot_product_attention(
        q, k, v, mask=same, is_causal=True, local_window_size=reach, implementation=kernel
    )


def splash_attention(
    q: Float[Array, "batch length heads head_dim"],
    k: Float[Array, "batch length kv_heads head_dim"],
    v: Float[Array, "batch length kv_heads head_dim"],
    segments: Int[Array, "batch length"] | None = None,
    window: int | None = None,
    interpret: bool = False,
) -> Float[Array, "batch length heads head_dim"]:
    """`causal_attention` on the Pallas kernel that jax has for TPUs, on one device.

    Blocks of scores above the diagonal, or before the window, are never
    computed. Lengths are padded to a multiple of 128. A head_dim of 64 goes in
    as it is: in the kernel's tiles half of the 128 lanes is empty, in HBM it is
    dense along the other axes. `interpret` runs it on any machine, slowly.
    """
    length, heads = q.shape[1], q.shape[2]
    padded = -(-length // LANES) * LANES
    pad = ((0, 0), (0, padded - length), (0, 0), (0, 0))
    q, k, v = (jnp.pad(x, pad) for x in (q * q.shape[-1] ** -0.5, k, v))
    if segments is not None:
        segments = jnp.pad(segments, pad[:2], constant_values=-1)
    kernel = _splash_kernel(padded, heads, window, interpret)

    def one_row(q_LxHxE, k_LxKxE, v_LxKxE, segments_L):
        ids = None if segments_L is None else splash.SegmentIds(segments_L, segments_L)
        by_head = (x.swapaxes(0, 1) for x in (q_LxHxE, k_LxKxE, v_LxKxE))
        return kernel(*by_head, segment_ids=ids).swapaxes(0, 1)

    return jax.vmap(one_row)(q, k, v, segments)[:, :length]


def _splash_kernel(length: int, heads: int, window: int | None, interpret: bool) -> Any:
    shape = (length, length)
    mask = masks.CausalMask(shape) if window is None else masks.LocalMask(shape, (window - 1, 0), 0)
    block = math.gcd(length, SPLASH_BLOCK)
    sizes = splash.BlockSizes(
        block_q=block, block_kv=block, block_kv_compute=block,
        block_q_dkv=block, block_kv_dkv=block, block_kv_dkv_compute=block, use_fused_bwd_kernel=True,
    )  # fmt: skip
    return splash.make_splash_mha(
        masks.MultiHeadMask([mask] * heads), block_sizes=sizes, head_shards=1, q_seq_shards=1, interpret=interpret
    )


def _on_each_device(attend: Any, batch_axes: tuple[str, ...]) -> Any:
    """Runs a kernel that XLA cannot split on each device's own rows and heads."""
    if jax.sharding.get_abstract_mesh().empty:
        return attend

    def sharded(q, k, v, segments, window):
        rows = batch_axes or None
        of_heads, of_rows = PartitionSpec(rows, None, "tensor", None), PartitionSpec(rows, None)
        local = jax.shard_map(
            lambda *args: attend(*args, window),
            in_specs=(of_heads, of_heads, of_heads, None if segments is None else of_rows),
            out_specs=of_heads,
            check_vma=False,
        )
        return local(q, k, v, segments)

    return sharded


def _platform() -> str:
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def fuses(dtype: Any, head_dim: int) -> bool:
    """Whether our own kernels run here: in bfloat16, on one GPU, for head_dims of 16, 32, 64 and 128.

    They are `fused_attention` and `decode_attention`.
    """
    alone = jax.sharding.get_abstract_mesh().empty  # XLA cannot split it over devices
    return alone and _platform() in ("gpu", "cuda") and dtype == jnp.bfloat16 and head_dim in (16, 32, 64, 128)


def reads_free_room(kernels: Kernels, dtype: Any, config: ModelConfig) -> bool:
    """Whether decoding reads slots that hold nothing: all attention but `decode_attention` does."""
    windows = any(config.window(i) is not None for i in range(config.num_layers))
    return kernels != "auto" or windows or not fuses(dtype, config.head_dim)


def fused_fault(heads: int, kv_heads: int, head_dim: int) -> str | None:
    """Why our own kernels are of no use here though `fuses` says that they run; None where they are right.

    Compilers of kernels change: small cases are compiled, run and held against plain attention.
    """
    L, S, P, start, width = 128, 256, 192, 100, 64
    keys = jax.random.split(jax.random.key(0), 5)
    shapes = [(1, L, heads, head_dim), *[(1, kv_heads, S, head_dim)] * 2, *[(kv_heads, P, head_dim)] * 2]
    q, k, v, *prefix = (jax.random.normal(key, s, jnp.bfloat16) for key, s in zip(keys, shapes, strict=True))
    valid, length = jnp.ones((1, S), bool), jnp.int32(P - 30)
    mask = (jnp.arange(S)[None] <= start + jnp.arange(L)[:, None])[None]
    seen = jnp.broadcast_to(jnp.arange(P) < length, (1, L, P))
    slot, prompt = jnp.arange(S), jnp.full((1,), width - 9, jnp.int32)
    written = ((slot < width - 9) | ((slot >= width) & (slot < start)))[None, None]
    plain, of_one = jax.jit(cached_attention), jax.jit(decode_attention, static_argnames="width")
    try:
        pairs = [
            (
                jax.jit(fused_attention)(q, k, v, valid, jnp.int32(start), (prefix[0], prefix[1], length)),
                plain(q, k, v, mask, (prefix[0], prefix[1], seen)),
            ),
            (of_one(q[:, :1], k, v, prompt, jnp.int32(start), width=width), plain(q[:, :1], k, v, written)),
        ]
        difference = max(float(jnp.abs(a.astype(jnp.float32) - b.astype(jnp.float32)).max()) for a, b in pairs)
    except Exception as error:  # whatever a compiler raises
        return f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
    return None if difference < 0.05 else f"its results differ from plain attention's by {difference:.3g}"


def reading_attention(
    q: Float[Array, "batch length heads head_dim"],
    keys: Float[Array, "batch kv_heads slots head_dim"],
    values: Float[Array, "batch kv_heads slots head_dim"],
    reading: Reading,
    prefix: tuple[jax.Array, jax.Array] | None = None,
    kernels: Kernels = "auto",
) -> Float[Array, "batch length heads head_dim"]:
    """Attention of new tokens, which lie in the cache already, to what `reading` lets them attend to.

    Args:
      q: of the new tokens.
      keys, values: the slots of a layer's cache.
      reading: its masks.
      prefix: keys and values [kv_heads, slots, head_dim] that the rows have in common.
      kernels: `auto` takes our own where they run: for one token a row, and for several after a prefix.
    """
    assert reading.mask is not None
    ours = kernels == "auto" and fuses(q.dtype, q.shape[-1])
    if prefix is None:
        if ours and q.shape[1] == 1 and reading.spans is not None:
            return decode_attention(q, keys, values, reading.spans.prompts, reading.start + 1, reading.spans.width)
        return cached_attention(q, keys, values, reading.mask)
    assert reading.prefix_mask is not None
    many = q.shape[1] >= SMALLEST  # with few, one product for all rows reads the prefix less often
    if ours and many and reading.prefix_length is not None:
        assert reading.valid is not None
        return fused_attention(q, keys, values, reading.valid, reading.start, (*prefix, reading.prefix_length))
    return cached_attention(q, keys, values, reading.mask, (*prefix, reading.prefix_mask))


SharedPrefix = tuple[
    Float[Array, "kv_heads slots head_dim"], Float[Array, "kv_heads slots head_dim"], Bool[Array, "rows length slots"]
]
"""Keys and values that all rows of a batch attend to, and which of them each position may see (rows: batch or 1)."""


def cached_attention(
    q: Float[Array, "batch length heads head_dim"],
    keys: Float[Array, "batch kv_heads slots head_dim"],
    values: Float[Array, "batch kv_heads slots head_dim"],
    mask: Bool[Array, "batch length slots"],
    prefix: SharedPrefix | None = None,
) -> Float[Array, "batch length heads head_dim"]:
    """Attention of a few new positions to the slots of a cache that `mask` allows.

    And to a prefix `(keys, values, mask)` that the rows have in common: all
    rows' queries meet its keys in one product, which reads them once.
    """
    batch, length, heads, head_dim = q.shape
    kv_heads = keys.shape[1]
    q = q.reshape(batch, length, kv_heads, heads // kv_heads, head_dim)
    own = _scores("blkgd,bksd->bkgls", q, keys, mask[:, None, None])
    if prefix is None:
        weights = jax.nn.softmax(own, axis=-1).astype(values.dtype)
        return jnp.einsum("bkgls,bksd->blkgd", weights, values).reshape(batch, length, heads, head_dim)

    # One softmax over both, each in the order of axes in which its products leave and read it.
    swap = partial(jnp.transpose, axes=(1, 0, 3, 2))  # bkgl to kblg and back
    shared_keys, shared_values, shared_mask = prefix
    shared = _scores("blkgd,ksd->kblgs", q, shared_keys, shared_mask[None, :, :, None])
    top = jnp.maximum(own.max(axis=-1), swap(shared.max(axis=-1)))
    own, shared = jnp.exp(own - top[..., None]), jnp.exp(shared - swap(top)[..., None])
    total = own.sum(axis=-1) + swap(shared.sum(axis=-1))
    own = (own / total[..., None]).astype(values.dtype)
    shared = (shared / swap(total)[..., None]).astype(values.dtype)
    out = jnp.einsum("bkgls,bksd->blkgd", own, values) + jnp.einsum("kblgs,ksd->blkgd", shared, shared_values)
    return out.reshape(batch, length, heads, head_dim)


def _scores(product: str, q: jax.Array, keys: jax.Array, mask: jax.Array) -> jax.Array:
    scores = jnp.einsum(product, q, keys, preferred_element_type=jnp.float32) * q.shape[-1] ** -0.5
    # A finite floor: a row with nothing to attend to (padding) gets a uniform mean instead of NaN.
    return jnp.where(mask, scores, jnp.finfo(jnp.float32).min)
