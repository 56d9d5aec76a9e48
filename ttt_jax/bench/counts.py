"""Useful floating point operations and fewest bytes, counted from shapes alone.

Useful is what the result needs, whatever the program does: recomputation,
padding, masked halves of attention and casts count nothing. One multiply-add
is two operations. Operations that are not matrix products are left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ttt_jax.config import LoraConfig
from ttt_jax.model.config import ModelConfig


@dataclass(frozen=True)
class Matmul:
    """`count` products [batch, rows, inner] x [batch, inner, columns] of one shape.

    `transposed`: the left operand lies in memory as [batch, inner, rows], as
    activations do when they meet gradients in a weight gradient.
    """

    name: str
    rows: int
    inner: int
    columns: int
    batch: int = 1
    count: int = 1
    transposed: bool = False

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * self.rows * self.inner * self.columns * self.count

    def bytes(self, itemsize: int = 2) -> float:
        """Both operands read and the result written, once each."""
        elements = self.rows * self.inner + self.inner * self.columns + self.rows * self.columns
        return float(self.batch * elements * itemsize * self.count)


@dataclass(frozen=True)
class CausalAttention:
    """Attention of [batch, length] sequences in `layers` layers; the half above the diagonal is not counted."""

    batch: int
    length: int
    heads: int
    kv_heads: int
    head_dim: int
    layers: int
    backward: bool = True

    @property
    def flops(self) -> float:
        """Two products forward, four backward (scores computed again are not useful)."""
        pairs = self.batch * self.length * (self.length + 1) / 2
        return (6 if self.backward else 2) * 2.0 * pairs * self.heads * self.head_dim * self.layers

    def bytes(self, itemsize: int = 2) -> float:
        """Forward: q, k, v read, the output written. Backward: those and its gradient read, three gradients written."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        forward = 2 * queries + 2 * keys
        backward = (3 * queries + 2 * keys) + (queries + 2 * keys)
        widths = forward + (backward if self.backward else 0)
        return float(self.batch * self.length * widths * itemsize * self.layers)


@dataclass(frozen=True)
class Work:
    """What one step must do.

    Attributes:
      matmuls: those of the decoder.
      attention: None where it is counted as bytes only (decoding).
      state_bytes: parameters, optimizer state and batch, each read once, and written once where they change.
      tokens: positions computed.
    """

    matmuls: tuple[Matmul, ...]
    attention: CausalAttention | None
    state_bytes: float
    tokens: int

    @property
    def flops(self) -> float:
        return sum(m.flops for m in self.matmuls) + (self.attention.flops if self.attention else 0.0)

    def roofline(self, flops_per_second: float, bytes_per_second: float, itemsize: int = 2) -> float:
        """Seconds if every product runs at the slower of its two ceilings and the state moves once.

        Elementwise work between products is taken to be fused and free.
        """
        parts: list[Any] = [*self.matmuls, *([self.attention] if self.attention else [])]
        products = (max(p.flops / flops_per_second, p.bytes(itemsize) / bytes_per_second) for p in parts)
        return sum(products) + self.state_bytes / bytes_per_second


def layer_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """(inputs, outputs) of the linear layers of one decoder layer."""
    d, f = config.hidden_size, config.intermediate_size
    q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    return {"q": (d, q), "k": (d, kv), "v": (d, kv), "o": (q, d), "gate": (d, f), "up": (d, f), "down": (f, d)}


def adaptation(
    config: ModelConfig,
    lora: LoraConfig,
    tasks: int,
    batch_size: int,
    length: int,
    loss_share: float = 1.0,
    state_bytes: float = 0.0,
) -> Work:
    """One step of low-rank adaptation of `tasks` tasks side by side.

    The frozen base: forward and input gradients, the latter only above the
    lowest adapted layer (q, k and v of layer 0 need none). Adapters: forward,
    input and weight gradients. Attention: causal. Head: on the `loss_share`
    of the positions that carry loss.
    """
    n, tokens = batch_size * length, tasks * batch_size * length
    layers, matmuls = config.num_layers, []
    for name, (fan_in, fan_out) in layer_shapes(config).items():
        above = layers - (name in ("q", "k", "v"))
        matmuls += _frozen(name, tokens, fan_in, fan_out, layers, above)
        if name in lora.targets:
            matmuls += _adapter(name, n, fan_in, lora.rank, fan_out, tasks, layers, above)
    rows = max(1, round(n * loss_share))
    matmuls += _frozen("head", rows * tasks, config.hidden_size, config.vocab_size, 1, 1)
    if "head" in lora.targets:
        matmuls += _adapter("head", rows, config.hidden_size, lora.rank, config.vocab_size, tasks, 1, 1)
    attention = _attention(config, tasks * batch_size, length)
    return Work(tuple(m for m in matmuls if m.count), attention, state_bytes, tokens)


def training(config: ModelConfig, batch_size: int, length: int, state_bytes: float = 0.0) -> Work:
    """One step of training all weights: forward, input and weight gradients of everything; loss on all positions.

    The embedding is a lookup and counts nothing. The optimizer's own products
    (muon) are overhead, not useful work: see `newton_schulz`.
    """
    tokens, matmuls = batch_size * length, []
    shapes = {name: (shape, config.num_layers) for name, shape in layer_shapes(config).items()}
    shapes["head"] = ((config.hidden_size, config.vocab_size), 1)
    for name, ((fan_in, fan_out), count) in shapes.items():
        matmuls += _frozen(name, tokens, fan_in, fan_out, count, count)
        matmuls.append(Matmul(f"{name} weight gradient", fan_in, tokens, fan_out, count=count, transposed=True))
    return Work(tuple(matmuls), _attention(config, batch_size, length), state_bytes, tokens)


def newton_schulz(config: ModelConfig, steps: int = 5) -> float:
    """Operations with which muon orthogonalises the updates of all layers once (arXiv 2502.16982)."""

    def one(shape: tuple[int, int]) -> float:
        m, n = sorted(shape)
        return steps * (2.0 * m * m * n + 2.0 * m**3 + 2.0 * m * m * n)

    return config.num_layers * sum(one(shape) for shape in layer_shapes(config).values())


def decoding(config: ModelConfig, lora: LoraConfig | None, tasks: int, rows: int) -> Work:
    """The products of one decoded token of tasks x rows rows; attention is left to `decoding_bytes`."""
    total, matmuls = tasks * rows, []
    shapes = {name: (shape, config.num_layers) for name, shape in layer_shapes(config).items()}
    shapes["head"] = ((config.hidden_size, config.vocab_size), 1)
    for name, ((fan_in, fan_out), count) in shapes.items():
        matmuls.append(Matmul(name, total, fan_in, fan_out, count=count))
        if lora is not None and name in lora.targets:
            matmuls.append(Matmul(f"{name} a", rows, fan_in, lora.rank, tasks, count))
            matmuls.append(Matmul(f"{name} b", rows, lora.rank, fan_out, tasks, count))
    return Work(tuple(matmuls), None, 0.0, total)


@dataclass(frozen=True)
class DecodingBytes:
    """The bandwidth floor of one decoded token: base + adapters + valid cache, read once."""

    base: float
    adapters: float
    cache: float

    @property
    def total(self) -> float:
        return self.base + self.adapters + self.cache


def decoding_bytes(
    config: ModelConfig, lora: LoraConfig | None, tasks: int, rows: int, valid: float, itemsize: int = 2
) -> DecodingBytes:
    """Fewest bytes of one token of all rows, `valid` slots of whose caches hold something.

    An untied embedding is a lookup of a few rows and counts nothing; a tied one is the head.
    """
    shapes = layer_shapes(config)
    base = config.num_layers * sum(i * o for i, o in shapes.values()) + config.hidden_size * config.vocab_size
    adapters = 0
    if lora is not None:
        adapters = config.num_layers * sum(lora.rank * sum(shapes[t]) for t in lora.targets if t in shapes)
        if "head" in lora.targets:
            adapters += lora.rank * (config.hidden_size + config.vocab_size)
    slot = 2 * config.num_layers * config.num_kv_heads * config.head_dim
    # The new token's keys and values are written: one slot more.
    cache = tasks * rows * slot * (valid + 1)
    return DecodingBytes(*(float(x * itemsize) for x in (base, tasks * adapters, cache)))


def merged(matmuls: Iterable[Matmul]) -> list[Matmul]:
    """Those of one shape and layout together, counts added, the names of all."""
    found: dict[tuple[Any, ...], Matmul] = {}
    for m in matmuls:
        key = (m.rows, m.inner, m.columns, m.batch, m.transposed)
        seen = found.get(key)
        found[key] = m if seen is None else replace(seen, name=f"{seen.name}, {m.name}", count=seen.count + m.count)
    return list(found.values())


def tree_bytes(tree: Any) -> int:
    """Bytes of all arrays (or abstract arrays) of a pytree."""
    import jax
    import numpy as np

    leaves = (leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape"))
    return sum(math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize for leaf in leaves)


def _frozen(name: str, tokens: int, fan_in: int, fan_out: int, count: int, above: int) -> list[Matmul]:
    return [
        Matmul(f"{name} forward", tokens, fan_in, fan_out, count=count),
        Matmul(f"{name} input gradient", tokens, fan_out, fan_in, count=above),
    ]


def _adapter(name: str, n: int, fan_in: int, rank: int, fan_out: int, tasks: int, count: int, above: int):
    return [
        Matmul(f"{name} a forward", n, fan_in, rank, tasks, count),
        Matmul(f"{name} b forward", n, rank, fan_out, tasks, count),
        Matmul(f"{name} b input gradient", n, fan_out, rank, tasks, count),
        Matmul(f"{name} b weight gradient", rank, n, fan_out, tasks, count, transposed=True),
        Matmul(f"{name} a weight gradient", fan_in, n, rank, tasks, count, transposed=True),
        Matmul(f"{name} a input gradient", n, rank, fan_in, tasks, above),
    ]


def _attention(config: ModelConfig, batch: int, length: int) -> CausalAttention:
    return CausalAttention(batch, length, config.num_heads, config.num_kv_heads, config.head_dim, config.num_layers)
