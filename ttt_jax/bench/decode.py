"""Decoding, measured: the jitted programs that `generate` runs, on random weights, adapters and prompts."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

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
from ttt_jax.decode.generate import Begun, DecodeState, Prompts, Rules, decode_chunk, prefill
from ttt_jax.decode.params import cast
from ttt_jax.decode.sampling import Sampling
from ttt_jax.decode.syntax import TextSyntax
from ttt_jax.model.attention import Kernels
from ttt_jax.model.cache import Spans
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
    ragged: tuple[bool, ...] = (False, True)
    """Whether prompts have between half of the context's tokens and all, and answers between one token and all."""
    kernels: tuple[Kernels, ...] = ("auto",)
    """Of attention: `auto`, `library` or `xla`, or several to time them side by side."""


def bench_decode(config: DecodeBenchConfig, ceilings: Ceilings, dtype: Any, budget: Budget, report: Report) -> None:
    """Every preset at every context."""
    for name in config.presets:
        preset, base, adapted = PRESETS[name], None, None
        contexts = config.contexts or preset.contexts
        for context, ragged, kernels in itertools.product(contexts, config.ragged, config.kernels):
            what = f"{name}, {config.tasks} tasks x {config.views} views, context {context}"
            what += (", ragged" if ragged else "") + ("" if kernels == "auto" else f", {kernels} kernels")
            if not budget.allows(what, needs=30.0):
                continue
            if base is None or adapted is None:
                base = cast(random_params(preset.model, dtype, config.seed), dtype)
                adapted = random_adapters(preset, config.tasks, dtype, config.seed)
            model = Decoder(preset.model, lora_scale=preset.lora.scale, dtype=dtype, kernels=kernels)
            case = bench_case(what, config, model, preset.lora, base, adapted, context, ragged, ceilings, budget)
            report.case({"preset": name, **case})


def bench_case(
    what: str,
    config: DecodeBenchConfig,
    model: Decoder,
    lora: LoraConfig,
    base: Any,
    adapted: Any,
    context: int,
    ragged: bool,
    ceilings: Ceilings,
    budget: Budget,
) -> dict[str, Any]:
    """One context: reading the prompts, then `new_tokens` tokens again and again over the same cache."""
    say(f"\ndecode: {what}, rank {lora.rank}")
    case: dict[str, Any] = {
        "name": what, "tasks": config.tasks, "views": config.views, "context": context,
        "new_tokens": config.new_tokens, "rank": lora.rank, "targets": lora.targets,
        "ragged": ragged, "kernels": model.kernels,
    }  # fmt: skip
    grid = model.config.rope.axes == 3
    rules = Rules(GridSyntax() if grid else TextSyntax(), NO_STOP, 0, Sampling(), grammar=grid)
    lengths, answers = rows_of(config, context, ragged)
    prompts = random_prompts(model, lengths, context, config.seed)
    begun = begun_with(answers)
    keys = np.zeros((config.tasks, config.views, 2), np.uint32)
    longest = config.new_tokens + 1  # the first comes from the prompt
    try:
        options = {"rules": rules, "slots": context + config.new_tokens, "longest": longest}
        reading = compile_program(prefill, model, base, adapted, prompts, keys, begun, **options)
        if reason := does_not_fit(reading.memory):
            say(f"  reading the prompts does not fit: {reason}")
            return case | {"does_not_fit": reason}
        # One call of reading at a time: its result is as large as the cache.
        read = measure(
            lambda: reading.call(base, adapted, prompts, keys, begun).logprobs, jax.block_until_ready,
            calls=1, rounds=config.rounds, deadline=budget.deadline,
        )  # fmt: skip
        held: dict[str, DecodeState] = {"state": reading.call(base, adapted, prompts, keys, begun)}
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

    seconds = timing.seconds / steps
    c = model.config
    itemsize = jnp.dtype(model.dtype).itemsize
    rows, valid = live_slots(lengths, answers, steps)
    floor_bytes = counts.decoding_bytes(c, lora, config.tasks, config.views, valid, itemsize)
    floor = floor_bytes.total / ceilings.bandwidth
    products = counts.decoding(c, lora, config.tasks, config.views)
    copied = hlo.loop_arrays(
        writing.text(), lengths.size * c.num_kv_heads * (context + config.new_tokens) * c.head_dim
    ).copied
    case |= {
        "step": timing.per(steps),
        "tokens_per_second": rows / seconds,
        "tokens_per_second_with_prompt": float(answers.sum()) / (read.seconds + timing.seconds),
        "prompt": read.per(1),
        "prompt_tokens_per_second": float(lengths.sum()) / read.seconds,
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


def rows_of(
    config: DecodeBenchConfig, context: int, ragged: bool
) -> tuple[Int[np.ndarray, "tasks rows"], Int[np.ndarray, "tasks rows"]]:
    """Tokens of each row's prompt and answer, its first token included."""
    shape, longest = (config.tasks, config.views), config.new_tokens + 1  # the first comes from the prompt
    if not ragged:
        return np.full(shape, context, np.int32), np.full(shape, longest, np.int32)
    rng = np.random.default_rng(config.seed)
    answers = np.linspace(1, longest, math.prod(shape)).astype(np.int32)
    return rng.integers(context // 2, context + 1, shape, np.int32), rng.permutation(answers).reshape(shape)


def begun_with(answers: Int[np.ndarray, "tasks rows"]) -> Any:
    """Answers of which nothing is written yet, and which end after so many tokens."""
    none = np.zeros(answers.shape, np.int32)
    nats = np.zeros(answers.shape, np.float32)
    return Begun(none, nats, np.full_like(nats, -np.inf), answers)


def live_slots(
    lengths: Int[np.ndarray, "tasks rows"], answers: Int[np.ndarray, "tasks rows"], steps: int
) -> tuple[float, float]:
    """Rows that a step computes for an answer, and slots that it has to read of each row there is, on average.

    A row's step reads what was there before it and the slot that it writes.
    """
    own = answers - 1.0
    return float(own.sum()) / steps, float((own * lengths + own * (own - 1) / 2).sum()) / steps / lengths.size


def rewound(state: DecodeState, context: int) -> DecodeState:
    """The state as it was right after the prompts: what was written since is written again over itself.

    Slots beyond the write index are never attended to, so that what they hold does not matter.
    """
    valid = state.cache.valid & jnp.broadcast_to(jnp.arange(state.cache.slots) < context, state.cache.valid.shape)
    cache = dataclasses.replace(
        state.cache,
        length=jnp.asarray(context, jnp.int32),
        valid=valid,
        spans=Spans(valid.sum(-1, dtype=jnp.int32), context),
    )
    return state.replace(cache=cache, count=jnp.asarray(1, jnp.int32), done=jnp.zeros_like(state.done))


def random_prompts(model: Decoder, lengths: Int[np.ndarray, "tasks rows"], context: int, seed: int) -> Prompts:
    """Prompts of these lengths, padded to `context` tokens; those of grids end where an output begins."""
    shape = (*lengths.shape, context)
    tokens = jax.random.randint(jax.random.key(seed), shape, 0, model.config.vocab_size, jnp.int32)
    positions = random_positions(shape, model.config.rope.axes)
    return Prompts(tokens, positions, jnp.asarray(lengths))  # pyright: ignore[reportArgumentType]


def random_adapters(preset: Preset, tasks: int, dtype: Any, seed: int) -> Any:
    """{"lora": stacked adapters} in the compute type, both factors random, so that they change every product."""
    one = jax.eval_shape(lambda: init_adapter(jax.random.key(0), preset.model, preset.lora))
    stacked = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((tasks, *leaf.shape), dtype), one)
    return {"lora": random_like(stacked, 0.01, seed)}
