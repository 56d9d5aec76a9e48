"""Training from scratch, measured: the jitted step that `train_sft.py` runs, and the rate of its data workers."""

from __future__ import annotations

import dataclasses
import os
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttt_jax.bench import counts
from ttt_jax.bench.ceilings import Ceilings, OwnShapes, measure_own_shapes
from ttt_jax.bench.device import compile_program, does_not_fit, memory_limit, out_of_memory, peak_memory
from ttt_jax.bench.options import PRESETS, BenchConfig, remat_label
from ttt_jax.bench.report import Report, describe_own_shapes, describe_step, describe_trace, percent, say
from ttt_jax.bench.timing import Budget, measure
from ttt_jax.bench.trace import trace_call
from ttt_jax.config import OptimizerConfig, Remat
from ttt_jax.model.attention import kernel_name
from ttt_jax.model.decoder import Decoder
from ttt_jax.train.config import EvalConfig, ReArcConfig, TrainConfig

# Steps of a timed call, dispatched one after the other as the trainer does.
STEPS = 4
# Batches of a worker that may be finished before they are asked for: two in its queue, one on its way.
_HELD_READY = 3


@dataclasses.dataclass(frozen=True)
class PretrainBenchConfig(BenchConfig):
    """Training all weights, by sequence length and optimizer, and the data workers that feed it."""

    presets: tuple[str, ...] = ("arc-small",)
    lengths: tuple[int, ...] = (1024, 2048, 3072)
    tokens_per_batch: int = ReArcConfig.tokens_per_batch
    optimizers: tuple[str, ...] = ("muon", "adamw")
    remat: Remat = "nothing"
    workers: int | None = None
    """Data workers timed; None takes all cores but one, 0 leaves them out."""
    worker_batches: int = 24
    """Batches that the workers are timed over, after those that they held ready."""


def bench_pretrain(config: PretrainBenchConfig, ceilings: Ceilings, dtype: Any, budget: Budget, report: Report) -> None:
    """The workers, then the step of every optimizer at every length."""
    workers = max(1, (os.cpu_count() or 2) - 1) if config.workers is None else config.workers
    if workers and budget.allows(f"the rate of {workers} data workers", needs=60.0):
        report.set(data=bench_workers(config, workers, budget))
    own: dict[Any, OwnShapes | None] = {}
    for name in config.presets:
        for optimizer in config.optimizers:
            for length in config.lengths:
                rows = max(1, config.tokens_per_batch // length)
                what = f"{name}, {rows} x {length}, {optimizer}{remat_label(config.remat)}"
                if budget.allows(what, needs=30.0):
                    case = bench_case(what, config, name, optimizer, rows, length, ceilings, dtype, budget, own)
                    report.case({"preset": name, **case})


def bench_case(
    what: str,
    config: PretrainBenchConfig,
    preset: str,
    optimizer: str,
    rows: int,
    length: int,
    ceilings: Ceilings,
    dtype: Any,
    budget: Budget,
    own: dict[Any, OwnShapes | None],
) -> dict[str, Any]:
    """One step of one shape. `own` holds what the products of shapes timed before took."""
    from ttt_jax.train.sft import expand, initial_state, make_train_step, role_weights

    say(f"\npretrain: {what}")
    data = ReArcConfig(lengths=(length,), length_probabilities=(1.0,), tokens_per_batch=rows * length)
    train = TrainConfig(
        model=PRESETS[preset].model, data=data, optimizer=OptimizerConfig(name=optimizer), remat=config.remat,
        seed=config.seed, eval=EvalConfig(every=0),
    )  # fmt: skip
    shape = PRESETS[preset].model
    model = Decoder(shape, dtype=dtype, remat=train.remat)
    case: dict[str, Any] = {
        "name": what, "rows": rows, "length": length, "optimizer": optimizer, "remat": config.remat,
        "attention": kernel_name(dtype, shape.head_dim),
    }  # fmt: skip
    batch = jax.device_put(random_batch(rows, length, shape.vocab_size, config.seed))
    try:
        held = {"state": initial_state(train, model)}
        step = make_train_step(train, model, partial(expand, role_weights=role_weights(data)))
        program = compile_program(step, held["state"], batch)
        case |= {"compile_seconds": program.seconds, "memory": program.memory}
        if reason := does_not_fit(program.memory):
            say(f"  does not fit: {reason}")
            return case | {"does_not_fit": reason}

        def advance() -> Any:
            metrics = {}
            for _ in range(STEPS):
                held["state"], metrics = program.call(held["state"], batch)
            return metrics

        timing = measure(
            advance, jax.block_until_ready, calls=config.calls, rounds=config.rounds, deadline=budget.deadline
        )
        loss = float(advance()["loss"])
        trace = None
        if config.profile:
            folder = Path(config.profile) / what.replace(" ", "").replace(",", "_")
            trace = trace_call(folder, lambda: jax.block_until_ready(advance()))
    except jax.errors.JaxRuntimeError as error:
        if not out_of_memory(error):
            raise
        reason = str(error).splitlines()[0][:200]
        say(f"  does not fit: {reason}")
        return case | {"does_not_fit": reason}

    seconds = timing.seconds / STEPS
    state_bytes = 2.0 * counts.tree_bytes(held["state"]) + counts.tree_bytes(batch)
    work = counts.training(shape, rows, length, state_bytes)
    floor = work.roofline(ceilings.flops, ceilings.bandwidth, jnp.dtype(dtype).itemsize)
    orthogonal = counts.newton_schulz(shape) if optimizer == "muon" else 0.0
    case |= {
        "step": timing.per(STEPS),
        "tokens_per_second": work.tokens / seconds,
        "flops_per_token": work.flops / work.tokens,
        "flops_per_second": work.flops / seconds,
        "optimizer_flops": orthogonal,
        "share_of_matmul_ceiling": work.flops / seconds / ceilings.flops,
        "roofline_seconds": floor,
        "share_of_roofline": floor / seconds,
        "state_bytes": state_bytes,
        "peak_memory": peak_memory(),
        "memory_limit": memory_limit(),
        "loss": loss,
    }
    say(describe_step(case))
    if trace is not None:
        case["trace"] = trace.as_dict()
        say(describe_trace(trace, STEPS))
    held.clear()
    shapes = dataclasses.replace(work, state_bytes=0.0)  # they do not depend on the optimizer
    if config.own_shapes and shapes not in own:
        own[shapes] = measure_own_shapes(shapes, ceilings, dtype, budget)
        if (found := own[shapes]) is not None:
            say(describe_own_shapes(found))
    if (found := own.get(shapes)) is not None:
        case |= {"own_shapes": found.as_dict(), "share_of_own_shapes": found.seconds / seconds}
        say(f"  own shapes {found.seconds * 1e3:.2f} ms a step: {percent(found.seconds / seconds)} of that is reached")
    return case


def bench_workers(config: PretrainBenchConfig, workers: int, budget: Budget) -> dict[str, Any]:
    """What the worker processes make of the shipped mix of lengths while nothing else runs, in real tokens a second."""
    from ttt_jax.tasks.rearc import generator_ids
    from ttt_jax.train.data import make_batch
    from ttt_jax.train.workers import OrderedWorkers

    try:
        generator_ids()
    except ModuleNotFoundError as error:
        say(f"data workers: not measured: {error}")
        return {"not_measured": str(error)}
    data = ReArcConfig(tokens_per_batch=max(config.tokens_per_batch, *ReArcConfig.lengths))
    with OrderedWorkers(partial(make_batch, data, config.seed), 0, workers) as batches:
        # What was made while the workers started up, and what they held ready, would flatter the rate.
        for _ in range(_HELD_READY * workers):
            next(batches)
        made, began = [], time.perf_counter()
        while len(made) < config.worker_batches and (not made or budget.left > 0):
            made.append(next(batches))
        elapsed = time.perf_counter() - began
    found = {
        "workers": workers,
        "batches": len(made),
        "real_tokens_per_second": sum(b.real_tokens for b in made) / elapsed,
        "cpu_seconds_per_batch": statistics.median(b.seconds for b in made),
        "real_share": sum(b.real_tokens for b in made) / sum(b.tokens.size for b in made),
    }
    say(
        f"data: {workers} workers make {found['real_tokens_per_second'] / 1e3:,.0f}k real tokens/s "
        f"({found['batches']} batches of {data.tokens_per_batch} tokens, {percent(found['real_share'])} of them real, "
        f"{found['cpu_seconds_per_batch']:.2f} CPU seconds each)"
    )
    return found


def random_batch(rows: int, length: int, vocabulary: int, seed: int) -> dict[str, np.ndarray]:
    """A compact batch (`train.data.Batch.arrays`) of random tokens, places and roles that carry loss."""
    rng = np.random.default_rng(seed)
    highs = {"tokens": (0, min(vocabulary, 256)), "rows": (0, 31), "cols": (0, 31), "roles": (1, 5)}
    return {name: rng.integers(*high, (rows, length)).astype(np.uint8) for name, high in highs.items()}
