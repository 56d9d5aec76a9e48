"""One adapter on its way through a slot, what it came to, and the tokens that this took."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ttt_jax.adapt.packed import Packed
from ttt_jax.adapt.plan import Job
from ttt_jax.config import AdaptConfig
from ttt_jax.losses import Variables

CURVES = ("loss", "grad_norm")


@dataclass(frozen=True)
class Adapted:
    """What one job came to.

    Attributes:
      id: of the job, or of the task that was handed it.
      packed: its variables.
      steps: updates made.
      failed: the reason, None where it went well.
      curves: lists of equal length: step, loss, grad_norm, learning_rate.
      tokens: trained on, padding left out.
      seconds: its share of the device's time.
    """

    id: str
    packed: Packed
    steps: int
    failed: str | None
    curves: dict[str, list[float]]
    tokens: float
    seconds: float

    @property
    def trainable(self) -> Variables:
        """Its variables, on the host."""
        return self.packed.tree()

    def content(self) -> dict[str, Any]:
        """As `PartialFolder` keeps it."""
        content = {name: value for name, value in vars(self).items() if name != "packed"}
        return {**content, "trainable": self.trainable, "failed": self.failed or ""}

    @classmethod
    def of_content(cls, content: dict[str, Any] | None) -> Adapted | None:
        """What `content` gave; None for anything else."""
        if not content or "trainable" not in content:
            return None
        curves = {name: content["curves"][name] for name in ("step", *CURVES, "learning_rate")}
        packed = Packed.of(content["trainable"])
        known = {name: value for name, value in content.items() if name != "trainable"}
        return cls(packed=packed, **{**known, "failed": content["failed"] or None, "curves": curves})


@dataclass
class Course:
    """How far a job has come in its slot.

    Attributes:
      step: updates made, so where its next chunk begins.
      good: chunks in a row with a mean loss below `stop_loss`.
      curves, tokens, seconds: so far, as in `Adapted`.
    """

    job: Job
    step: int = 0
    good: int = 0
    tokens: int = 0
    seconds: float = 0.0
    curves: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in CURVES})

    def content(self) -> dict[str, Any]:
        """As `PartialFolder` keeps it, the variables apart."""
        return {name: value for name, value in vars(self).items() if name != "job"}

    def advance(self, curves: dict[str, np.ndarray], tokens: np.ndarray, seconds: float) -> None:
        """Adds the updates of a chunk: float[made] each, and the tokens of each."""
        for name in CURVES:
            self.curves[name] += curves[name].astype(float).tolist()
        self.step += len(tokens)
        self.tokens += int(tokens.sum())
        self.seconds += seconds

    def converged(self, config: AdaptConfig, loss: float, right: bool) -> bool:
        """Whether it stops before its last step.

        Args:
          loss: mean of the chunk.
          right: whether the adapter now writes the held-out output.
        """
        asked = []
        if config.stop_loss is not None:
            self.good = self.good + 1 if loss < config.stop_loss else 0
            asked.append(self.good >= config.stop_chunks)
        if config.stop_demo:
            asked.append(right and self.job.held_out is not None)
        return bool(asked) and all(asked)


@dataclass
class Padding:
    """Tokens that went through a model, and how many of them were of use."""

    computed: int = 0
    real: int = 0

    def add(self, computed: int, real: int) -> None:
        self.computed += computed
        self.real += real

    @property
    def share(self) -> float | None:
        """Of padding among the tokens computed; None where there were none."""
        return 1 - self.real / self.computed if self.computed else None
