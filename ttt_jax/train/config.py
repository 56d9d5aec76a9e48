"""Every option of a training run, with its default."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from ttt_jax.config import OptimizerConfig, Remat
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
    """Share of the generators' sequences whose outputs another generator's program makes (train/rules.py)."""
    invented: float = 0.0
    """Share of sequences with a rule that no generator has a part in (train/invented)."""
    altered: float = 0.0
    """Share of sequences with a change of all inputs, all outputs, or both, drawn for the sequence."""
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
    exclude: tuple[str, ...] = ("arc-agi-1/evaluation", "arc-agi-2/evaluation", "arc-agi-2/development")
    """Sources of tasks whose pairs are left out where they are drawn, under any symmetry and naming of colours."""

    def __post_init__(self) -> None:
        if self.reuse < 1:
            raise ValueError("reuse must be at least 1")
        _check_lengths(self)
        if not math.isclose(sum(p for _, p in self.difficulties), 1.0, abs_tol=1e-6):
            raise ValueError(f"the probabilities of difficulties must sum to 1: {self.difficulties}")
        if not all(0 < bound <= 1 for bound, _ in self.difficulties):
            raise ValueError(f"the upper bounds of difficulties must lie in (0, 1]: {self.difficulties}")
        if not 2 <= self.min_pairs <= self.max_pairs:
            raise ValueError(f"need 2 <= min_pairs <= max_pairs, not {self.min_pairs} and {self.max_pairs}")
        for name in ("crossed", "invented", "altered"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a share in [0, 1], not {getattr(self, name)}")

    def rows(self, length: int) -> int:
        """Sequences in a batch of this length."""
        return self.tokens_per_batch // length // self.row_multiple * self.row_multiple


@dataclass(frozen=True)
class TracesConfig:
    """Training sequences of text: generated problems with their solution, as `tasks.source` describes them.

    With `steps=true` in a source the solution is the oracle's steps and the answer, else the answer alone.
    """

    sources: tuple[str, ...] = ()
    """Of train splits: `zebra/train?sizes=3x4,4x4&demos=2&steps=true`; `each` and `seed` mean nothing here."""
    weights: tuple[float, ...] = ()
    """How often each source is drawn; empty: equally."""
    held_out: tuple[str, ...] = ()
    """Sources of the evaluation `held_out`, of development splits."""
    lengths: tuple[int, ...] = (512, 1024, 2048)
    """Length buckets: all sequences of a step are padded to one of them, and are longer than the one below."""
    length_probabilities: tuple[float, ...] = (0.3, 0.4, 0.3)
    """How often a step uses each length; every step holds about `tokens_per_batch` tokens."""
    tokens_per_batch: int = 65536
    row_multiple: int = 1
    """The sequences of a step are rounded down to a multiple of this: the number of devices."""
    input_weight: float = 0.0
    """Loss weight of problems and instructions."""
    first_output_weight: float = 1.0
    """Loss weight of the first solution of a few-shot sequence, which no example precedes."""

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("sources: none; name at least one, such as zebra/train?steps=true")
        for name, split in (("sources", "train"), ("held_out", "development")):
            for source in getattr(self, name):
                found = source.partition("?")[0].partition("/")[2]
                if found != split:
                    raise ValueError(f"{name}: {source!r} is of the split {found!r}, not of {split!r}")
        if self.weights and (len(self.weights) != len(self.sources) or min(self.weights) <= 0):
            raise ValueError(f"weights: {self.weights}, must be one positive number for each of the sources")
        _check_lengths(self)

    def rows(self, length: int) -> int:
        """Sequences in a batch of this length."""
        return self.tokens_per_batch // length // self.row_multiple * self.row_multiple


def drawn_lengths(data: ReArcConfig | TracesConfig) -> list[int]:
    """The lengths in tokens that batches have, shortest first: those of a probability above 0."""
    return sorted({n for n, p in zip(data.lengths, data.length_probabilities, strict=True) if p > 0})


def _check_lengths(data: ReArcConfig | TracesConfig) -> None:
    if len(data.lengths) != len(data.length_probabilities):
        raise ValueError(f"length_probabilities must have one entry for each of the lengths {data.lengths}")
    if not math.isclose(sum(data.length_probabilities), 1.0, abs_tol=1e-6):
        raise ValueError(f"length_probabilities must sum to 1, not {sum(data.length_probabilities)}")
    if data.row_multiple < 1:
        raise ValueError("row_multiple must be at least 1")
    if data.rows(max(data.lengths)) < 1:
        raise ValueError(
            f"tokens_per_batch {data.tokens_per_batch} is less than row_multiple {data.row_multiple} "
            f"sequences of {max(data.lengths)} tokens"
        )


@dataclass(frozen=True)
class EvalConfig:
    """Measured as training goes, on the last output: held-out generators (`traces.held_out`), and fresh tasks of the
    training generators."""

    every: int = 500
    """Steps between evaluations; also after the last step. 0 never evaluates."""
    rows: int = 256
    """Sequences from either kind of generator."""
    length: int = 2048


def small_decoder() -> ModelConfig:
    """The shape of `arc-small`: 51.4M parameters."""
    return ModelConfig(
        vocab_size=16,
        hidden_size=512,
        intermediate_size=1408,
        num_layers=16,
        num_heads=8,
        num_kv_heads=8,
        head_dim=64,
        rope=RopeConfig(theta=(10_000.0, 100.0, 100.0), pairs=(16, 8, 8)),
        qk_norm=True,
        tie_embeddings=False,
    )


@dataclass(frozen=True)
class TrainConfig:
    """One run of scripts/train_sft.py: a decoder trained on tasks generated as it goes."""

    run_dir: str = "runs/pretrain"
    """Holds checkpoints, metrics and the exported model. A run is resumed by naming it again."""
    steps: int = 10_000
    seed: int = 0
    loss: str = "next_token"
    """A name in losses.LOSSES or a dotted path `my_module:my_loss`."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type (parameters are float32); auto is bfloat16 on GPU and TPU, float32 on CPU."""
    remat: Remat = "nothing"
    """What the backward pass computes again instead of keeping it: see `adapt.remat`."""
    ema_decay: float = 0.999
    """The exported weights are this exponential moving average, which warms up as (1 + step) / (10 + step)."""
    init_from: str | None = None
    """Start from the weights of this model (as `load_model` takes it), with a fresh optimizer. With more layers than it
    has, `model` says the same function at the start (model/grow.py)."""
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
    model: ModelConfig | None = field(default_factory=small_decoder)
    """None: that of `init_from`."""
    data: ReArcConfig = field(default_factory=ReArcConfig)
    """re-arc tasks, where there are no `traces`."""
    traces: TracesConfig | None = None
    """Problems as text, for a text model (`init_from`), whose tokenizer they are written with."""
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)

    def __post_init__(self) -> None:
        if self.traces is not None and (self.init_from is None or self.model is not None):
            raise ValueError("traces: text needs a text model to start from: set init_from, and model to null")
        if self.model is None and self.init_from is None:
            raise ValueError("model: null takes the shape of init_from, which is not given")
        if self.model is not None and self.model.rope.axes != 3:
            raise ValueError(
                f"model.rope needs three axes (sequence, row, column) for grids, not {self.model.rope.axes}"
            )
        for name in ("steps", "save_every", "log_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")


RESUME_MAY_CHANGE = ("run_dir", "workers", "max_minutes", "save_every", "keep", "log_every")
"""Options that a resumed run may change: nothing that is computed depends on them."""
