"""Programs and weights as the benchmarks run them: random parameters, compiled programs and their memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from ttt_jax.model.config import ModelConfig
from ttt_jax.model.io import abstract_params


def random_params(config: ModelConfig, dtype: Any, seed: int = 0) -> Any:
    """Base parameters of a shape, random as at the start of training, made on the device in `dtype`."""
    draw = jax.jit(
        lambda key, shape, scale: (scale * jax.random.normal(key, shape, jnp.float32)).astype(dtype), static_argnums=1
    )

    def fill(path: Any, leaf: Any, key: jax.Array) -> jax.Array:
        name = path[-1].key
        if name == "scale":
            return jnp.ones(leaf.shape, dtype)
        return draw(key, leaf.shape, 0.02 if name == "embedding" else leaf.shape[0] ** -0.5)

    leaves, treedef = jax.tree_util.tree_flatten_with_path(abstract_params(config))
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    return jax.tree.unflatten(treedef, [fill(path, leaf, key) for (path, leaf), key in zip(leaves, keys, strict=True)])


def random_like(tree: Any, scale: float, seed: int = 0) -> Any:
    """A tree of normal numbers in the shapes and types of another (arrays or abstract arrays)."""
    draw = jax.jit(
        lambda key, shape, dtype: (scale * jax.random.normal(key, shape, jnp.float32)).astype(dtype),
        static_argnums=(1, 2),
    )
    leaves, treedef = jax.tree.flatten(tree)
    keys = jax.random.split(jax.random.key(seed), len(leaves))
    drawn = [draw(key, leaf.shape, jnp.dtype(leaf.dtype)) for leaf, key in zip(leaves, keys, strict=True)]
    return jax.tree.unflatten(treedef, drawn)


def random_positions(shape: tuple[int, ...], axes: int) -> jax.Array:
    """int32[*shape, axes]: the index in the sequence, and places on a 30-wide grid on the other axes."""
    index = jnp.broadcast_to(jnp.arange(shape[-1], dtype=jnp.int32), shape)
    grid = (index // 31 % 30 + 1, index % 31 + 1)
    return jnp.stack([index, *grid][:axes], axis=-1)


@dataclass(frozen=True)
class Compiled:
    """A compiled program.

    Attributes:
      call: runs it.
      seconds: tracing, lowering and compiling took.
      memory: bytes on the device while it runs, as the compiler plans them: arguments, outputs
        that are not donated arguments, temporaries, and their total.
      text: the optimised program.
    """

    call: Callable[..., Any]
    seconds: float
    memory: dict[str, int]
    text: Callable[[], str]


def compile_program(function: Any, *args: Any, **static: Any) -> Compiled:
    """Compiles a jitted function for these arguments; `static` are its static keyword arguments."""
    began = time.perf_counter()
    compiled = function.lower(*args, **static).compile()
    seconds = time.perf_counter() - began
    plan = compiled.memory_analysis()
    memory = {
        "arguments": int(plan.argument_size_in_bytes),
        "outputs": int(plan.output_size_in_bytes - plan.alias_size_in_bytes),
        "temporary": int(plan.temp_size_in_bytes),
    }
    return Compiled(compiled, seconds, {**memory, "total": sum(memory.values())}, compiled.as_text)


def memory_limit() -> int | None:
    """Bytes that this process may use on the device; None where the backend does not say."""
    return (jax.devices()[0].memory_stats() or {}).get("bytes_limit")


def peak_memory() -> int | None:
    """Most bytes that were in use on the device since the process began; None where the backend does not say."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")


def does_not_fit(memory: dict[str, int]) -> str | None:
    """Why a program cannot run here, or None."""
    limit = memory_limit()
    if limit is None or memory["total"] <= limit:
        return None
    return f"needs {memory['total'] / 2**30:.1f} GiB of {limit / 2**30:.1f}"


def out_of_memory(error: Exception) -> bool:
    return "RESOURCE_EXHAUSTED" in str(error) or "out of memory" in str(error).lower()
