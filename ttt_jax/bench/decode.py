"""Decoding, measured: the jitted programs that `generate` runs, on random weights, adapters and prompts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttt_jax.bench import counts
from ttt_jax.bench.ceilings import Ceilings
from ttt_jax.bench.device import (
    compile_program,
    does_not_fit,
    out_of_memory,
    peak_memory,
    random_like,
    random_params,
    random_positions,
)
from ttt_jax.bench.options import PRESETS, BenchConfig, Preset
from ttt_jax.bench.report import Report, describe_decoding, describe_trace, say
from ttt_jax.bench.timing import Budget, measure
from ttt_jax.bench.trace import trace_call
from ttt_jax.config import LoraConfig
from ttt_jax.decode.generate import DecodeState, Prompts, Rules, decode_chunk, prefill
from ttt_jax.decode.params import cast
from ttt_jax.decode.sampling import Sampling
from ttt_jax.decode.syntax import TextSyntax
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.lora import init_adapter
from ttt_jax.runtime import hlo
from ttt_jax.tasks.grid_syntax import GridSyntax

# No row ends early: every step of a timed call does the same work.
NO_STOP = -1


@dataclasses.dataclass(frozen=True)
class DecodeBenchConfig(BenchConfig):
    """Decoding of many tasks x views, adapters apart, against the bandwidth floor and against `generate`."""

    tasks: int = 16
    views: int = 16
    contexts: tuple[int, ...] | None = None
    """Tokens of a prompt; None takes the preset's."""
    new_tokens: int = 64
    """Tokens of a timed call; the cache has room for just so many beyond the prompt."""


def bench_decode(config: DecodeBenchConfig, ceilings: Ceilings, dtype: Any, budget: Budget, report: Report) -> None:
    """Every preset at every context."""
    for name in config.presets:
        preset, base, adapted = PRESETS[name], None, None
        for context in config.contexts or preset.contexts:
            what = f"{name}, {config.tasks} tasks x {config.views} views, context {context}"
            if not budget.allows(what, needs=30.0):
                continue
            if base is None or adapted is None:
                base = cast(random_params(preset.model, dtype, config.seed), dtype)
                adapted = random_adapters(preset, config.tasks, dtype, config.seed)
            model = Decoder(preset.model, lora_scale=preset.lora.scale, dtype=dtype)
            case = bench_case(what, config, model, preset.lora, base, adapted, context, ceilings, budget)
            report.case({"preset": name, **case})


def bench_case(
    what: str,
    config: DecodeBenchConfig,
    model: Decoder,
    lora: LoraConfig,
    base: Any,
    adapted: Any,
    context: int,
    ceilings: Ceilings,
    budget: Budget,
) -> dict[str, Any]:
    """One context: reading the prompts, then `new_tokens` tokens again and again over the same cache."""
    say(f"\ndecode: {what}, rank {lora.rank}")
    case: dict[str, Any] = {
        "name": what, "tasks": config.tasks, "views": config.views, "context": context,
        "new_tokens": config.new_tokens, "rank": lora.rank, "targets": lora.targets,
    }  # fmt: skip
    grid = model.config.rope.axes == 3
    rules = Rules(GridSyntax() if grid else TextSyntax(), NO_STOP, 0, Sampling(), grammar=grid)
    prompts = random_prompts(model, config.tasks, config.views, context, config.seed)
    keys = np.zeros((config.tasks, config.views, 2), np.uint32)
    longest = config.new_tokens + 1  # the first comes from the prompt
    try:
        options = {"rules": rules, "slots": context + config.new_tokens, "longest": longest}
        reading = compile_program(prefill, model, base, adapted, prompts, keys, **options)
        if reason := does_not_fit(reading.memory):
            say(f"  reading the prompts does not fit: {reason}")
            return case | {"does_not_fit": reason}
        # One call of reading at a time: its result is as large as the cache.
        read = measure(
            lambda: reading.call(base, adapted, prompts, keys).logprobs, jax.block_until_ready,
            calls=1, rounds=config.rounds, deadline=budget.deadline,
        )  # fmt: skip
        held: dict[str, DecodeState] = {"state": reading.call(base, adapted, prompts, keys)}
        writing = compile_program(decode_chunk, model, base, adapted, held["state"], rules=rules)
        case |= {
            "compile_seconds": reading.seconds + writing.seconds,
            "memory": {"prefill": reading.memory, "decode": writing.memory},
        }

        def chunk() -> Any:
            held["state"] = writing.call(base, adapted, rewound(held["state"], context))
            return held["state"].logprobs

        timing = measure(
            chunk, jax.block_until_ready, calls=config.calls, rounds=config.rounds, deadline=budget.deadline
        )
        steps = int(held["state"].count) - 1
        if steps != config.new_tokens:
            raise RuntimeError(f"{what}: {steps} steps were made, {config.new_tokens} expected")
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

    rows, seconds = config.tasks * config.views, timing.seconds / steps
    c = model.config
    itemsize = jnp.dtype(model.dtype).itemsize
    # A step reads what was there before it and the slot that it writes: half of the new tokens on average.
    valid = context + (steps - 1) / 2
    floor_bytes = counts.decoding_bytes(c, lora, config.tasks, config.views, valid, itemsize)
    floor = floor_bytes.total / ceilings.bandwidth
    products = counts.decoding(c, lora, config.tasks, config.views)
    copied = hlo.loop_arrays(writing.text(), rows * c.num_kv_heads * (context + config.new_tokens) * c.head_dim).copied
    case |= {
        "step": timing.per(steps),
        "tokens_per_second": rows / seconds,
        "tokens_per_second_with_prompt": rows * (steps + 1) / (read.seconds + timing.seconds),
        "prompt": read.per(1),
        "prompt_tokens_per_second": rows * context / read.seconds,
        "floor_bytes": dataclasses.asdict(floor_bytes),
        "floor_seconds": floor,
        "times_floor": seconds / floor,
        "bytes_per_second": floor_bytes.total / seconds,
        "flops": products.flops,
        "flops_seconds": products.flops / ceilings.flops,
        "cache_copies_in_the_loop": len(copied),
        "peak_memory": peak_memory(),
    }
    say(describe_decoding(case))
    for line in copied[:4]:
        say(f"    {line[:160]}")
    if trace is not None:
        case["trace"] = trace.as_dict()
        say(describe_trace(trace, steps))
    return case


def rewound(state: DecodeState, context: int) -> DecodeState:
    """The state as it was right after the prompts: what was written since is written again over itself.

    Slots beyond the write index are never attended to, so that what they hold does not matter.
    """
    read = jnp.broadcast_to(jnp.arange(state.cache.slots) < context, state.cache.valid.shape)
    length = jnp.asarray(context, jnp.int32)
    cache = dataclasses.replace(state.cache, length=length, valid=state.cache.valid & read)
    return state.replace(cache=cache, count=jnp.asarray(1, jnp.int32), done=jnp.zeros_like(state.done))


def random_prompts(model: Decoder, tasks: int, rows: int, length: int, seed: int) -> Prompts:
    """Prompts that fill their whole length; those of grids end where an output begins."""
    shape = (tasks, rows, length)
    tokens = jax.random.randint(jax.random.key(seed), shape, 0, model.config.vocab_size, jnp.int32)
    positions = random_positions(shape, model.config.rope.axes)
    lengths = jnp.full(shape[:2], length, jnp.int32)
    return Prompts(tokens, positions, lengths)  # pyright: ignore[reportArgumentType]


def random_adapters(preset: Preset, tasks: int, dtype: Any, seed: int) -> Any:
    """{"lora": stacked adapters} in the compute type, both factors random, so that they change every product."""
    one = jax.eval_shape(lambda: init_adapter(jax.random.key(0), preset.model, preset.lora))
    stacked = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((tasks, *leaf.shape), dtype), one)
    return {"lora": random_like(stacked, 0.01, seed)}
