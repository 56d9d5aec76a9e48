"""Scoring given answers after prompts that are read already, with the fused kernel and with plain XLA, in one run."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttt_jax.bench import counts
from ttt_jax.bench.ceilings import Ceilings
from ttt_jax.bench.decode import random_adapters
from ttt_jax.bench.device import compile_program, does_not_fit, out_of_memory, random_params, random_positions
from ttt_jax.bench.options import PRESETS, BenchConfig
from ttt_jax.bench.report import Report, amount, percent, say
from ttt_jax.bench.timing import Budget, measure
from ttt_jax.decode.lots import LOT_ROWS, LOTS, Tails, score_rooms
from ttt_jax.decode.params import cast
from ttt_jax.decode.score import score_tails
from ttt_jax.model.attention import Kernels, fuses
from ttt_jax.model.cache import Prefix
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.decoder import Decoder


@dataclasses.dataclass(frozen=True)
class ScoreBenchConfig(BenchConfig):
    """Scoring of the answers of many queries under one view each, adapters apart, against the matmul ceiling."""

    tasks: int = LOTS
    answers: int = LOT_ROWS
    contexts: tuple[int, ...] | None = None
    """Tokens of a prompt; None takes the preset's."""
    answer_tokens: tuple[int, ...] = (200, 900)
    """Tokens of every answer."""


def bench_score(config: ScoreBenchConfig, ceilings: Ceilings, dtype: Any, budget: Budget, report: Report) -> None:
    """Every preset at every context and length of answers."""
    for name in config.presets:
        preset, base, adapted = PRESETS[name], None, None
        for context in config.contexts or preset.contexts:
            for tokens in config.answer_tokens:
                what = f"{name}, {config.tasks} queries x {config.answers} answers of {tokens} after {context}"
                if not budget.allows(what, needs=30.0):
                    continue
                if base is None or adapted is None:
                    base = cast(random_params(preset.model, dtype, config.seed), dtype)
                    adapted = random_adapters(preset, config.tasks, dtype, config.seed)
                model = Decoder(preset.model, lora_scale=preset.lora.scale, dtype=dtype)
                case = bench_case(what, config, model, base, adapted, context, tokens, ceilings, budget)
                report.case({"preset": name, **case})


def bench_case(
    what: str,
    config: ScoreBenchConfig,
    model: Decoder,
    base: Any,
    adapted: Any,
    context: int,
    tokens: int,
    ceilings: Ceilings,
    budget: Budget,
) -> dict[str, Any]:
    """One context and length of answers: `score_tails` with either kind of attention, and how far they agree."""
    say(f"\nscore: {what}")
    useful = flops(model.config, config.tasks * config.answers * tokens, context + (tokens + 1) / 2)
    case: dict[str, Any] = {
        "name": what, "tasks": config.tasks, "answers": config.answers, "context": context, "answer_tokens": tokens,
        "flops": useful, "flops_seconds": useful / ceilings.flops, "kernels": {},
    }  # fmt: skip
    prefix = random_prefix(model, config.tasks, context, config.seed)
    tails = random_tails(model, config.tasks, config.answers, tokens, config.seed)
    longest = np.full(config.answers, tokens, np.int32)
    scores: dict[str, np.ndarray] = {}
    for kernels in _kinds(model):
        try:
            own = model.clone(kernels=kernels)
            scoring = compile_program(score_tails, own, base, adapted, prefix, tails, longest)
            if reason := does_not_fit(scoring.memory):
                say(f"  {kernels}: does not fit: {reason}")
                continue
            timing = measure(
                lambda call=scoring.call: call(base, adapted, prefix, tails, longest), jax.block_until_ready,
                calls=config.calls, rounds=config.rounds, deadline=budget.deadline,
            )  # fmt: skip
            scores[kernels] = np.asarray(scoring.call(base, adapted, prefix, tails, longest))
        except jax.errors.JaxRuntimeError as error:
            if not out_of_memory(error):
                raise
            say(f"  {kernels}: does not fit: {str(error).splitlines()[0][:200]}")
            continue
        found = {
            **timing.per(1), "compile_seconds": scoring.seconds, "memory": scoring.memory,
            "share_of_matmul_ceiling": case["flops_seconds"] / timing.seconds,
        }  # fmt: skip
        case["kernels"][kernels] = found
        say(
            f"  {kernels}: {timing.seconds * 1e3:.1f} ms (spread {percent(found['spread'])}), "
            f"{percent(found['share_of_matmul_ceiling'])} of the matmul ceiling, "
            f"{amount(config.tasks * config.answers * tokens / timing.seconds)} tokens/s, "
            f"compiled in {scoring.seconds:.1f} s"
        )
    if len(scores) == 2:
        case["largest_difference"] = float(np.abs(scores["auto"] - scores["library"]).max())
        case["largest_score"] = float(np.abs(scores["library"]).max())
        faster = case["kernels"]["library"]["seconds"] / case["kernels"]["auto"]["seconds"]
        say(f"  {faster:.2f} times as fast; scores differ by {case['largest_difference']:.3g} nats at most")
    return case


def _kinds(model: Decoder) -> tuple[Kernels, ...]:
    return ("auto", "library") if fuses(model.dtype, model.config.head_dim) else ("library",)


def flops(config: ModelConfig, tokens: int, slots: float) -> float:
    """Of `tokens` tokens forward, the head included, each of which attends to `slots` slots. Adapters are left out."""
    shapes = (*counts.layer_shapes(config).values(),)
    products = config.num_layers * sum(i * o for i, o in shapes) + config.hidden_size * config.vocab_size
    attention = config.num_layers * 2 * config.num_heads * config.head_dim * slots
    return 2.0 * tokens * (products + attention)


def random_prefix(model: Decoder, tasks: int, length: int, seed: int) -> Prefix:
    """Keys and values of prompts that fill their whole length."""
    c = model.config
    shape = (tasks, c.num_kv_heads, length, c.head_dim)
    keys = jax.random.split(jax.random.key(seed), 2 * c.num_layers)
    layers = [jax.random.normal(key, shape, model.dtype) for key in keys]
    lengths: Any = jnp.full((tasks,), length, jnp.int32)
    return Prefix(tuple(layers[::2]), tuple(layers[1::2]), lengths)


def random_tails(model: Decoder, tasks: int, answers: int, tokens: int, seed: int) -> Tails:
    """Answers of one length, in the room that a run would give them."""
    room = min(room for room in score_rooms(tokens) if room >= tokens)
    shape = (tasks, answers, room)
    drawn = jax.random.randint(jax.random.key(seed), (2, *shape), 0, model.config.vocab_size, jnp.int32)
    positions = random_positions(shape, model.config.rope.axes)
    lengths = jnp.full(shape[:2], tokens, jnp.int32)
    return Tails(drawn[0], positions, drawn[1], lengths)  # pyright: ignore[reportArgumentType]
