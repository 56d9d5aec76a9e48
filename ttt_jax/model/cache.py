"""The key-value cache: right-padded prompts, one common write index, a validity mask, a prefix shared by all rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from ttt_jax.model.config import ModelConfig


@flax.struct.dataclass
class Prefix:
    """Keys and values that all rows of a batch have in common, kept once.

    Attributes:
      keys, values: one [kv_heads, slots, head_dim] array per layer.
      length: how many of the slots, the first ones, hold something.
    """

    keys: tuple[Float[Array, "kv_heads slots head_dim"], ...]
    values: tuple[Float[Array, "kv_heads slots head_dim"], ...]
    length: Int[Array, ""]


@flax.struct.dataclass
class Spans:
    """Where rows that read padded prompts and then wrote side by side have something: in two spans of slots.

    Attributes:
      prompts: the first so many slots hold a row's prompt; -1: whatever is read in this row is of no use to anybody.
      width: slots set apart for prompts; what was written after them lies from there on.
    """

    prompts: Int[Array, " batch"]
    width: int = flax.struct.field(pytree_node=False)


@flax.struct.dataclass
class Reading:
    """Where a layer writes the keys and values of new tokens, and what these tokens may attend to.

    Attributes:
      start: the slot of the first.
      mask: None where the cache was empty: the tokens then attend to themselves only, through the flash kernel.
      prefix_mask: of the shared prefix, where there is one.
      valid, prefix_length: what both masks are made of, where there is a prefix and no window.
      spans: what the mask is made of, where it is known and there is no window.
    """

    start: Int[Array, ""] | int
    mask: Bool[Array, "batch length slots"] | None
    prefix_mask: Bool[Array, "rows length slots"] | None
    valid: Bool[Array, "batch slots"] | None = None
    prefix_length: Int[Array, ""] | None = None
    spans: Spans | None = None


@flax.struct.dataclass
class Cache:
    """Keys and values of everything read so far.

    Rows of a batch may have prompts of different lengths: they are padded on
    the right, all rows then write at the same slot (`length`), and `valid`
    says which slots hold something. A common index keeps every write a plain
    dynamic_update_slice (no per-row scatter), also under vmap over tasks.

    Attributes:
      keys, values: one [batch, kv_heads, slots, head_dim] array per layer.
        Heads come before slots so that attention reads each head's slots
        contiguously.
      valid: [batch, slots].
      length: the slot that is written next. The Python int 0 marks a cache
        known to be empty while tracing: see `Reading.mask`.
      prefix: what every row has read before the slots of its own.
      spans: another form of `valid`, where that has one.
    """

    keys: tuple[Float[Array, "batch kv_heads slots head_dim"], ...]
    values: tuple[Float[Array, "batch kv_heads slots head_dim"], ...]
    valid: Bool[Array, "batch slots"]
    length: Int[Array, ""] | int
    prefix: Prefix | None = None
    spans: Spans | None = None

    @classmethod
    def empty(cls, config: ModelConfig, batch: int, slots: int, dtype: Any) -> Cache:
        shape = (batch, config.num_kv_heads, slots, config.head_dim)
        zeros = tuple(jnp.zeros(shape, dtype) for _ in range(config.num_layers))
        return cls(keys=zeros, values=zeros, valid=jnp.zeros((batch, slots), bool), length=0)

    @property
    def slots(self) -> int:
        return self.valid.shape[-1]

    def with_prompt_lengths(self, lengths: Int[Array, " batch"]) -> Cache:
        """After reading right-padded prompts: only the first `lengths[i]` slots of row i are valid."""
        return replace(self, valid=jnp.arange(self.slots)[None] < lengths[:, None])

    def reading(self, length: int, window: int | None = None) -> Reading:
        """For the next `length` tokens, already marked valid, in layers of this window."""
        if isinstance(self.length, int) and self.length == 0 and self.prefix is None:
            return Reading(0, None, None)
        mask = self.mask(length, window)
        if self.prefix is None:
            spans = self.spans if window is None else None
            return Reading(self.length, mask, None, spans=spans)
        valid, prefix_length = (self.valid, self.prefix.length) if window is None else (None, None)
        return Reading(self.length, mask, self.prefix_mask(length, window), valid, prefix_length)

    def mask(self, length: int, window: int | None = None) -> Bool[Array, "batch length slots"]:
        """What the `length` tokens just written (and marked valid) at `self.length` may attend to.

        A window counts the tokens of a row, not its slots: the padding after a prompt adds no distance.
        """
        slot = jnp.arange(self.slots)
        own = self.length + jnp.arange(length)
        mask = self.valid[:, None, :] & (slot[None, :] <= own[:, None])[None]
        if window is None:
            return mask
        order = jnp.cumsum(self.valid, axis=-1)
        own_order = jax.lax.dynamic_slice_in_dim(order, self.length, length, axis=-1)
        return mask & (own_order[:, :, None] - order[:, None, :] < window)

    def prefix_mask(self, length: int, window: int | None = None) -> Bool[Array, "rows length slots"]:
        """What of `prefix` the tokens just written may attend to; one row for all where that does not differ."""
        assert self.prefix is not None
        slot = jnp.arange(self.prefix.keys[0].shape[-2])
        read = jnp.broadcast_to(slot < self.prefix.length, (1, length, len(slot)))
        if window is None:
            return read
        order = jnp.cumsum(self.valid, axis=-1)
        own_order = self.prefix.length + jax.lax.dynamic_slice_in_dim(order, self.length, length, axis=-1)
        return read & (own_order[:, :, None] - (slot + 1)[None, None] < window)

    def grow(self, slots: int) -> Cache:
        """The same cache with room for `slots` tokens. Leading axes before batch are allowed."""
        extra = slots - self.slots

        def pad(x: jax.Array, axis: int) -> jax.Array:
            return jnp.pad(x, [(0, extra if i == x.ndim + axis else 0) for i in range(x.ndim)])

        return replace(
            self,
            keys=tuple(pad(k, -2) for k in self.keys),
            values=tuple(pad(v, -2) for v in self.values),
            valid=pad(self.valid, -1),
        )
