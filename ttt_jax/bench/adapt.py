"""Adaptation, measured: the jitted chunk that `ttt.py` runs, on random weights and tokens."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttt_jax.adapt.adapt import Adapter
from ttt_jax.bench import counts
from ttt_jax.bench.ceilings import Ceilings, OwnShapes, measure_own_shapes
from ttt_jax.bench.device import (
    compile_program,
    does_not_fit,
    memory_limit,
    out_of_memory,
    peak_memory,
    random_params,
    random_positions,
)
from ttt_jax.bench.options import PRESETS, BenchConfig, remat_label
from ttt_jax.bench.report import Report, describe_own_shapes, describe_step, describe_trace, percent, say
from ttt_jax.bench.timing import Budget, measure
from ttt_jax.bench.trace import trace_call
from ttt_jax.config import AdaptConfig, Remat
from ttt_jax.model.attention import kernel_name
from ttt_jax.model.decoder import Decoder


@dataclasses.dataclass(frozen=True)
class AdaptBenchConfig(BenchConfig):
    """Adaptation of many tasks side by side against the device's ceilings and against PEFT one task at a time.

    None takes the preset's value.
    """

    lengths: tuple[int, ...] | None = None
    tasks: int | None = None
    batch_size: int | None = None
    rank: int | None = None
    remat: tuple[Remat, ...] = ()
    """Empty takes the preset's."""
    chunk: int = 4
    """Steps of a timed call."""
    loss_share: float = 1.0
    """Share of the positions that carry loss."""
    steps_per_task: int = AdaptConfig.steps
    """For tasks a second."""


def bench_adapt(config: AdaptBenchConfig, ceilings: Ceilings, dtype: Any, budget: Budget, report: Report) -> None:
    """Every case of the presets; those that do not fit are tried again with half the tasks."""
    own: dict[Any, OwnShapes | None] = {}
    for name in config.presets:
        preset = PRESETS[name]
        lora = preset.lora if config.rank is None else dataclasses.replace(preset.lora, rank=config.rank)
        base = None
        for length in config.lengths or preset.lengths:
            for remat in config.remat or preset.remat:
                tasks = config.tasks or preset.tasks
                while tasks:
                    adapt = AdaptConfig(
                        batch_size=config.batch_size or preset.batch_size, chunk=config.chunk, slots=tasks,
                        steps=1_000_000, remat=remat, lora=lora,
                    )  # fmt: skip
                    what = f"{name}, {tasks} tasks x {adapt.batch_size} x {length}{remat_label(remat)}"
                    if not budget.allows(what, needs=20.0):
                        break
                    base = random_params(preset.model, dtype, config.seed) if base is None else base
                    model = Decoder(preset.model, dtype=dtype)
                    case = bench_case(what, config, model, base, adapt, length, ceilings, budget, own)
                    report.case({"preset": name, **case})
                    tasks = tasks // 2 if "does_not_fit" in case else 0


def bench_case(
    what: str,
    config: AdaptBenchConfig,
    model: Decoder,
    base: Any,
    adapt: AdaptConfig,
    length: int,
    ceilings: Ceilings,
    budget: Budget,
    own: dict[Any, OwnShapes | None],
) -> dict[str, Any]:
    """One compiled shape: its memory, its step, its share of the ceilings.

    `own` holds what the products of shapes timed before took; new ones are added.
    """
    say(f"\nadapt: {what}, rank {adapt.lora.rank} on {' '.join(adapt.lora.targets)}")
    case: dict[str, Any] = {
        "name": what, "tasks": adapt.slots, "batch_size": adapt.batch_size, "length": length, "remat": adapt.remat,
        "rank": adapt.lora.rank, "targets": adapt.lora.targets, "loss_share": config.loss_share,
        "attention": kernel_name(model.dtype, model.config.head_dim),
    }  # fmt: skip
    adapter = Adapter(model, base, adapt, config.seed, pad_token=0)
    batches = random_batches(model, adapt, length, config.loss_share, config.seed)
    try:
        state = adapter.initial_state([str(i) for i in range(int(adapt.slots))])
        program = compile_program(adapter.chunk, state, adapter.frozen, batches)
        case |= {"compile_seconds": program.seconds, "memory": program.memory}
        if reason := does_not_fit(program.memory):
            say(f"  does not fit: {reason}")
            return case | {"does_not_fit": reason}
        held = {"state": state}
        del state

        def chunk() -> Any:
            held["state"], metrics = program.call(held["state"], adapter.frozen, batches)
            return metrics

        timing = measure(
            chunk, jax.block_until_ready, calls=config.calls, rounds=config.rounds, deadline=budget.deadline
        )
        loss = float(np.nanmean(np.asarray(chunk()["loss"])[:, -1]))
        trace = None
        if config.profile:
            folder = Path(config.profile) / what.replace(" ", "").replace(",", "_")
            trace = trace_call(folder, lambda: jax.block_until_ready(chunk()))
    except jax.errors.JaxRuntimeError as error:
        if not out_of_memory(error):
            raise
        reason = str(error).splitlines()[0][:200]
        say(f"  does not fit: {reason}")
        return case | {"does_not_fit": reason}

    state_bytes = 2.0 * counts.tree_bytes(held["state"].train) + counts.tree_bytes(base)
    state_bytes += counts.tree_bytes(batches) / adapt.chunk
    work = counts.adaptation(
        model.config, adapt.lora, int(adapt.slots), adapt.batch_size, length, config.loss_share, state_bytes
    )
    seconds = timing.seconds / adapt.chunk
    itemsize = jnp.dtype(model.dtype).itemsize
    floor = work.roofline(ceilings.flops, ceilings.bandwidth, itemsize)
    per_task = config.steps_per_task * adapt.batch_size * length
    case |= {
        "step": timing.per(adapt.chunk),
        "tokens_per_second": work.tokens / seconds,
        "tasks_per_second": work.tokens / seconds / per_task,
        "steps_per_task": config.steps_per_task,
        "flops_per_token": work.flops / work.tokens,
        "flops_per_second": work.flops / seconds,
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
        say(describe_trace(trace, adapt.chunk))
    # The state makes room for the operands.
    held.clear()
    if config.own_shapes and work not in own:
        own[work] = measure_own_shapes(work, ceilings, model.dtype, budget)
        if (found := own[work]) is not None:
            say(describe_own_shapes(found))
    if (found := own.get(work)) is not None:
        case |= {"own_shapes": found.as_dict(), "share_of_own_shapes": found.seconds / seconds}
        say(f"  own shapes {found.seconds * 1e3:.2f} ms a step: {percent(found.seconds / seconds)} of that is reached")
    return case


def random_batches(
    model: Decoder, adapt: AdaptConfig, length: int, loss_share: float, seed: int
) -> dict[str, jax.Array]:
    """Batches of one chunk, [slots, chunk, batch_size, ...], on the device."""
    shape = (int(adapt.slots), adapt.chunk, adapt.batch_size, length)
    tokens, carries = jax.random.split(jax.random.key(seed))
    return {
        "tokens": jax.random.randint(tokens, shape, 0, model.config.vocab_size, jnp.int32),
        "positions": random_positions(shape, model.config.rope.axes),
        "weights": (jax.random.uniform(carries, shape) < loss_share).astype(jnp.float32),
    }
