"""Options of training an adapter that every task starts from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from ttt_jax.config import AdaptConfig, OptimizerConfig
from ttt_jax.train.config import ReArcConfig

RESUME_MAY_CHANGE = ("run_dir", "workers", "max_minutes", "save_every", "keep", "log_every")
"""Options that a resumed run may change: nothing that is computed depends on them."""


@dataclass(frozen=True)
class InitialEvalConfig:
    """Measured as training goes: answers to queries of the held-out generators after so many steps of adaptation."""

    every: int = 100
    """Outer steps between evaluations; also before the first and after the last. 0 never evaluates."""
    tasks: int = 64
    length: int = 2048
    """Tokens of the longest task, demonstrations and query."""
    steps: tuple[int, ...] = (0, 1, 4, 16)
    """Each adapted anew, with a learning rate that falls over just so many steps."""

    def __post_init__(self) -> None:
        if not self.steps or min(self.steps) < 0:
            raise ValueError(f"steps: {self.steps}, must be numbers from 0 on")


@dataclass(frozen=True)
class InitialConfig:
    """One run of scripts/train_initial_adapter.py: an adapter from which a few steps adapt a task."""

    run_dir: str = "runs/initial_adapter"
    """Holds checkpoints, metrics and adapter.safetensors. A run is resumed by naming it again."""
    model: str = "arc-small"
    """The frozen base, as `load_model` takes it; it reads grids."""
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """Compute type; auto is bfloat16 on GPU and TPU, float32 on CPU."""
    method: Literal["fomaml", "reptile"] = "fomaml"
    """fomaml: the gradient of the query's loss at the adapted adapter (Finn et al., arXiv 1703.03400, first order).
    reptile: the way back from the adapted adapter, averaged over tasks (Nichol et al., arXiv 1803.02999)."""
    steps: int = 500
    """Outer steps."""
    seed: int = 0
    queries: int = 2
    """Sequences that ask for a task's query, each under transforms of its own."""
    workers: int = 0
    """Processes that generate tasks; 0 generates in the trainer itself. The tasks do not depend on it."""
    max_minutes: float | None = None
    """Save and stop after so much wall time; start again to go on."""
    save_every: int = 100
    """Outer steps between checkpoints; there is one at the end too."""
    keep: int = 2
    """Checkpoints kept."""
    log_every: int = 10
    """Outer steps that a line of progress and metrics averages over."""
    adapt: AdaptConfig = field(default_factory=lambda: AdaptConfig(steps=8, batch_size=2))
    """How a task is adapted inside an outer step, and `init`, where this starts. Slots, chunk and stops do nothing."""
    optimizer: OptimizerConfig = field(default_factory=lambda: OptimizerConfig(learning_rate=3e-4))
    """Of the outer steps. For `reptile` as published: sgd, with the step size as learning_rate and b1 0."""
    data: ReArcConfig = field(default_factory=ReArcConfig)
    """Where tasks come from. `tokens_per_batch` are those of one step of adaptation of all tasks."""
    eval: InitialEvalConfig = field(default_factory=InitialEvalConfig)

    def __post_init__(self) -> None:
        for name in ("steps", "queries", "save_every", "keep", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.adapt.trainable == "full":
            raise ValueError("adapt.trainable: what is trained here is an adapter; set it to lora")
        if self.data.min_pairs < 3:
            raise ValueError("data.min_pairs: a task takes two demonstrations and a query, so at least 3")
        if self.tasks(max(self.data.lengths)) < 1:
            raise ValueError(
                f"data.tokens_per_batch: {self.data.tokens_per_batch} hold no task of adapt.batch_size "
                f"{self.adapt.batch_size} sequences of {max(self.data.lengths)} tokens"
            )

    def tasks(self, length: int) -> int:
        """Tasks of an outer step of this length."""
        return self.data.rows(length) // self.adapt.batch_size

    @property
    def eval_group(self) -> int:
        """Tasks of the evaluation that are adapted side by side: no more than an outer step of their length has."""
        return max(1, min(self.eval.tasks, self.tasks(self.eval.length)))
