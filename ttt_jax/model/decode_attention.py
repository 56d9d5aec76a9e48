"""Attention of one new token a row to its cache, as a kernel for GPUs that reads what the row has written and no more.

Plain XLA reads every slot of every row, masked or not: the padding after short prompts, room that no answer has needed
yet, and all of a row that is done. In a batch whose answers differ in length most of what it reads is that. Decoding
waits for memory alone, so slots that are not read are time that is not spent. One program of the kernel takes the
queries of one key-value head of one row through two spans of slots, its prompt and what was written after it, block by
block, with the running maximum and sum of flash attention (Dao, arXiv 2307.08691).
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as gpu
from jaxtyping import Array, Float, Int

from ttt_jax.model.flash import SMALLEST, blocks, flash_end, flash_start, flash_step

BLOCK = 64
"""Slots that are read at a time."""


def decode_attention(
    q: Float[Array, "batch 1 heads head_dim"],
    keys: Float[Array, "batch kv_heads slots head_dim"],
    values: Float[Array, "batch kv_heads slots head_dim"],
    prompts: Int[Array, " batch"],
    end: Int[Array, ""] | int,
    width: int,
    interpret: bool = False,
) -> Float[Array, "batch 1 heads head_dim"]:
    """A row's token attends to its first `prompts` slots and to those from `width` to before `end`.

    Mapped over tasks it stays one kernel. There is no gradient.

    Args:
      q: of the token that lies in slot `end - 1`.
      keys, values: of each row's slots.
      prompts: as in `cache.Spans`: a row with -1 reads nothing.
      end: the slot after the last that holds something.
      width: slots set apart for prompts.
      interpret: run it on any machine, slowly.

    Returns:
      in the type of q; 0 for rows that read nothing.
    """
    batch, length, heads, head_dim = q.shape
    assert length == 1
    kv_heads, slots = keys.shape[1], keys.shape[2]
    group = heads // kv_heads
    # A matrix unit takes no fewer rows; those beyond the group are computed for nothing, which costs no time.
    rows = max(SMALLEST, 1 << (group - 1).bit_length())
    q = jnp.pad(q.reshape(batch, kv_heads, group, head_dim), ((0, 0), (0, 0), (0, rows - group), (0, 0)))

    of_queries = pl.BlockSpec((None, None, rows, head_dim), lambda b, h: (b, h, 0, 0))
    own = pl.BlockSpec((None, None, slots, head_dim), lambda b, h: (b, h, 0, 0))
    out = pl.pallas_call(
        partial(_kernel, width=width, slots=slots),
        grid=(batch, kv_heads),
        in_specs=[
            of_queries, own, own, pl.BlockSpec((1,), lambda b, h: (b,)), pl.BlockSpec((1,), lambda b, h: (0,)),
        ],
        out_specs=of_queries,
        out_shape=jax.ShapeDtypeStruct(q.shape, q.dtype),
        compiler_params=gpu.CompilerParams(num_warps=4, num_stages=3),
        interpret=interpret,
        name="decode_attention",
    )(q, keys, values, prompts, jnp.asarray(end, jnp.int32)[None])  # fmt: skip
    return out[:, :, :group].reshape(batch, 1, heads, head_dim)


def _kernel(
    q_ref: Any, keys_ref: Any, values_ref: Any, prompt_ref: Any, end_ref: Any, out_ref: Any, *, width: int, slots: int
) -> None:
    """The queries of one key-value head of one row."""
    rows, head_dim = q_ref.shape
    q = q_ref[...]

    def attend(first: int, stop: jax.Array) -> Any:
        """The step of the loop over blocks of the span from `first` to before `stop`."""

        def step(j, carry):
            start = first + j * BLOCK
            slot = start + jnp.arange(BLOCK)
            there = jnp.broadcast_to((slot < stop)[:, None], (BLOCK, head_dim))
            block = pl.ds(start, BLOCK)
            return flash_step(
                q,
                lambda: gpu.load(keys_ref.at[block, :], mask=there, other=0),
                lambda: gpu.load(values_ref.at[block, :], mask=there, other=0),
                jnp.broadcast_to((slot < stop)[None], (rows, BLOCK)),
                carry,
            )

        return step

    carry = flash_start(rows, head_dim)
    prompt = prompt_ref[0]
    end = jnp.where(prompt < 0, width, jnp.minimum(end_ref[0], slots))
    carry = jax.lax.fori_loop(0, blocks(jnp.maximum(prompt, 0), BLOCK), attend(0, prompt), carry)
    carry = jax.lax.fori_loop(0, blocks(end - width, BLOCK), attend(width, end), carry)
    out_ref[...] = flash_end(carry, out_ref.dtype)
