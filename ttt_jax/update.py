"""One optimizer step, the same for adaptation (mapped over tasks) and for training."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int

from ttt_jax import leafwise
from ttt_jax.config import OptimizerConfig
from ttt_jax.losses import Batch, Loss, Variables
from ttt_jax.muon import muon_for_layers


@flax.struct.dataclass
class TrainState:
    """What an update changes.

    Attributes:
      trainable: the variables under training, {"lora": ...} or {"params": ...}.
      opt_state: optax state, one per adapter when stacked (vmap over `tx.init`):
        a single state over a stack would let weight decay and moments of one
        task act on the schedule of another.
      step: updates made so far.
    """

    trainable: Variables
    opt_state: Any
    step: Int[Array, ""]

    @classmethod
    def create(cls, trainable: Variables, tx: optax.GradientTransformation) -> TrainState:
        return cls(trainable=trainable, opt_state=tx.init(trainable), step=jnp.zeros((), jnp.int32))


Update = Callable[[TrainState, Variables, Batch], tuple[TrainState, dict[str, jax.Array]]]


def make_update(loss: Loss, tx: optax.GradientTransformation, model: Any) -> Update:
    """`update(state, frozen, batch) -> (state, metrics)`.

    Metrics are the loss's own and `grad_norm` (before clipping) and
    `update_norm`, float32 scalars; a step that went wrong shows in them as
    non-finite values.
    """

    def update(state: TrainState, frozen: Variables, batch: Batch):
        value_and_grad = jax.value_and_grad(loss, has_aux=True)
        (_, metrics), grads = value_and_grad(state.trainable, frozen, batch, model)
        updates, opt_state = tx.update(grads, state.opt_state, state.trainable)
        trainable: Any = leafwise.apply_updates(state.trainable, updates)
        norms = {"grad_norm": leafwise.global_norm(grads), "update_norm": leafwise.global_norm(updates)}
        return TrainState(trainable, opt_state, state.step + 1), {**metrics, **norms}

    return update


def make_schedule(config: OptimizerConfig, steps: int, peak: float | None = None) -> optax.Schedule:
    """Learning rate at each of `steps` steps: linear warm-up, a plateau, then the decay to zero."""
    peak = config.learning_rate if peak is None else peak
    warmup = min(config.warmup_steps, steps)
    decay_steps = max(1, min(steps - warmup, round(steps * config.decay_fraction)))
    decay_start = steps - decay_steps
    shapes: dict[str, Callable[[jax.Array], jax.Array]] = {
        "constant": jnp.ones_like,
        "linear": lambda t: 1.0 - t,
        "cosine": lambda t: 0.5 * (1.0 + jnp.cos(jnp.pi * t)),
        "sqrt": lambda t: 1.0 - jnp.sqrt(t),
    }
    if config.schedule not in shapes:
        raise ValueError(f"optimizer.schedule {config.schedule!r} is not one of {', '.join(shapes)}")
    shape = shapes[config.schedule]

    def schedule(step):
        step = jnp.asarray(step, jnp.float32)
        ramp = jnp.minimum(1.0, (step + 1.0) / max(1, warmup)) if warmup else 1.0
        t = jnp.clip((step - decay_start) / decay_steps, 0.0, 1.0)
        return peak * ramp * shape(t)

    return schedule


def make_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """The configured optax optimizer over a run of `steps` steps.

    For `muon` see `muon_for_layers`.

    Raises:
      ValueError: for a name that is neither known nor importable.
    """
    schedule = make_schedule(config, steps)
    if config.name == "adamw":
        tx = leafwise.adamw(schedule, config.b1, config.b2, config.eps, config.weight_decay)
    elif config.name == "sgd":
        tx = optax.sgd(schedule, momentum=config.b1 or None)
    elif config.name == "muon":
        rate = make_schedule(config, steps, config.muon_learning_rate)
        tx = muon_for_layers(rate, schedule, config.b1, config.b2, config.weight_decay)
    else:
        module, colon, attribute = config.name.partition(":")
        if not colon:
            raise ValueError(f"optimizer.name {config.name!r} is not adamw, muon, sgd or `my_module:my_optimizer`")
        try:
            make = getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ValueError(f"optimizer.name {config.name!r} could not be imported: {error}") from error
        tx = make(schedule)
    if config.clip_norm is None:
        return tx
    return optax.chain(leafwise.clip_by_global_norm(config.clip_norm), tx)
