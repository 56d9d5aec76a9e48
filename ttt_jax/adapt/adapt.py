"""Adapts the tasks of one group: host side of the loop in loop.py."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttt_jax.adapt.examples import ExampleStream
from ttt_jax.adapt.loop import AdaptChunk, AdaptState, init_state, init_trainable, make_adapt_chunk
from ttt_jax.adapt.partial import Partial, PartialFile
from ttt_jax.config import AdaptConfig
from ttt_jax.losses import Variables, get_loss
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.tasks.task import keyed_rng
from ttt_jax.update import make_optimizer, make_schedule

CURVES = ("loss", "grad_norm")


@dataclass(frozen=True)
class Adapted:
    """What adapting a group gave.

    Attributes:
      trainable: stacked variables, leading axis `slots`; the first entries are the tasks, in order.
      steps: int[tasks], updates made.
      failed: reason per task, None where it went well.
      curves: per task, lists of equal length: step, loss, grad_norm, learning_rate.
      tokens: int[tasks], tokens trained on, padding left out.
    """

    trainable: Variables
    steps: np.ndarray
    failed: list[str | None]
    curves: list[dict[str, list[float]]]
    tokens: np.ndarray


class Adapter:
    """Adapts groups of tasks with one configuration; compiles once per length.

    Args:
      model: a `Decoder` (its `lora_scale` is set from the config).
      base: its parameters, in the compute type.
      config: how to adapt.
      seed: with a task's id, the key of its adapter.
      pad_token: fills sequences; only counts of real tokens depend on it.
    """

    def __init__(self, model: Any, base: Any, config: AdaptConfig, seed: int, pad_token: int):
        self.config, self.base, self.seed, self.pad_token = config, base, seed, pad_token
        self.model = model.clone(lora_scale=config.lora.scale, remat=config.remat)
        self.rates = np.asarray(
            jax.vmap(make_schedule(config.optimizer, config.steps))(jnp.arange(config.steps))
        ).tolist()
        self.tx = make_optimizer(config.optimizer, config.steps)
        self.chunk: AdaptChunk = make_adapt_chunk(get_loss(config.loss), self.tx, self.model, config.stop_loss)
        self.start = jax.jit(self._start)
        self.frozen: Variables = {} if config.trainable == "full" else {"params": base}

    def _start(self, base: Any, seeds: jax.Array, max_steps: jax.Array) -> AdaptState:
        keys = jax.vmap(jax.random.key)(seeds)
        return init_state(init_trainable(keys, base, self.model, self.config)[0], self.tx, max_steps)

    def initial_state(self, task_ids: Sequence[str]) -> AdaptState:
        """The state of `slots` tasks before the first step; empty slots take no steps."""
        seeds, max_steps = np.zeros(self.config.slots, np.uint32), np.zeros(self.config.slots, np.int32)
        for i, task_id in enumerate(task_ids):
            seeds[i] = keyed_rng(self.seed, "adapter", task_id).integers(2**32, dtype=np.uint32)
            max_steps[i] = self.config.steps
        return self.start(self.base, seeds, max_steps)

    def batches(self, examples: Sequence[ExampleStream], start: int, length: int) -> dict[str, np.ndarray]:
        """The batches of one chunk, [slots, chunk, batch_size, ...]; empty slots repeat the first task."""
        config = self.config
        per_task = []
        for stream in examples:
            steps = [stream.batch(start + i, config.batch_size, length) for i in range(config.chunk)]
            per_task.append({name: np.stack([step[name] for step in steps]) for name in steps[0]})
        per_task += [per_task[0]] * (config.slots - len(per_task))
        return {name: np.stack([task[name] for task in per_task]) for name in per_task[0]}

    def adapt(
        self,
        task_ids: Sequence[str],
        examples: Sequence[ExampleStream],
        length: int,
        on_chunk: Callable[[int, int, float], None] = lambda steps, done, loss: None,
        leave: Callable[[], bool] = lambda: False,
        saved: PartialFile | None = None,
    ) -> Adapted:
        """Trains one adapter for each stream, at most `slots` of them, side by side.

        Args:
          task_ids: key the tasks' adapters.
          examples: the tasks' training sequences.
          length: every sequence is padded to this many tokens.
          on_chunk: told the steps of each chunk, the steps made in all and the mean loss.
          leave: asked after every chunk but the last; where true, the state goes
            to `saved` and `Interrupted` is raised.
          saved: where a group that was left is taken up from.

        Raises:
          Interrupted: `leave` said so.
        """
        config, count = self.config, len(examples)
        if count > config.slots:
            raise ValueError(f"{count} tasks for {config.slots} slots (adapt.slots)")
        state = self.initial_state(task_ids)
        before = saved.load(state) if saved else None
        start, tokens, collected = 0, np.zeros(count, np.int64), []
        if before:
            start, state, tokens, collected = before.step, before.state, before.tokens.copy(), [before.curves]
            on_chunk(start, start, float("nan"))
        batches = self.batches(examples, start, length)
        while start < config.steps:
            state, metrics = self.chunk(state, self.frozen, batches)
            real = (batches["tokens"] != self.pad_token).sum(axis=(2, 3))[:count]
            steps = min(config.chunk, config.steps - start)
            start += config.chunk
            if start < config.steps:
                # The device is busy with the chunk just sent; the host writes the next one meanwhile.
                batches = self.batches(examples, start, length)
            curves = {name: np.asarray(metrics[name])[:count] for name in CURVES}
            tokens += np.where(np.isnan(curves["loss"]), 0, real).sum(axis=1)
            collected.append(curves)
            losses = curves["loss"][np.isfinite(curves["loss"])]
            on_chunk(steps, min(start, config.steps), float(losses.mean()) if losses.size else float("nan"))
            if (np.asarray(state.done) | np.asarray(state.failed)).all():
                break
            if start < config.steps and leave():
                if saved:
                    saved.save(Partial(state, start, _join(collected), tokens))
                raise Interrupted
        if saved:
            saved.remove()
        joined = _join(collected)
        steps_made = np.asarray(state.train.step)[:count]
        failed = [
            f"diverged: loss, gradient or update not finite at step {int(step)}" if bad else None
            for step, bad in zip(steps_made, np.asarray(state.failed)[:count], strict=True)
        ]
        return Adapted(
            trainable=state.train.trainable,
            steps=steps_made,
            failed=failed,
            curves=[self._curves(joined, i, int(steps_made[i])) for i in range(count)],
            tokens=tokens,
        )

    def _curves(self, joined: dict[str, np.ndarray], task: int, steps: int) -> dict[str, list[float]]:
        curves = {name: [float(v) for v in values[task, :steps]] for name, values in joined.items()}
        rates = self.rates[:steps]
        return {"step": list(range(steps)), **curves, "learning_rate": rates}


def _join(parts: Sequence[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([part[name] for part in parts], axis=1) for name in CURVES}


def concatenate(parts: Sequence[Adapted], slots: Sequence[int]) -> Adapted:
    """Parts of one group as one; `slots[i]` entries of part i are tasks, what follows them is empty."""
    trees = [jax.tree.map(lambda x, n=n: x[:n], part.trainable) for part, n in zip(parts, slots, strict=True)]
    return Adapted(
        trainable=jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *trees),
        steps=np.concatenate([part.steps for part in parts]),
        failed=[reason for part in parts for reason in part.failed],
        curves=[curves for part in parts for curves in part.curves],
        tokens=np.concatenate([part.tokens for part in parts]),
    )
