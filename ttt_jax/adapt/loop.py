"""The adaptation loop: T tasks advance by k steps in one jitted call over an explicit state."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Int, UInt32

from ttt_jax.config import AdaptConfig
from ttt_jax.losses import Batch, Loss, Variables
from ttt_jax.model.dropout import dropouts
from ttt_jax.model.lora import init_adapter
from ttt_jax.runtime.mesh import constrain, over_tasks
from ttt_jax.update import TrainState, make_update

# Logits that the held-out check of a task holds at a time.
CHECK_LOGITS = 1 << 22
# Folded into a task's key for its masks: below it are numbers of layers, which its first weights are drawn with.
MASKS = 1 << 31


@flax.struct.dataclass
class AdaptState:
    """The state of T tasks under adaptation; every leaf has a leading task axis.

    Attributes:
      train: trainable variables, optimizer state and step of each task.
      seed: with the step, says what dropout drops.
      max_steps: where each task ends.
      done: it has used its steps.
      failed: a step gave a non-finite loss, gradient or update. The task keeps
        the variables it had before that step.
    """

    train: TrainState
    seed: UInt32[Array, " tasks"]
    max_steps: Int[Array, " tasks"]
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


def init_state(
    trainable: Variables,
    tx: optax.GradientTransformation,
    max_steps: Int[Array, " tasks"],
    seeds: UInt32[Array, " tasks"] | None = None,
) -> AdaptState:
    """The state before the first step. `max_steps` 0 marks an empty slot; `seeds` are zeros where None."""
    max_steps = jnp.asarray(max_steps, jnp.int32)
    return AdaptState(
        train=jax.vmap(partial(TrainState.create, tx=tx))(trainable),
        seed=jnp.zeros(max_steps.shape, jnp.uint32) if seeds is None else jnp.asarray(seeds, jnp.uint32),
        max_steps=max_steps,
        done=max_steps <= 0,
        failed=jnp.zeros(max_steps.shape, bool),
    )


@partial(jax.jit, donate_argnums=0)
def enter_slots(state: AdaptState, entering: AdaptState, which: Bool[Array, " tasks"]) -> AdaptState:
    """The state with the slots of `which` taken from `entering`; the others stay as they are, to the bit."""

    def choose(old: jax.Array, new: jax.Array) -> jax.Array:
        return jnp.where(which.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    return constrain(jax.tree.map(choose, state, entering))


@jax.jit
def take_slot(stacked: Any, slot: Int[Array, ""]) -> Any:
    """One entry of a stacked pytree."""
    return jax.tree.map(lambda x: x[slot], stacked)


def make_adapt_chunk(loss: Loss, tx: optax.GradientTransformation, model: Any, dropout: float = 0.0) -> AdaptChunk:
    """The jitted function that advances T tasks by k steps.

    `chunk(state, frozen, batches) -> (state, metrics)`: every array of
    `batches` is [T, k, ...] and every metric [T, k]; the state is donated.
    `frozen` is not mapped, so a base matmul is one matmul over all tasks. A
    task that is done or failed keeps its state to the bit; its metrics of
    such steps are NaN. `dropout` is the rate at which adapters lose inputs;
    what they lose is a function of the task's seed and its step, so chunks,
    slots and neighbours do not change it.
    """
    update = make_update(loss, tx, model)

    def one_step(frozen: Variables, state: AdaptState, batch: Batch):
        if dropout:
            key = jax.random.fold_in(jax.random.fold_in(jax.random.key(state.seed), MASKS), state.train.step)
            frozen = {**frozen, "dropout": dropouts(key, state.train.trainable["lora"], dropout)}
        train, metrics = update(state.train, frozen, batch)
        value = metrics["loss"]
        finite = jnp.isfinite(value) & jnp.isfinite(metrics["grad_norm"]) & jnp.isfinite(metrics["update_norm"])
        stepped = state.active & finite
        train = jax.tree.map(partial(jnp.where, stepped), train, state.train)
        done = state.done | (train.step >= state.max_steps)
        metrics = {name: jnp.where(state.active, metric, jnp.nan) for name, metric in metrics.items()}
        failed = state.failed | (state.active & ~finite)
        return AdaptState(train, state.seed, state.max_steps, done, failed), metrics

    def one_task(state: AdaptState, frozen: Variables, batches: Batch):
        return jax.lax.scan(partial(one_step, frozen), state, batches)

    def chunk(state: AdaptState, frozen: Variables, batches: Batch):
        return constrain(over_tasks(one_task, in_axes=(0, None, 0))(state, frozen, batches))

    return jax.jit(chunk, donate_argnums=0)


def make_check(model: Any) -> Callable[[Variables, Variables, Batch], Bool[Array, " tasks"]]:
    """The jitted question whether the adapted model gets every weighted token of a sequence right.

    `check(trainable, frozen, batch) -> bool[T]`: arrays of `batch` are [T, length, ...]; a token
    is right where it is the most likely one after those before it.
    """
    size = max(1, CHECK_LOGITS // model.config.vocab_size)

    def one_task(trainable: Variables, frozen: Variables, batch: Batch):
        variables = {**frozen, **trainable}
        hidden, _ = model.apply(variables, batch["tokens"][None], batch["positions"][None], method="hidden")
        blocks = jnp.pad(hidden[0], ((0, -hidden.shape[1] % size), (0, 0))).reshape(-1, size, hidden.shape[-1])
        best = jax.lax.map(lambda h: jnp.argmax(model.apply(variables, h[None], method="logits")[0], -1), blocks)
        before = best.reshape(-1)[: hidden.shape[1] - 1]
        return jnp.all((before == batch["tokens"][1:]) | (batch["weights"][1:] == 0))

    return jax.jit(over_tasks(one_task, in_axes=(0, None, 0)))
