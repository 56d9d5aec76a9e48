"""Every option of a training run, with its default."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ttt_jax.config import OptimizerConfig
from ttt_jax.model.config import ModelConfig, RopeConfig


@dataclass(frozen=True)
class ReArcConfig:
    """Training sequences: verified pairs of one re-arc generator, written one after the other."""

    lengths: tuple[int, ...] = (1024, 2048, 3072)
    """Length buckets: all sequences of a step are padded to one of them."""
    length_probabilities: tuple[float, ...] = (0.4, 0.35, 0.25)
    """How often a step uses each length; every step holds about `tokens_per_batch` tokens."""
    tokens_per_batch: int = 131072
    row_multiple: int = 1
    """The sequences of a step are rounded down to a multiple of this: the number of devices."""
    reuse: int = 2
    """So many sequences of a batch share their generated pairs, each under transforms of its own."""
    difficulties: tuple[tuple[float, float], ...] = ((0.2, 0.35), (0.5, 0.4), (1.0, 0.25))
    """(upper bound, probability): the generators' difficulty is drawn between 0 and the bound."""
    crossed: float = 0.0
    """Share of sequences whose outputs another generator's program makes (train/rules.py)."""
    altered: float = 0.0
    """Share of sequences with a change of all inputs, or of all outputs, drawn for the sequence."""
    min_pairs: int = 3
    max_pairs: int = 8
    min_fill: float = 0.7
    """A sequence takes pairs beyond its drawn number, and is drawn again, until this share of it is full."""
    pair_timeout: float = 5.0
    """CPU seconds after which a pair is given up."""
    transforms: tuple[str, ...] = ("symmetries", "colours_all", "order")
    """Invertible transforms drawn afresh for every sequence."""
    input_weight: float = 0.1
    """Loss weight of tokens that are not outputs."""
    first_output_weight: float = 0.1
    """Loss weight of the first output, which nothing yet explains."""

    def __post_init__(self) -> None:
        if len(self.lengths) != len(self.length_probabilities):
            raise ValueError(f"length_probabilities must have one entry for each of the lengths {self.lengths}")
        if not math.isclose(sum(self.length_probabilities), 1.0, abs_tol=1e-6):
            raise ValueError(f"length_probabilities must sum to 1, not {sum(self.length_probabilities)}")
        if not math.isclose(sum(p for _, p in self.difficulties), 1.0, abs_tol=1e-6):
            raise ValueError(f"the probabilities of difficulties must sum to 1: {self.difficulties}")
        if not all(0 < bound <= 1 for bound, _ in self.difficulties):
            raise ValueError(f"the upper bounds of difficulties must lie in (0, 1]: {self.difficulties}")
        if not 2 <= self.min_pairs <= self.max_pairs:
            raise ValueError(f"need 2 <= min_pairs <= max_pairs, not {self.min_pairs} and {self.max_pairs}")
        if not (0 <= self.crossed <= 1 and 0 <= self.altered <= 1):
            raise ValueError(f"crossed and altered are shares in [0, 1], not {self.crossed} and {self.altered}")
        if self.reuse < 1 or self.row_multiple < 1:
            raise ValueError("reuse and row_multiple must be at least 1")
        longest = max(self.lengths)
        if self.rows(longest) < 1:
            raise ValueError(
                f"tokens_per_batch {self.tokens_per_batch} is less than row_multiple {self.row_multiple} "
                f"sequences of {longest} tokens"
            )

    def rows(self, length: int) -> int:
        """Sequences in a batch of this length."""
        return self.tokens_per_batch // length // self.row_multiple * self.row_multiple


@dataclass(frozen=True)
class EvalConfig:
    """Measured as training goes: held-out generators, and fresh pairs of the training generators."""

    every: int = 500
    """Steps between evaluations; also after the last step. 0 never evaluates."""
    rows: int = 256
    """Sequences from either kind of generator."""
    length: int = 2048


def _small_decoder() -> ModelConfig:
    return ModelConfig(
        vocab_size=16,
        hidden_size=512,
        intermediate_size=1408,
        num_layers=8,
        num_heads=8,
        num_kv_heads=8,
        head_dim=64,
        rope=RopeConfig(theta=(10_000.0, 100.0, 100.0), pairs=(16, 8, 8)),
        qk_norm=True,
        tie_embeddings=False,
    )


@dataclass(frozen=True)
class TrainConfig:
    """One run of scripts/train_sft.py: a decoder trained on re-arc tasks generated as it goes."""

    run_dir: str = "runs/pretrain"
    """Holds checkpoints, metrics and the exported model. A run is resumed by naming it again."""
    steps: int = 10_000
    seed: int = 0
    loss: str = "next_token"
    """A name in losses.LOSSES or a dotted path `my_module:my_loss`."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type (parameters are float32); auto is bfloat16 on GPU and TPU, float32 on CPU."""
    remat: bool = False
    """Recompute each layer in the backward pass."""
    ema_decay: float = 0.999
    """The exported weights are this exponential moving average, which warms up as (1 + step) / (10 + step)."""
    init_from: str | None = None
    """Start from the weights of this model (config.json and model.safetensors), with a fresh optimizer."""
    workers: int = 0
    """Processes that generate data; 0 generates in the trainer itself. The data do not depend on it."""
    max_minutes: float | None = None
    """Save and stop after so much wall time; start again to go on."""
    save_every: int = 1000
    """Steps between checkpoints; there is one at the end too."""
    keep: int = 2
    """Checkpoints kept."""
    log_every: int = 20
    """Steps that a line of progress and metrics averages over."""
    model: ModelConfig = field(default_factory=_small_decoder)
    data: ReArcConfig = field(default_factory=ReArcConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        if self.model.rope.axes != 3:
            raise ValueError(
                f"model.rope needs three axes (sequence, row, column) for grids, not {self.model.rope.axes}"
            )
        for name in ("steps", "save_every", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


RESUME_MAY_CHANGE = ("run_dir", "workers", "max_minutes", "save_every", "keep", "log_every")
"""Options that a resumed run may change: nothing that is computed depends on them."""
