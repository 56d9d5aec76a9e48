"""The shape of a decoder: one dataclass for the whole Llama family."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

BIASED = ("q", "k", "v", "o", "gate", "up", "down")
"""The linear layers that may have a bias."""


@dataclass(frozen=True)
class RopeScaling:
    """Slower rotation, which stretches a model to longer contexts than it was first trained on.

    Every rate is divided by `factor` (arXiv 2306.15595). With the three other
    fields, as in Llama 3.1, only the slow pairs are: those that turn fewer
    than `low_freq_factor` times in `original_length` positions. Pairs that
    turn more than `high_freq_factor` times keep their rate, and those between
    blend the two.
    """

    factor: float
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_length: int | None = None

    def __post_init__(self) -> None:
        given = [x is not None for x in (self.low_freq_factor, self.high_freq_factor, self.original_length)]
        if any(given) and not all(given):
            raise ValueError("rope scaling needs all of low_freq_factor, high_freq_factor, original_length, or none")

    @property
    def by_wavelength(self) -> bool:
        return self.original_length is not None


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
    scaling: RopeScaling | None = None

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
    biases: tuple[str, ...] = ()
    """Linear layers with a bias, of q, k, v, o, gate, up, down (Qwen2: q, k, v)."""
    sliding_window: int | None = None
    """Windowed layers attend to this many tokens, the current one included (Mistral)."""
    windowed_layers: tuple[int, ...] | None = None
    """Indices of the layers with a sliding window; None: all."""

    def __post_init__(self) -> None:
        if self.num_heads % self.num_kv_heads:
            raise ValueError(f"num_heads {self.num_heads} is not a multiple of num_kv_heads {self.num_kv_heads}")
        pairs = self.rope.pairs or (self.head_dim // 2,)
        if len(pairs) != self.rope.axes or sum(pairs) * 2 != self.head_dim:
            half = self.head_dim / 2
            raise ValueError(f"rope.pairs {pairs} must have one entry per axis and sum to head_dim / 2 = {half}")
        if unknown := set(self.biases) - set(BIASED):
            raise ValueError(f"biases {sorted(unknown)} are not layers; choose from {', '.join(BIASED)}")
        if self.sliding_window is not None and self.sliding_window < 1:
            raise ValueError(f"sliding_window {self.sliding_window} is not positive")

    @property
    def residual_scale(self) -> float:
        """Factor of the initial weights that write into the residual stream, so that depth adds no variance."""
        return (2 * self.num_layers) ** -0.5

    def window(self, layer: int) -> int | None:
        """How many tokens layer `layer` attends to; None: all that precede."""
        windowed = self.windowed_layers is None or layer in self.windowed_layers
        return self.sliding_window if windowed else None

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ModelConfig:
        """The inverse of `dataclasses.asdict`, lists taken for tuples; fields that are absent have their default."""

        def tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
            return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}

        fields, rope = tuples(record), tuples(record["rope"])
        if rope.get("scaling"):
            rope["scaling"] = RopeScaling(**rope["scaling"])
        return cls(**{**fields, "rope": RopeConfig(**rope)})
