"""Training an adapter from which a few steps adapt a task: first-order MAML and Reptile.

One outer step adapts many tasks side by side, each from the same adapter phi, with the very loop that adapts at test
time, and moves phi:

    fomaml    phi <- phi - outer(mean over tasks of the gradient of the query's loss, taken at the adapted adapter)
    reptile   phi <- phi - outer(mean over tasks of phi - the adapted adapter)

Finn et al., arXiv 1703.03400; Nichol et al., arXiv 1803.02999. A task whose adaptation fails is left out of the mean.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, UInt32

from ttt_jax import leafwise
from ttt_jax.adapt.loop import init_state, init_trainable, make_adapt_chunk
from ttt_jax.adapt.saved import load_initial, saver
from ttt_jax.compilation import compile_each
from ttt_jax.losses import Batch, Variables, get_loss
from ttt_jax.model.io import load_model
from ttt_jax.runtime.device import compute_dtype, launch_without_graphs
from ttt_jax.runtime.files import replacing
from ttt_jax.tasks.registry import get_domain
from ttt_jax.train.checkpoint import Checkpoints, claim_run_dir
from ttt_jax.train.config import drawn_lengths
from ttt_jax.train.initial_config import RESUME_MAY_CHANGE, InitialConfig
from ttt_jax.train.initial_data import TaskBatch, eval_batch, make_batch
from ttt_jax.train.metrics import MetricsLog
from ttt_jax.train.sft import IN_FLIGHT, NonFinite, last_good
from ttt_jax.train.workers import OrderedWorkers
from ttt_jax.update import TrainState, make_optimizer

ADAPTER = "adapter.safetensors"
OuterStep = Callable[[TrainState, Any, dict[str, Batch]], tuple[TrainState, dict[str, jax.Array]]]
Starts = Callable[[np.ndarray], Variables]
"""Numbers of tasks -> the adapters that they start from, stacked."""
Evaluation = Callable[[Starts, Any, dict[str, Any]], dict[str, float]]


def train_initial(config: InitialConfig, stop: Callable[[], bool] = lambda: False) -> TrainState:
    """Runs to `config.steps`, resuming where the run directory left off, and writes adapter.safetensors.

    Args:
      config: the run.
      stop: asked after every outer step; where true, the run is saved and left, to be resumed.

    Returns:
      the state after the last step made; `trainable` is {"lora": phi}.

    Raises:
      OtherRun: the run directory belongs to a run of another config.
      ModelError: the model cannot be read.
      ValueError: it does not read grids, or `adapt.init` misfits.
      NonFinite: training diverged.
      WorkerDied: a data worker failed.
    """
    deadline = time.monotonic() + 60 * (config.max_minutes or math.inf)
    launch_without_graphs()
    run_dir = claim_run_dir(config, RESUME_MAY_CHANGE)
    model, base, tokenizer = load_model(config.model, compute_dtype(config.dtype))
    get_domain("arc").bind(tokenizer)
    model = model.clone(lora_scale=config.adapt.lora.scale, remat=config.adapt.remat)
    state = initial_state(config, model, base)
    checkpoints = Checkpoints(run_dir / "checkpoints", config.keep)
    meta: dict[str, Any] = {"minutes": 0.0}
    if checkpoints.latest is not None:
        state, meta = checkpoints.restore(state)
        print(f"resuming {run_dir} after step {int(state.step)}", flush=True)
    began = time.monotonic() - 60 * meta["minutes"]
    step = int(state.step)
    outer_steps, answers = compile_programs(config, model, state, base)
    log = MetricsLog(run_dir, step, columns(config))

    def minutes() -> float:
        return (time.monotonic() - began) / 60

    def record(kind: str, values: dict[str, float]) -> None:
        log.write({"step": step, "kind": kind, **values, "minutes": round(minutes(), 3)})
        shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"step {step} of {config.steps}: {shown}", flush=True)

    def settle(most: int) -> None:
        """Reads the metrics of all but the newest `most` steps."""
        while len(pending) > most:
            done, batch, metrics = pending.popleft()
            values = {name: float(value) for name, value in metrics.items()}
            if not all(map(math.isfinite, values.values())) or values["failed"] == batch.tasks:
                raise NonFinite(f"step {done}: {values}; {last_good(checkpoints)}")
            window.append(values | {"fill": batch.real_tokens / _size(batch)})

    def save() -> None:
        if checkpoints.latest != step:
            checkpoints.save(step, state, {"minutes": minutes()})
            with replacing(run_dir / ADAPTER) as file:
                saver(jax.device_get(state.trainable))(file)

    pending: deque[tuple[int, TaskBatch, dict[str, jax.Array]]] = deque()
    window: list[dict[str, float]] = []
    batches = OrderedWorkers(partial(make_batch, config), step, config.workers)
    try:
        evaluate = make_evaluation(config, answers) if config.eval.every else None
        held = eval_batch(config).arrays() if evaluate else {}
        if evaluate and step == 0:
            record("fresh", evaluate(fresh_starts(config, model, base), base, held))
        while step < config.steps:
            batch = next(batches)
            state, metrics = outer_steps[batch.length](state, base, batch.arrays())
            step += 1
            pending.append((step, batch, metrics))
            last = step == config.steps
            leave = last or stop() or time.monotonic() > deadline
            settle(0 if leave else IN_FLIGHT)
            if step % config.log_every == 0 or leave:
                settle(0)
                record("train", {name: float(np.mean([of[name] for of in window])) for name in window[0]})
                window.clear()
            if evaluate and (last or step % config.eval.every == 0):
                record("eval", evaluate(starts_from(state.trainable), base, held))
            if leave or step % config.save_every == 0:
                settle(0)
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


def initial_state(config: InitialConfig, model: Any, base: Any) -> TrainState:
    """phi as `adapt.init` has it, or fresh, and a fresh outer optimizer."""
    if config.adapt.init is not None:
        phi: Any = {"lora": jax.tree.map(jnp.asarray, load_initial(config.adapt.init, model.config, config.adapt.lora))}
    else:
        stacked, _ = init_trainable(_keys(config, 1), base, model, config.adapt)
        phi = jax.tree.map(lambda x: x[0], stacked)
    return TrainState.create(phi, make_optimizer(config.optimizer, config.steps))


def fresh_starts(config: InitialConfig, model: Any, base: Any) -> Starts:
    """Every task starts from a fresh adapter of its own."""
    keys = _keys(config, config.eval.tasks)
    return lambda which: init_trainable(keys[which], base, model, config.adapt)[0]


def starts_from(phi: Variables) -> Starts:
    """Every task starts from the same adapter."""
    return lambda which: over_all_tasks(phi, len(which))


def make_outer_step(config: InitialConfig, model: Any) -> OuterStep:
    """The jitted `outer_step(state, base, batch) -> (state, metrics)`; the state is donated.

    Metrics: `query_loss` and `first_loss`, `last_loss` (of the first and the last step of adaptation), means over the
    tasks that went well, nats a token; `failed`, tasks that did not; `grad_norm` of the outer gradient.
    """
    loss, tx = get_loss(config.adapt.loss), make_optimizer(config.optimizer, config.steps)
    adapt = _make_adapt(config, model, config.adapt.steps)

    def query_loss(trainable: Variables, base: Any, query: Batch) -> jax.Array:
        return loss(trainable, {"params": base}, query, model)[0]

    def outer_step(state: TrainState, base: Any, batch: dict[str, Batch]):
        query = expand(batch["query"])
        tasks = len(query["tokens"])
        start = over_all_tasks(state.trainable, tasks)
        seeds = state.step.astype(jnp.uint32) * tasks + jnp.arange(tasks, dtype=jnp.uint32)
        adapted, curve, failed = adapt(start, base, expand(batch["adapt"]), seeds)
        if config.method == "fomaml":
            asked, gradients = jax.vmap(jax.value_and_grad(query_loss), (0, None, 0))(adapted, base, query)
        else:
            asked = jax.vmap(query_loss, (0, None, 0))(adapted, base, query)
            gradients = jax.tree.map(lambda phi, theta: phi - theta, start, adapted)
        failed |= ~jnp.isfinite(asked)
        gradient = jax.tree.map(lambda x: mean_over(x, ~failed), gradients)
        updates, opt_state = tx.update(gradient, state.opt_state, state.trainable)
        trainable: Any = optax.apply_updates(state.trainable, updates)
        after = TrainState(trainable, opt_state, state.step + 1)
        metrics = {
            "query_loss": mean_over(asked, ~failed),
            "first_loss": mean_over(curve[:, 0], ~failed),
            "last_loss": mean_over(curve[:, -1], ~failed),
            "failed": jnp.sum(failed),
            "grad_norm": leafwise.global_norm(gradient),
        }
        return after, metrics

    return jax.jit(outer_step, donate_argnums=0)


def make_answers(config: InitialConfig, model: Any) -> Any:
    """The jitted `answers(trainable, base, batch, seeds, steps)`: stacked adapters to start from, and as many tasks.

    `seeds` uint32[T] say what dropout drops while each task adapts.
    Gives of each task after so many steps of adaptation: the nats of the queries' answers, their tokens, and the share
    of the queries whose every token is the likeliest after the true ones before it.
    """

    def answer(trainable: Variables, base: Any, query: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        variables = {"params": base, **trainable}
        hidden, _ = model.apply(variables, query["tokens"], query["positions"], method="hidden")
        logprobs = jax.nn.log_softmax(model.apply(variables, hidden, method="logits"))[:, :-1]
        targets, asked = query["tokens"][:, 1:], query["weights"][:, 1:] > 0
        picked = jnp.take_along_axis(logprobs, targets[..., None], axis=-1)[..., 0]
        right = jnp.all((jnp.argmax(logprobs, axis=-1) == targets) | ~asked, axis=1)
        return -jnp.sum(picked * asked), jnp.sum(asked), jnp.mean(right)

    @partial(jax.jit, static_argnames="steps")
    def answers(trainable: Variables, base: Any, batch: dict[str, Batch], seeds: UInt32[Array, " tasks"], steps: int):
        if steps:
            batches = jax.tree.map(lambda x: x[:, :steps], batch["adapt"])
            adapt = _make_adapt(config, model, steps)
            trainable, _, _ = adapt(trainable, base, expand(batches), seeds)
        return jax.lax.map(lambda x: answer(x[0], base, x[1]), (trainable, expand(batch["query"])))

    return answers


def make_evaluation(config: InitialConfig, answers: Mapping[int, Any]) -> Evaluation:
    """`evaluate(starts, base, batch)`: the adapters that tasks start from; the tasks of `eval_batch`.

    They are adapted in groups of `config.eval_group`, no more side by side than an outer step has. Gives for each n of
    `eval.steps`, after n steps of adaptation: `loss@n`, nats a token of the queries' answers, and `exact@n`, the share
    of the queries whose every token is the likeliest after the true ones before it.

    Args:
      config: of the run.
      answers: n -> `make_answers` for n steps.
    """
    tasks, group = config.eval.tasks, config.eval_group

    def evaluate(starts: Starts, base: Any, batch: dict[str, Any]) -> dict[str, float]:
        sums = {steps: np.zeros(3) for steps in config.eval.steps}
        for first in range(0, tasks, group):
            which = np.arange(first, first + group) % tasks  # the last group is filled up with tasks that count once
            stacked, part = starts(which), jax.tree.map(lambda x, which=which: x[which], batch)
            for steps, total in sums.items():
                # A task's seed is its number, so that its group does not change what it is adapted with.
                of_tasks = answers[steps](stacked, base, part, which.astype(np.uint32))
                total += [float(np.sum(np.asarray(x)[: tasks - first], dtype=np.float64)) for x in of_tasks]
            del stacked  # before the next group's are made: one group's adapters at a time
        found: dict[str, float] = {}
        for steps, (nats, tokens, exact) in sums.items():
            found |= {f"loss@{steps}": nats / tokens, f"exact@{steps}": exact / tasks}
        return found

    return evaluate


def compile_programs(
    config: InitialConfig, model: Any, state: TrainState, base: Any
) -> tuple[dict[int, Any], dict[int, Any]]:
    """All programs of a run, compiled side by side: outer steps by length, and `make_answers` by steps.

    The second is empty where nothing is evaluated.
    """
    lengths = drawn_lengths(config.data)
    evaluated = config.eval.steps if config.eval.every else ()
    print(f"compiling {len(lengths)} outer steps and {len(evaluated)} evaluations ...", flush=True)
    began = time.monotonic()
    outer_step: Any = make_outer_step(config, model)
    answers = make_answers(config, model)
    stacked = jax.eval_shape(lambda phi: over_all_tasks(phi, config.eval_group), state.trainable)
    held = batch_shapes(config, config.eval.length, config.eval_group, max(1, *config.eval.steps))
    seeds = jax.ShapeDtypeStruct((config.eval_group,), np.uint32)
    lower: dict[tuple[str, int], Callable[[], Any]] = {}
    for length in lengths:
        shapes = batch_shapes(config, length, config.tasks(length), config.adapt.steps)
        lower["outer", length] = partial(outer_step.lower, state, base, shapes)
    for steps in evaluated:
        lower["answers", steps] = partial(answers.lower, stacked, base, held, seeds, steps=steps)
    compiled = compile_each(lower)
    print(f"  compiled in {time.monotonic() - began:.1f} s", flush=True)
    return {n: compiled["outer", n] for n in lengths}, {n: compiled["answers", n] for n in evaluated}


def batch_shapes(config: InitialConfig, length: int, tasks: int, steps: int) -> dict[str, Any]:
    """Shapes and types of `TaskBatch.arrays`, of so many tasks that adapt in so many steps."""

    def of(*shape: int) -> dict[str, Any]:
        types = {"tokens": np.uint8, "rows": np.uint8, "cols": np.uint8, "weights": np.float32}
        return {name: jax.ShapeDtypeStruct(shape, dtype) for name, dtype in types.items()}

    return {
        "adapt": of(tasks, steps, config.adapt.batch_size, length),
        "query": of(tasks, config.queries, length),
    }


def _make_adapt(config: InitialConfig, model: Any, steps: int) -> Callable[..., Any]:
    """`adapt(stacked, base, batches, seeds)`: adapted variables, losses [T, steps], and which tasks failed."""
    tx = make_optimizer(config.adapt.optimizer, steps)
    chunk = make_adapt_chunk(get_loss(config.adapt.loss), tx, model, config.adapt.lora.dropout)

    def adapt(
        stacked: Variables, base: Any, batches: Batch, seeds: UInt32[Array, " tasks"]
    ) -> tuple[Variables, Float[Array, "tasks steps"], Bool[Array, " tasks"]]:
        state = init_state(stacked, tx, jnp.full(len(seeds), steps), seeds)
        state, metrics = chunk(state, {"params": base}, batches)
        return state.train.trainable, metrics["loss"], state.failed

    return adapt


def expand(compact: Batch) -> Batch:
    """On the device: the arrays of a `TaskBatch`, to those that losses and the model take."""
    index = jnp.broadcast_to(jnp.arange(compact["tokens"].shape[-1], dtype=jnp.int32), compact["tokens"].shape)
    places = (index, *(compact[name].astype(jnp.int32) for name in ("rows", "cols")))
    return {
        "tokens": jnp.asarray(compact["tokens"], jnp.int32),
        "positions": jnp.stack(places, axis=-1),
        "weights": jnp.asarray(compact["weights"]),
    }


def over_all_tasks(trainable: Variables, tasks: int) -> Variables:
    """The same variables for each of so many tasks."""
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (tasks, *x.shape)), trainable)


def mean_over(values: Float[Array, "tasks ..."], which: Bool[Array, " tasks"]) -> Float[Array, ...]:
    """The mean of some entries, whatever the others hold; 0 of none."""
    chosen = which.reshape(-1, *[1] * (values.ndim - 1))
    return jnp.sum(jnp.where(chosen, values, 0.0), axis=0) / jnp.maximum(jnp.sum(which), 1)


def columns(config: InitialConfig) -> tuple[str, ...]:
    """Of metrics.csv."""
    measured = [f"{name}@{steps}" for name in ("loss", "exact") for steps in config.eval.steps]
    return (
        "step", "kind", "query_loss", "first_loss", "last_loss", "failed", "grad_norm", "fill", *measured, "minutes",
    )  # fmt: skip


def _keys(config: InitialConfig, tasks: int) -> jax.Array:
    return jax.random.split(jax.random.key(config.seed), tasks)


def _size(batch: TaskBatch) -> int:
    return batch.adapt["tokens"].size + batch.query["tokens"].size
