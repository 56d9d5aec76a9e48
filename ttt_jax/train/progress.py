"""What a training run tells as it goes: one line and one metrics record every few steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax

from ttt_jax.train.config import TrainConfig
from ttt_jax.train.metrics import MetricsLog
from ttt_jax.train.sources import AnyBatch


class Progress:
    """Averages over `config.log_every` steps, then prints and records.

    Rates leave out the time of evaluating and saving. `wait` is the
    share of time that the accelerator stood idle for want of data (an upper
    bound: the time of a fetch counts whole once the device has run dry).
    """

    def __init__(
        self, config: TrainConfig, meta: dict[str, Any], log: MetricsLog, schedule: Callable[[Any], Any]
    ) -> None:
        self._config, self._log, self._schedule = config, log, schedule
        self._step: int = meta["step"]
        self._tokens: int = meta["tokens"]
        self._began = time.monotonic() - 60 * meta["minutes"]
        self._start_window(self._step)

    def meta(self) -> dict[str, Any]:
        """What a checkpoint keeps: steps, real (not padding) tokens and wall time since step 0, restarts included."""
        return {"step": self._step, "tokens": self._tokens, "minutes": (time.monotonic() - self._began) / 60}

    def _start_window(self, step: int) -> None:
        self._window_step, self._window_began = step, time.monotonic()
        self._paused = self._waited = self._loss = self._grad_norm = self._cpu = 0.0
        self._real = self._padded = self._failed = self._pairs = 0

    @contextmanager
    def fetching(self, in_flight: jax.Array) -> Iterator[None]:
        """Around getting the next batch, while the device computes `in_flight`."""
        began = time.monotonic()
        yield
        if in_flight.is_ready():  # pyright: ignore[reportAttributeAccessIssue] (jax leaves it out of its stubs)
            self._waited += time.monotonic() - began

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leaves the time of the body out of the rates."""
        began = time.monotonic()
        yield
        self._paused += time.monotonic() - began

    def step_done(self, step: int, batch: AnyBatch, values: dict[str, float]) -> None:
        self._step = step
        self._tokens += batch.real_tokens
        self._real += batch.real_tokens
        self._padded += batch.tokens.size
        self._cpu += batch.seconds
        self._pairs += batch.pairs
        self._failed += sum(batch.failures.values())
        self._loss += values["loss"]
        self._grad_norm += values["grad_norm"]
        if step % self._config.log_every == 0 or step == self._config.steps:
            self._report(step)
            self._start_window(step)

    def _report(self, step: int) -> None:
        count = step - self._window_step
        seconds = max(1e-9, time.monotonic() - self._window_began - self._paused)
        left = (self._config.steps - step) * seconds / count
        record = {
            "step": step,
            "kind": "train",
            "loss": self._loss / count,
            "grad_norm": self._grad_norm / count,
            "learning_rate": float(self._schedule(step - 1)),
            "tokens": self._tokens,
            "tokens_per_second": self._real / seconds,
            "wait": min(1.0, self._waited / seconds),
            "fill": self._real / self._padded,
            "failed_pairs": self._failed / max(1, self._failed + self._pairs),
            "worker_tokens_per_second": self._real / max(1e-9, self._cpu),
            "minutes": self.meta()["minutes"],
        }
        self._log.write(record)
        print(
            f"step {step}/{self._config.steps}  loss {record['loss']:.4f}  "
            f"{record['tokens_per_second'] / 1e3:.0f}k tokens/s  waited {record['wait']:.1%}  "
            f"fill {record['fill']:.2f}  a worker {record['worker_tokens_per_second'] / 1e3:.0f}k tokens/s  "
            f"{left / 60:.1f} min left",
            flush=True,
        )

    def evaluated(self, step: int, results: dict[str, float]) -> None:
        self._log.write({"step": step, "kind": "eval", "tokens": self._tokens, **results})
        print(
            f"step {step}: held out: loss {results['held_out_loss']:.4f}, "
            f"exact {results['held_out_exact']:.1%}; fresh tasks of the training generators: "
            f"loss {results['fresh_loss']:.4f}, exact {results['fresh_exact']:.1%}",
            flush=True,
        )
