"""Training a base model from scratch, or on from saved weights, on generated tasks."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from ttt_jax.compilation import compile_each
from ttt_jax.losses import get_loss
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.grow import can_grow, grow
from ttt_jax.model.io import load_config, load_params, parameter_count, resolve, save_model
from ttt_jax.train.checkpoint import Checkpoints, claim_run_dir
from ttt_jax.train.config import ReArcConfig, TracesConfig, TrainConfig, drawn_lengths
from ttt_jax.train.data import FIRST_OUTPUT, INPUT_ROLE, NO_LOSS
from ttt_jax.train.evaluate import evaluate, make_last_pair_scores
from ttt_jax.train.metrics import MetricsLog
from ttt_jax.train.progress import Progress
from ttt_jax.train.sources import AnyBatch, TrainingData, open_data
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
      ModelError: `init_from` cannot be read.
      ConfigError: a source of `traces` is none.
      NonFinite: training diverged.
      WorkerDied: a data worker failed.
    """
    deadline = time.monotonic() + 60 * (config.max_minutes or math.inf)
    data, shape = open_data(config), model_shape(config)
    run_dir = claim_run_dir(config)
    auto = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    dtype = jnp.dtype(auto if config.dtype == "auto" else config.dtype)
    model = Decoder(shape, dtype=dtype, remat=config.remat)
    split, everywhere = shardings(data.config)

    state = jax.device_put(initial_state(config, model), everywhere)
    checkpoints = Checkpoints(run_dir / "checkpoints", config.keep)
    meta: dict[str, Any] = {"step": 0, "tokens": 0, "minutes": 0.0}
    if checkpoints.latest is not None:
        state, meta = checkpoints.restore(state)
        print(f"resuming {run_dir} after step {meta['step']}", flush=True)
    step: int = meta["step"]
    print(
        f"{parameter_count(state.ema) / 1e6:.1f}M parameters, {dtype.name} compute, "
        f"{jax.device_count()} x {jax.devices()[0].device_kind}, {config.workers} data workers",
        flush=True,
    )
    expand_batch = partial(expand, role_weights=role_weights(data.config))
    train_steps = compile_by_length(make_train_step(config, model, expand_batch), state, data, split)
    log = MetricsLog(run_dir, step)
    progress = Progress(config, meta, log, make_schedule(config.optimizer, config.steps))
    scores = make_last_pair_scores(model, expand_batch)

    def fetch() -> tuple[AnyBatch, dict[str, jax.Array]]:
        batch = next(batches)
        return batch, jax.device_put(batch.arrays(), split)

    def settle(most: int) -> None:
        """Reads the metrics of all but the newest `most` steps."""
        while len(pending) > most:
            done, batch, metrics = pending.popleft()
            values = {name: float(value) for name, value in metrics.items()}
            if not all(math.isfinite(values[name]) for name in ("loss", "grad_norm")):
                found = f"step {done}: loss {values['loss']}, gradient norm {values['grad_norm']}"
                raise NonFinite(f"{found}; {last_good(checkpoints)}")
            progress.step_done(done, batch, values)

    def save() -> None:
        if checkpoints.latest == step:
            return
        if not all_finite(state):
            raise NonFinite(f"weights are not finite after step {step}; {last_good(checkpoints)}")
        checkpoints.save(step, state, progress.meta())
        save_model(run_dir / "model", shape, state.ema, data.tokenizer)

    pending: deque[tuple[int, AnyBatch, dict[str, jax.Array]]] = deque()
    batches = OrderedWorkers(data.make, step, config.workers)
    try:
        held = jax.tree.map(lambda b: jax.device_put(b.arrays(), split), data.held())
        upcoming = fetch()
        while step < config.steps:
            batch, arrays = upcoming
            state, metrics = train_steps[batch.length](state, arrays)
            step += 1
            pending.append((step, batch, metrics))
            with progress.fetching(metrics["loss"]):  # while the device is at work on the step just dispatched
                upcoming = fetch()
            settle(IN_FLIGHT)

            last = step == config.steps
            if held and (last or step % config.eval.every == 0):
                settle(0)
                with progress.paused():
                    progress.evaluated(step, evaluate(scores, state.ema, held))
            leave = last or stop() or time.monotonic() > deadline
            if leave or step % config.save_every == 0:
                settle(0)
                with progress.paused():
                    save()
            if leave:
                break
        if step < config.steps:
            print(f"stopped and saved after step {step} of {config.steps}; start again to go on", flush=True)
    finally:
        batches.close()
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


def compile_by_length(train_step: Any, state: State, data: TrainingData, split: NamedSharding) -> dict[int, Any]:
    """The jitted step compiled for every length that batches have, all at once: with more cores no slower than one."""
    config = data.config
    lengths = drawn_lengths(config)
    sizes = ", ".join(f"{config.rows(length)} x {length}" for length in lengths)
    print(f"compiling the update for {sizes} tokens ...", flush=True)
    began = time.monotonic()

    def lower(length: int) -> Any:
        shape = (config.rows(length), length)
        batch = {name: jax.ShapeDtypeStruct(shape, dtype, sharding=split) for name, dtype in data.dtypes.items()}
        return train_step.lower(state, batch)

    compiled = compile_each({length: partial(lower, length) for length in lengths})
    print(f"  compiled in {time.monotonic() - began:.1f} s", flush=True)
    return compiled


def model_shape(config: TrainConfig) -> ModelConfig:
    """The model's, or that of `init_from` where the config gives none. Raises ModelError."""
    return config.model or load_config(resolve(config.init_from or ""))[0]


def initial_state(config: TrainConfig, model: Decoder) -> State:
    """Fresh parameters, or those of `config.init_from`, and a fresh optimizer."""
    if config.init_from is None:
        tokens = jnp.zeros((1, 2), jnp.int32)
        params = jax.jit(model.init)(jax.random.key(config.seed), tokens)["params"]
    else:
        path = resolve(config.init_from)
        found, _ = load_config(path)
        params = load_params(path, found, jnp.float32)
        if config.model is not None and can_grow(found, config.model):
            params = grow(params, found, config.model)
        elif config.model not in (None, found):
            file = path / "config.json"
            raise ValueError(f"init_from: {file} is of another shape: {found}, the config says {config.model}")
    tx = make_optimizer(config.optimizer, config.steps)
    # The average is a copy: donating one buffer twice is an error.
    ema = jax.jit(lambda tree: jax.tree.map(jnp.copy, tree))(params)
    return State(jax.jit(lambda tree: TrainState.create(tree, tx))({"params": params}), ema)


def role_weights(data: ReArcConfig | TracesConfig) -> np.ndarray:
    """Loss weight of each role, float32[5]."""
    weights = np.ones(5, np.float32)
    weights[NO_LOSS], weights[INPUT_ROLE], weights[FIRST_OUTPUT] = 0.0, data.input_weight, data.first_output_weight
    return weights


def expand(compact: Mapping[str, jax.Array | np.ndarray], role_weights: np.ndarray) -> dict[str, jax.Array]:
    """On the device: a compact batch (`data.Batch.arrays`) to the arrays that losses and the model take."""
    index = jnp.broadcast_to(jnp.arange(compact["tokens"].shape[1], dtype=jnp.int32), compact["tokens"].shape)
    # Text has one axis of positions, grids have rows and columns too.
    places = (index, *(compact[name].astype(jnp.int32) for name in ("rows", "cols") if name in compact))
    return {
        "tokens": jnp.asarray(compact["tokens"], jnp.int32),
        "positions": jnp.stack(places, axis=-1),
        "weights": jnp.asarray(role_weights)[jnp.asarray(compact["roles"])],
    }


def shardings(data: ReArcConfig | TracesConfig) -> tuple[NamedSharding, NamedSharding]:
    """Sequences split over all devices; parameters on each of them."""
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,))
    section = "traces" if isinstance(data, TracesConfig) else "data"
    for length in data.lengths:
        if data.rows(length) % devices:
            raise ValueError(
                f"{data.rows(length)} sequences of {length} tokens cannot be split over {devices} devices: "
                f"set {section}.row_multiple to {devices}"
            )
    return NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())


@jax.jit
def all_finite(state: State) -> jax.Array:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(state)]))


def last_good(checkpoints: Checkpoints) -> str:
    found = checkpoints.latest
    kept = "there is no checkpoint yet" if found is None else f"the checkpoint of step {found} is still good"
    return f"{kept}. Lower optimizer.learning_rate or optimizer.clip_norm, in a run_dir of its own"
