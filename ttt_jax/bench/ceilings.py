"""What this device reaches at best: a large matmul, a large copy, and the products of given shapes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ttt_jax.bench.counts import CausalAttention, Matmul, Work, merged
from ttt_jax.bench.timing import Budget, Timing, measure
from ttt_jax.model.attention import causal_attention, kernel_name

# Operands and results of one call: far more than any cache holds, so that nothing is read from one.
_WORKING_SET = 1 << 30
# Calls sent before the first is waited for, so that the device never waits for the host.
_BURST = 8
_MOST_COPIES = 32
# A product with more elements than this in its result is timed in part: its rate is that of the whole.
_MOST_ELEMENTS = 1 << 30


@dataclass(frozen=True)
class Ceilings:
    """Of one device, measured on random data.

    Attributes:
      flops: a large matmul's operations a second.
      bandwidth: a large copy's bytes a second, read and written bytes both counted.
      matmul_size, copy_bytes: how large.
      spread: of the two timings, the larger.
    """

    flops: float
    bandwidth: float
    matmul_size: int
    copy_bytes: int
    spread: float

    def as_dict(self) -> dict[str, float]:
        return asdict(self)


def measure_ceilings(dtype: Any, calls: int = 5, rounds: int = 2) -> Ceilings:
    """The two ceilings of this device in a type; small sizes on a CPU."""
    accelerator = jax.default_backend() != "cpu"
    size, elements = (8192, 1 << 29) if accelerator else (512, 1 << 22)
    a, b = (_normal(seed, (size, size), dtype) for seed in (0, 1))
    product = jax.jit(jnp.matmul)
    matmul = _seconds(lambda: product(a, b), calls, rounds)
    x = jax.random.bits(jax.random.key(2), (elements,), jnp.uint32)
    duplicate = jax.jit(jnp.copy)
    copy = _seconds(lambda: duplicate(x), calls, rounds)
    moved = 2 * elements * 4
    return Ceilings(
        flops=2.0 * size**3 / matmul.seconds,
        bandwidth=moved / copy.seconds,
        matmul_size=size,
        copy_bytes=moved // 2,
        spread=max(matmul.spread, copy.spread),
    )


@dataclass(frozen=True)
class OwnShapes:
    """The time that a step's own products take, measured one shape at a time.

    Attributes:
      seconds: of all, those not measured scaled up from those that were.
      covered: share of the roofline's seconds that was measured.
      shapes: one row a shape, the slowest first.
    """

    seconds: float
    covered: float
    shapes: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_own_shapes(
    work: Work, ceilings: Ceilings, dtype: Any, budget: Budget, *, wanted: float = 0.98, calls: int = 3
) -> OwnShapes | None:
    """Times the products of `work`, those first that the roofline holds slowest, until `wanted` of it is covered.

    Returns:
      None where the budget ended before half was covered.
    """
    itemsize = jnp.dtype(dtype).itemsize

    def expected(part: Matmul | CausalAttention) -> float:
        return max(part.flops / ceilings.flops, part.bytes(itemsize) / ceilings.bandwidth)

    parts: list[Matmul | CausalAttention] = [*merged(work.matmuls), *([work.attention] if work.attention else [])]
    parts.sort(key=expected, reverse=True)
    total, covered, seconds, rows = sum(map(expected, parts)), 0.0, 0.0, []
    for part in parts:
        if covered >= wanted * total or not budget.allows("more of the model's own shapes", needs=3.0):
            break
        found = (
            time_attention(part, dtype, calls) if isinstance(part, CausalAttention) else time_matmul(part, dtype, calls)
        )
        seconds, covered = seconds + found, covered + expected(part)
        rows.append(
            {
                "name": f"attention ({kernel_name(dtype, part.head_dim)})"
                if isinstance(part, CausalAttention)
                else part.name,
                "shape": _shape(part),
                "seconds": found,
                "share_of_matmul_ceiling": part.flops / found / ceilings.flops,
                "share_of_bandwidth": part.bytes(itemsize) / found / ceilings.bandwidth,
            }
        )
    if covered < 0.5 * total:
        return None
    rows.sort(key=lambda row: -row["seconds"])
    return OwnShapes(seconds * total / covered, covered / total, rows)


def time_matmul(shape: Matmul, dtype: Any, calls: int = 3) -> float:
    """Seconds of all `count` products of a shape; several sets of operands, so that none stays in a cache."""
    tallest = max(256, _MOST_ELEMENTS // shape.columns)
    rows = shape.rows if shape.transposed else min(shape.rows, tallest)
    one = shape.bytes(jnp.dtype(dtype).itemsize) / shape.count * rows / shape.rows
    working_set = _WORKING_SET if jax.default_backend() != "cpu" else _WORKING_SET >> 6
    copies = min(_MOST_COPIES, max(1, math.ceil(working_set / one)))
    left = (shape.inner, rows) if shape.transposed else (rows, shape.inner)
    lead = (shape.batch,) if shape.batch > 1 else ()
    a = [_normal(2 * i, (*lead, *left), dtype) for i in range(copies)]
    b = [_normal(2 * i + 1, (*lead, shape.inner, shape.columns), dtype) for i in range(copies)]

    @jax.jit
    def products(a: Sequence[jax.Array], b: Sequence[jax.Array]) -> list[jax.Array]:
        return [jnp.matmul(x.swapaxes(-1, -2) if shape.transposed else x, y) for x, y in zip(a, b, strict=True)]

    return _seconds(lambda: products(a, b), calls).seconds / copies * shape.count * shape.rows / rows


def time_attention(shape: CausalAttention, dtype: Any, calls: int = 3) -> float:
    """Seconds of all layers' attention, forward and (where counted) backward, on the kernel that the model uses."""
    heads = [(shape.heads, 0), (shape.kv_heads, 1), (shape.kv_heads, 2)]
    q, k, v = (_normal(seed, (shape.batch, shape.length, n, shape.head_dim), dtype) for n, seed in heads)

    @jax.jit
    def attend(q: jax.Array, k: jax.Array, v: jax.Array):
        if not shape.backward:
            return causal_attention(q, k, v)
        out, pull = jax.vjp(causal_attention, q, k, v)
        return pull(out)

    return _seconds(lambda: attend(q, k, v), calls).seconds * shape.layers


def _seconds(call: Callable[[], Any], calls: int, rounds: int = 2) -> Timing:
    """Times `call`, a burst of which is under way at a time."""
    burst = 1 if jax.default_backend() == "cpu" else _BURST

    def many() -> Any:
        result = None
        for _ in range(burst):
            result = call()
        return result

    timing = measure(many, jax.block_until_ready, calls=calls, rounds=rounds, warmup=2)
    return Timing(tuple(r / burst for r in timing.rounds), timing.calls * burst)


def _shape(part: Matmul | CausalAttention) -> str:
    if isinstance(part, CausalAttention):
        return f"{part.layers} x [{part.batch}, {part.length}, {part.heads}/{part.kv_heads}, {part.head_dim}]"
    batch = f"{part.batch} x " if part.batch > 1 else ""
    return f"{part.count} x {batch}[{part.rows}, {part.inner}, {part.columns}]{'T' if part.transposed else ''}"


def _normal(seed: int, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return _draw(seed, shape, jnp.dtype(dtype))


def _draw_normal(seed: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape, dtype)


_draw = jax.jit(_draw_normal, static_argnums=(1, 2))
