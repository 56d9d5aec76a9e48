"""The adaptation loop: T tasks advance by k steps in one jitted call over an explicit state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from ttt_jax.config import AdaptConfig
from ttt_jax.losses import Batch, Loss, Variables
from ttt_jax.model.lora import init_adapter
from ttt_jax.update import TrainState, make_update

# Weight of the newest step in the loss that early stopping watches.
LOSS_SMOOTHING = 0.25


@flax.struct.dataclass
class AdaptState:
    """The state of T tasks under adaptation; every leaf has a leading task axis.

    Attributes:
      train: trainable variables, optimizer state and step of each task.
      max_steps: where each task ends.
      smoothed_loss: exponential mean of its training loss.
      done: it has used its steps or met the stopping loss.
      failed: a step gave a non-finite loss, gradient or update. The task keeps
        the variables it had before that step.
    """

    train: TrainState
    max_steps: Int[Array, " tasks"]
    smoothed_loss: Float[Array, " tasks"]
    done: Bool[Array, " tasks"]
    failed: Bool[Array, " tasks"]

    @property
    def active(self) -> Bool[Array, " tasks"]:
        return ~(self.done | self.failed)


AdaptChunk = Callable[[AdaptState, Variables, Batch], tuple[AdaptState, dict[str, jax.Array]]]


def init_trainable(keys: Any, base: Any, model: Any, config: AdaptConfig) -> tuple[Variables, Variables]:
    """What T tasks train and what stays frozen.

    Args:
      keys: one jax key per task, [T]; a task's adapter depends on its own key only.
      base: the model's parameters.
      config: `trainable` "lora" gives fresh adapters over a frozen base, "full" gives
        every task its own float32 copy of the base.

    Returns:
      `(trainable, frozen)`; leaves of `trainable` have a leading axis T.
    """
    if config.trainable == "lora":
        adapters = jax.vmap(lambda key: init_adapter(key, model.config, config.lora))(keys)
        return {"lora": adapters}, {"params": base}
    tasks = len(keys)
    copies = jax.tree.map(lambda p: jnp.repeat(p.astype(jnp.float32)[None], tasks, axis=0), base)
    return {"params": copies}, {}


def init_state(trainable: Variables, tx: optax.GradientTransformation, max_steps: Int[Array, " tasks"]) -> AdaptState:
    """The state before the first step. `max_steps` 0 marks an empty slot."""
    max_steps = jnp.asarray(max_steps, jnp.int32)
    return AdaptState(
        train=jax.vmap(partial(TrainState.create, tx=tx))(trainable),
        max_steps=max_steps,
        smoothed_loss=jnp.full(max_steps.shape, jnp.inf, jnp.float32),
        done=max_steps <= 0,
        failed=jnp.zeros(max_steps.shape, bool),
    )


def make_adapt_chunk(
    loss: Loss, tx: optax.GradientTransformation, model: Any, stop_loss: float | None = None
) -> AdaptChunk:
    """The jitted function that advances T tasks by k steps.

    `chunk(state, frozen, batches) -> (state, metrics)`: every array of
    `batches` is [T, k, ...] and every metric [T, k]; the state is donated.
    `frozen` is not mapped, so a base matmul is one matmul over all tasks. A
    task that is done or failed keeps its state to the bit; its metrics of
    such steps are NaN.
    """
    update = make_update(loss, tx, model)

    def one_step(frozen: Variables, state: AdaptState, batch: Batch):
        train, metrics = update(state.train, frozen, batch)
        value = metrics["loss"]
        finite = jnp.isfinite(value) & jnp.isfinite(metrics["grad_norm"]) & jnp.isfinite(metrics["update_norm"])
        stepped = state.active & finite
        train = jax.tree.map(partial(jnp.where, stepped), train, state.train)
        first = jnp.isinf(state.smoothed_loss)
        smoothed = jnp.where(first, value, state.smoothed_loss + LOSS_SMOOTHING * (value - state.smoothed_loss))
        smoothed = jnp.where(stepped, smoothed, state.smoothed_loss)
        done = state.done | (train.step >= state.max_steps)
        if stop_loss is not None:
            done |= smoothed < stop_loss
        metrics = {name: jnp.where(state.active, metric, jnp.nan) for name, metric in metrics.items()}
        failed = state.failed | (state.active & ~finite)
        return AdaptState(train, state.max_steps, smoothed, done, failed), metrics

    def one_task(state: AdaptState, frozen: Variables, batches: Batch):
        return jax.lax.scan(partial(one_step, frozen), state, batches)

    return jax.jit(jax.vmap(one_task, in_axes=(0, None, 0)), donate_argnums=0)
