"""Training a base model from scratch, or on from saved weights, on generated tasks."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ttt_jax.losses import get_loss
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import load_config, load_params, parameter_count, resolve, save_model
from ttt_jax.train.checkpoint import Checkpoints, claim_run_dir
from ttt_jax.train.config import ReArcConfig, TrainConfig
from ttt_jax.train.data import FIRST_OUTPUT, INPUT_ROLE, NO_LOSS, Batch, make_batch
from ttt_jax.train.evaluate import eval_batches, evaluate, make_last_pair_scores
from ttt_jax.train.metrics import MetricsLog
from ttt_jax.train.progress import Progress
from ttt_jax.train.workers import OrderedWorkers
from ttt_jax.update import TrainState, make_optimizer, make_schedule, make_update

# Steps dispatched before the oldest one's metrics are read: the device always has the next one at hand.
IN_FLIGHT = 2


class NonFinite(ArithmeticError):
    """The loss, the gradient or the weights are no longer finite; the last checkpoint is still good."""


@flax.struct.dataclass
class State:
    """All that a checkpoint holds: parameters and optimizer (float32), and the parameters' moving average."""

    train: TrainState
    ema: Any


def train(config: TrainConfig, stop: Callable[[], bool] = lambda: False) -> State:
    """Runs to `config.steps`, resuming where the run directory left off, and exports the averaged weights.

    Args:
      config: the run.
      stop: asked after every step; where true, the run is saved and left, to be resumed.

    Returns:
      the state after the last step made.

    Raises:
      OtherRun: the run directory belongs to a run of another config.
      NonFinite: training diverged.
      WorkerDied: a data worker failed.
    """
    deadline = time.monotonic() + 60 * (config.max_minutes or math.inf)
    run_dir = claim_run_dir(config)
    on_cpu = jax.default_backend() == "cpu"
    dtype = {"auto": jnp.float32 if on_cpu else jnp.bfloat16}.get(config.dtype) or jnp.dtype(config.dtype)
    model = Decoder(config.model, dtype=dtype, remat=config.remat)
    split, everywhere = shardings(config.data)

    state = jax.device_put(initial_state(config, model), everywhere)
    checkpoints = Checkpoints(run_dir / "checkpoints", config.keep)
    step, tokens = 0, 0
    if checkpoints.latest is not None:
        state, meta = checkpoints.restore(state)
        step, tokens = meta["step"], meta["tokens"]
        print(f"resuming {run_dir} after step {step}", flush=True)
    print(
        f"{parameter_count(state.ema) / 1e6:.1f}M parameters, {jnp.dtype(dtype).name} compute, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}, {config.workers} data workers",
        flush=True,
    )
    log = MetricsLog(run_dir, step)
    progress = Progress(config, step, tokens, log, make_schedule(config.optimizer, config.steps))
    expand_batch = partial(expand, role_weights=role_weights(config.data))
    train_step = make_train_step(config, model, expand_batch)
    scores = make_last_pair_scores(model, expand_batch)

    def save() -> None:
        if checkpoints.latest == step:
            return
        if not all_finite(state):
            raise NonFinite(f"weights are not finite after step {step}; {last_good(checkpoints)}")
        checkpoints.save(step, state, {"step": step, "tokens": progress.tokens})
        save_model(run_dir / "model", config.model, state.ema)

    def settle(most: int) -> None:
        """Reads the metrics of all but the newest `most` steps."""
        while len(pending) > most:
            done, batch, metrics = pending.popleft()
            values = {name: float(value) for name, value in metrics.items()}
            if not all(math.isfinite(values[name]) for name in ("loss", "grad_norm")):
                raise NonFinite(
                    f"step {done}: loss {values['loss']}, gradient norm {values['grad_norm']}; {last_good(checkpoints)} "
                    f"Lower optimizer.learning_rate, or optimizer.clip_norm, and start another run."
                )
            progress.step_done(done, batch, values)

    pending: deque[tuple[int, Batch, dict[str, jax.Array]]] = deque()
    try:
        with OrderedWorkers(partial(make_batch, config.data, config.seed), step, config.workers) as batches:
            held = jax.tree.map(
                lambda b: jax.device_put(b.arrays(), split), eval_batches(config) if config.eval.every else {}
            )
            if step < config.steps:
                batch = next(batches)
                on_device = jax.device_put(batch.arrays(), split)
            while step < config.steps:
                with progress.compiling(batch):
                    state, metrics = train_step(state, on_device)
                    step += 1
                    if progress.first_of(batch):
                        jax.block_until_ready(metrics)
                pending.append((step, batch, metrics))
                if step < config.steps:
                    # The device is at work on the step just dispatched while the next batch is fetched.
                    with progress.fetching(metrics["loss"]):
                        batch = next(batches)
                    on_device = jax.device_put(batch.arrays(), split)
                settle(IN_FLIGHT)
                last = step == config.steps
                if held and (last or step % config.eval.every == 0):
                    settle(0)
                    with progress.paused():
                        progress.evaluated(step, evaluate(scores, state.ema, held))
                leave = stop() or time.monotonic() > deadline
                if last or leave or step % config.save_every == 0:
                    settle(0)
                    with progress.paused():
                        save()
                if leave and not last:
                    print(f"stopped and saved after step {step} of {config.steps}; start again to go on", flush=True)
                    break
    finally:
        checkpoints.close()
        log.close()
    return state


def make_train_step(config: TrainConfig, model: Decoder, expand_batch: Callable[[Any], Any]):
    """Jitted `(state, compact batch) -> (state, metrics)`; the state's buffers are donated."""
    update = make_update(get_loss(config.loss), make_optimizer(config.optimizer, config.steps), model)

    def train_step(state: State, compact: dict[str, jax.Array]) -> tuple[State, dict[str, jax.Array]]:
        train, metrics = update(state.train, {}, expand_batch(compact))
        step = state.train.step.astype(jnp.float32)
        decay = jnp.minimum(config.ema_decay, (1 + step) / (10 + step))
        ema = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, state.ema, train.trainable["params"])
        return State(train, ema), metrics

    return jax.jit(train_step, donate_argnums=0)


def initial_state(config: TrainConfig, model: Decoder) -> State:
    """Fresh parameters, or those of `config.init_from`, and a fresh optimizer."""
    if config.init_from is None:
        params = model.init(jax.random.key(config.seed), jnp.zeros((1, 2), jnp.int32))["params"]
    else:
        path = resolve(config.init_from)
        found, _ = load_config(path)
        if found != config.model:
            raise ValueError(
                f"init_from: {path / 'config.json'} is of another shape: {found}, the config says {config.model}"
            )
        params = load_params(path, found, jnp.float32)
    tx = make_optimizer(config.optimizer, config.steps)
    # The average is a copy: donating one buffer twice is an error.
    return State(TrainState.create({"params": params}, tx), jax.tree.map(jnp.copy, params))


def role_weights(data: ReArcConfig) -> np.ndarray:
    """Loss weight of each role, float32[5]."""
    weights = np.ones(5, np.float32)
    weights[NO_LOSS], weights[INPUT_ROLE], weights[FIRST_OUTPUT] = 0.0, data.input_weight, data.first_output_weight
    return weights


def expand(compact: dict[str, jax.Array], role_weights: np.ndarray) -> dict[str, jax.Array]:
    """On the device: a compact batch (`data.Batch.arrays`) to the arrays that losses and the model take."""
    index = jnp.broadcast_to(jnp.arange(compact["tokens"].shape[1], dtype=jnp.int32), compact["tokens"].shape)
    places = (index, compact["rows"].astype(jnp.int32), compact["cols"].astype(jnp.int32))
    return {
        "tokens": compact["tokens"].astype(jnp.int32),
        "positions": jnp.stack(places, axis=-1),
        "weights": jnp.asarray(role_weights)[compact["roles"]],
    }


def shardings(data: ReArcConfig) -> tuple[NamedSharding, NamedSharding]:
    """Sequences split over all devices; parameters on each of them."""
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    for length in data.lengths:
        if data.rows(length) % devices:
            raise ValueError(
                f"{data.rows(length)} sequences of {length} tokens cannot be split over {devices} devices: "
                f"set data.row_multiple to {devices}"
            )
    return NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())


@jax.jit
def all_finite(state: State) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))


def last_good(checkpoints: Checkpoints) -> str:
    found = checkpoints.latest
    return "there is no checkpoint yet." if found is None else f"the checkpoint of step {found} is still good."
