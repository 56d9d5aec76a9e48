"""Attention of new tokens to a shared prefix and to a cache, as one kernel for GPUs: scores never leave the chip.

Plain XLA writes the float32 scores of every head to memory and reads them back several times, which is what scoring
answers after long prompts would mostly wait for. One program of the kernel takes a block of queries of one head
through the keys block by block, with the running maximum and sum of flash attention (Dao, arXiv 2307.08691): first
through the prefix, which all rows have in common, then through the row's own slots.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as gpu
from jaxtyping import Array, Bool, Float, Int

from ttt_jax.model.flash import SMALLEST, blocks, flash_end, flash_start, flash_step

BLOCK_QUERIES, BLOCK_KEYS = 128, 64


def fused_attention(
    q: Float[Array, "batch length heads head_dim"],
    keys: Float[Array, "batch kv_heads slots head_dim"],
    values: Float[Array, "batch kv_heads slots head_dim"],
    valid: Bool[Array, "batch slots"],
    start: Int[Array, ""] | int,
    prefix: tuple[Float[Array, "kv_heads prefix head_dim"], Float[Array, "kv_heads prefix head_dim"], Int[Array, ""]],
    interpret: bool = False,
) -> Float[Array, "batch length heads head_dim"]:
    """Token i of a row attends to the prefix and to its own valid slots up to `start + i`.

    Mapped over tasks it stays one kernel. There is no gradient.

    Args:
      q: of the tokens that lie in slots `start`, `start + 1`, ...
      keys, values: of each row's own slots.
      valid: which of them hold something.
      start: the slot of the first token.
      prefix: keys, values, and how many of the prefix's slots, the first ones, hold something.
      interpret: run it on any machine, slowly.

    Returns:
      in the type of q; of a token with nothing to attend to, some finite value.
    """
    batch, length, heads, head_dim = q.shape
    kv_heads, slots, prefix_slots = keys.shape[1], keys.shape[2], prefix[0].shape[1]
    block = min(BLOCK_QUERIES, max(SMALLEST, 1 << (length - 1).bit_length()))
    padded = -(-length // block) * block
    q = jnp.pad(q, ((0, 0), (0, padded - length), (0, 0), (0, 0)))

    group = heads // kv_heads
    of_queries = pl.BlockSpec((None, block, None, head_dim), lambda i, b, h: (b, i, h, 0))
    shared = pl.BlockSpec((None, prefix_slots, head_dim), lambda i, b, h: (h // group, 0, 0))
    own = pl.BlockSpec((None, None, slots, head_dim), lambda i, b, h: (b, h // group, 0, 0))
    of_row = pl.BlockSpec((None, slots), lambda i, b, h: (b, 0))
    number = pl.BlockSpec((1,), lambda i, b, h: (0,))
    out = pl.pallas_call(
        partial(_kernel, block=block, prefix_slots=prefix_slots, slots=slots),
        grid=(padded // block, batch, heads),
        in_specs=[of_queries, shared, shared, number, own, own, of_row, number],
        out_specs=of_queries,
        out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
        compiler_params=gpu.CompilerParams(num_warps=4 if head_dim <= 64 else 8, num_stages=2),
        interpret=interpret,
        name="fused_attention",
    )(
        q, prefix[0], prefix[1], jnp.asarray(prefix[2], jnp.int32)[None], keys, values, valid.astype(jnp.int8),
        jnp.asarray(start, jnp.int32)[None],
    )  # fmt: skip
    return out[:, :length]


def _kernel(
    q_ref: Any, prefix_keys_ref: Any, prefix_values_ref: Any, prefix_length_ref: Any, keys_ref: Any, values_ref: Any,
    valid_ref: Any, start_ref: Any, out_ref: Any, *, block: int, prefix_slots: int, slots: int,
) -> None:  # fmt: skip
    """One block of queries of one head of one row."""
    head_dim = q_ref.shape[-1]
    q = q_ref[...]

    def attend(keys_ref, values_ref, count, allowed):
        """The step of the loop over blocks of keys; `allowed` says which slots of a block each query may see."""

        def step(j, carry):
            rows = pl.ds(j * BLOCK_KEYS, BLOCK_KEYS)
            slot = j * BLOCK_KEYS + jnp.arange(BLOCK_KEYS)
            # The last block may reach beyond the end.
            there = (
                None if count % BLOCK_KEYS == 0 else jnp.broadcast_to((slot < count)[:, None], (BLOCK_KEYS, head_dim))
            )
            return flash_step(
                q,
                lambda: _load(keys_ref, rows, there),
                lambda: _load(values_ref, rows, there),
                allowed(slot, rows),
                carry,
            )

        return step

    carry = flash_start(block, head_dim)
    length, start = prefix_length_ref[0], start_ref[0]
    of_prefix = attend(
        prefix_keys_ref, prefix_values_ref, prefix_slots,
        lambda slot, _: jnp.broadcast_to((slot < length)[None], (block, BLOCK_KEYS)),
    )  # fmt: skip
    carry = jax.lax.fori_loop(0, blocks(length, BLOCK_KEYS), of_prefix, carry)

    first = start + pl.program_id(0) * block
    own_slots = first + jnp.arange(block)

    def own_allowed(slot, rows):
        there = None if slots % BLOCK_KEYS == 0 else slot < slots
        valid = _load(valid_ref, rows, there) != 0
        return (slot[None] <= own_slots[:, None]) & valid[None]

    last = jnp.minimum(first + block, slots)
    carry = jax.lax.fori_loop(0, blocks(last, BLOCK_KEYS), attend(keys_ref, values_ref, slots, own_allowed), carry)
    out_ref[...] = flash_end(carry, out_ref.dtype)


def _load(ref: Any, rows: Any, there: jax.Array | None) -> jax.Array:
    of_rows = ref.at[rows] if len(ref.shape) == 1 else ref.at[rows, :]
    return gpu.load(of_rows) if there is None else gpu.load(of_rows, mask=there, other=0)
