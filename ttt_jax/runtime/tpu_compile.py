"""Compiles adaptation and decoding for a TPU topology on a machine that has none.

libtpu brings the compiler. What comes out is what the chips would run: its
memory, its floating point operations, its collectives. It says nothing of
speed. Needs the libtpu that jax's `tpu` extra names, and before jax is
imported JAX_PLATFORMS=cpu, TPU_SKIP_MDS_QUERY=1 and TPU_WORKER_HOSTNAMES=localhost,
which keep libtpu from looking for chips and for a cloud machine's metadata, and
ALLOW_MULTIPLE_LIBTPU_LOAD=1, with which several processes may compile at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ttt_jax.adapt.adapt import Adapter
from ttt_jax.config import RunConfig
from ttt_jax.decode.generate import Prompts, Rules, decode_chunk, prefill
from ttt_jax.decode.sampling import Sampling
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import abstract_params
from ttt_jax.runtime import hlo
from ttt_jax.tasks.task import Domain

HBM_GIB = {"v4": 32, "v5e": 16, "v5p": 95, "v6e": 32}
"""Memory of one chip by the name before the colon of a topology."""


@dataclass(frozen=True)
class Program:
    """One compiled program, as one chip sees it.

    Attributes:
      name: what it does.
      tasks: side by side, over all chips.
      bytes: {"arguments", "outputs", "aliased", "temporary", "total"}; what is
        donated counts once in the total.
      flops: of one call; a loop's body counts once, so of one step or one token.
      collectives: `operation type[shape]` -> how many the program holds.
      cache: what its loop does with whole cache arrays; None where it has no such loop.
    """

    name: str
    tasks: int
    bytes: dict[str, int]
    flops: float
    collectives: dict[str, int]
    cache: hlo.LoopArrays | None


def compile_programs(model: Decoder, domain: Domain, config: RunConfig, topology: str, length: int) -> list[Program]:
    """Compiles one adaptation chunk, the reading of prompts and one decoding chunk.

    Tasks are dealt out over all chips, `adapt.slots` (queries: `decode.slots`)
    to each; the base is replicated.

    Args:
      model: the decoder, its dtype the compute type.
      domain: of the tasks.
      config: batch sizes, steps, adapters, views.
      topology: such as `v5e:2x2`.
      length: tokens of a training sequence and of a prompt.

    Raises:
      jax.errors.JaxRuntimeError: it does not compile, or needs more memory than a chip has.
    """
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh = Mesh(np.array(devices), ("task",))
    base = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, model.dtype), abstract_params(model.config))
    base = _placed(base, mesh, per_task=False)
    return [
        _adaptation(model, base, domain, config, mesh, length),
        *_decoding(model, base, domain, config, mesh, length),
    ]


def describe(programs: list[Program], topology: str) -> str:
    """A few lines a program: memory of one chip, operations, collectives, copies of the cache."""
    limit = HBM_GIB.get(topology.partition(":")[0])
    lines = []
    for program in programs:
        total, temporary = (program.bytes[part] / 2**30 for part in ("total", "temporary"))
        lines += [
            f"{program.name}: {program.tasks} tasks on {topology}",
            f"  memory a chip  {total:.2f} GiB{f' of {limit}' if limit else ''}, {temporary:.2f} of it temporary",
            f"  a step, a chip {program.flops / 1e9:.1f} GFLOP",
            f"  collectives    {', '.join(f'{n} x {what}' for what, n in program.collectives.items()) or 'none'}",
        ]
        if program.cache is not None:
            written, copied = map(len, program.cache)
            lines.append(f"  cache          {written} arrays written in place for a token, {copied or 'none'} copied")
    return "\n".join(lines)


def _adaptation(model: Decoder, base: Any, domain: Domain, config: RunConfig, mesh: Mesh, length: int) -> Program:
    adapt, tasks = config.adapt, config.adapt.slots * mesh.size
    adapter = Adapter(model, base, adapt, config.seed, domain.pad_token)
    seeds, steps = np.zeros(tasks, np.uint32), np.zeros(tasks, np.int32)
    state = jax.eval_shape(adapter.start, base, seeds, steps)
    shape = (tasks, adapt.chunk, adapt.batch_size, length)
    batch = {
        "tokens": jax.ShapeDtypeStruct(shape, jnp.int32),
        "positions": jax.ShapeDtypeStruct((*shape, domain.position_axes), jnp.int32),
        "weights": jax.ShapeDtypeStruct(shape, jnp.float32),
    }
    chunk: Any = adapter.chunk
    lowered = chunk.lower(_placed(state, mesh), adapter.frozen, _placed(batch, mesh))
    return _describe(f"adapt, {adapt.chunk} steps of {adapt.batch_size} x {length}", tasks, lowered.compile())


def _decoding(model: Decoder, base: Any, domain: Domain, config: RunConfig, mesh: Mesh, length: int) -> list[Program]:
    decode, tasks, rows = config.decode, config.decode.slots * mesh.size, config.decode.views * config.decode.samples
    longest = decode.max_new_tokens or domain.max_answer_tokens
    slots = length + min(decode.chunk, longest - 1)
    sampling = Sampling(decode.temperature, decode.top_p)
    rules = Rules(domain.syntax, domain.stop_token, domain.pad_token, sampling, decode.grammar)
    adapter = Adapter(model, base, config.adapt, config.seed, domain.pad_token)
    state = jax.eval_shape(adapter.start, base, np.zeros(tasks, np.uint32), np.zeros(tasks, np.int32))
    adapters = _placed(
        jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, model.dtype), state.train.trainable), mesh
    )
    shapes = [(tasks, rows, length), (tasks, rows, length, domain.position_axes), (tasks, rows)]
    prompts = Prompts(*(jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes))  # pyright: ignore[reportArgumentType]
    inputs = (
        base, adapters, _placed(prompts, mesh),
        _placed(jax.ShapeDtypeStruct((tasks, rows, 2), jnp.uint32), mesh),
    )  # fmt: skip
    options = {"rules": rules, "slots": slots, "longest": longest}
    model = adapter.model
    reading = prefill.lower(model, *inputs, **options).compile()
    state = jax.eval_shape(partial(prefill, model, **options), *inputs)
    writing = decode_chunk.lower(model, base, adapters, _placed(state, mesh), rules=rules).compile()
    c = model.config
    cache = (config.decode.slots, rows, c.num_kv_heads, slots, c.head_dim)
    return [
        _describe(f"prefill, {rows} x {length}", tasks, reading),
        _describe(f"decode, {rows} rows, cache of {slots}", tasks, writing, int(np.prod(cache))),
    ]


def _placed(tree: Any, mesh: Mesh, per_task: bool = True) -> Any:
    """Abstract arrays with their places: leading axis over the chips, scalars and what is shared on all of them."""

    def place(leaf: Any) -> jax.ShapeDtypeStruct:
        spec = PartitionSpec("task") if per_task and leaf.ndim else PartitionSpec()
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    return jax.tree.map(place, tree)


def _describe(name: str, tasks: int, compiled: Any, cache_size: int | None = None) -> Program:
    memory = compiled.memory_analysis()
    sizes = {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
    }
    sizes["total"] = sizes["arguments"] + sizes["outputs"] - sizes["aliased"] + sizes["temporary"]
    text = compiled.as_text()
    return Program(
        name=name,
        tasks=tasks,
        bytes=sizes,
        flops=float(compiled.cost_analysis().get("flops", 0.0)),
        collectives=hlo.collectives(text),
        cache=None if cache_size is None else hlo.loop_arrays(text, cache_size),
    )
