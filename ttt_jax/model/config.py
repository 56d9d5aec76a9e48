"""The shape of a decoder: one dataclass for the whole Llama family."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class RopeConfig:
    """Rotary position embedding over one or more position axes (arXiv 2104.09864).

    The `head_dim / 2` frequency pairs are dealt out to the axes in order:
    `pairs[i]` of them turn with axis i at base `theta[i]`. Text has one axis
    (sequence); grids have three (sequence, row, column).
    """

    theta: tuple[float, ...] = (10_000.0,)
    pairs: tuple[int, ...] | None = None
    """None: all pairs to one axis."""

    @property
    def axes(self) -> int:
        return len(self.theta)


@dataclass(frozen=True)
class ModelConfig:
    """A decoder of the Llama family: RMSNorm, grouped-query attention, SwiGLU, rope."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    rope: RopeConfig = RopeConfig()
    norm_eps: float = 1e-5
    qk_norm: bool = False
    """RMSNorm over each head of q and k before rope (Qwen3)."""
    tie_embeddings: bool = True

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        pairs = self.rope.pairs or (self.head_dim // 2,)
        if len(pairs) != self.rope.axes or sum(pairs) * 2 != self.head_dim:
            raise ValueError(f"rope.pairs {pairs} must have one entry per axis and sum to head_dim / 2 = {self.head_dim / 2}")
