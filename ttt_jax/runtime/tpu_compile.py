"""Compiles adaptation and decoding for a TPU topology on a machine that has none.

libtpu brings the compiler. What comes out is what the chips would run: its
memory, its floating point operations, its collectives. It says nothing of
speed; beside it stands the least time that the chips' data sheets allow. Needs
the libtpu that jax's `tpu` extra names, and before jax is imported
JAX_PLATFORMS=cpu, TPU_SKIP_MDS_QUERY=1 and TPU_WORKER_HOSTNAMES=localhost,
which keep libtpu from looking for chips and for a cloud machine's metadata, and
ALLOW_MULTIPLE_LIBTPU_LOAD=1, with which several processes may compile at a time.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import Mesh

from ttt_jax.adapt.adapt import Adapter
from ttt_jax.bench import counts
from ttt_jax.config import RunConfig
from ttt_jax.decode.generate import Prompts, Rules, decode_chunk, prefill
from ttt_jax.decode.sampling import Sampling
from ttt_jax.decode.shared import read_prefix, read_suffixes, views_and_rows
from ttt_jax.decode.syntax import Syntax, TextSyntax
from ttt_jax.model.attention import kernel_name
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import abstract_params
from ttt_jax.model.quantize import quantize
from ttt_jax.runtime import hlo
from ttt_jax.runtime.mesh import check_model, make_mesh, shardings, task_shards, use


@dataclass(frozen=True)
class Chip:
    """One chip: GiB of memory, bfloat16 operations a second, bytes a second of the memory and, one way, of the links.

    Source: the "System architecture" tables of docs.cloud.google.com/tpu/docs.
    """

    memory: int
    flops: float
    memory_speed: float
    link_speed: float


CHIPS = {
    "v4": Chip(32, 275e12, 1228e9, 300e9),
    "v5e": Chip(16, 197e12, 819e9, 200e9),
    "v5p": Chip(95, 459e12, 2765e9, 600e9),
    "v6e": Chip(32, 918e12, 1638e9, 400e9),
}
"""By the name before the colon of a topology."""


class Writing(Protocol):
    """What compiling asks of a `Domain`."""

    @property
    def position_axes(self) -> int: ...

    @property
    def pad_token(self) -> int: ...

    @property
    def max_answer_tokens(self) -> int: ...

    @property
    def stop_tokens(self) -> tuple[int, ...]: ...

    @property
    def syntax(self) -> Syntax: ...

    @property
    def shared_prefix(self) -> bool: ...


@dataclass(frozen=True)
class PlainText:
    """Stands for a text domain where a model's shape is known and its tokenizer is not."""

    position_axes: int = 1
    pad_token: int = 0
    stop_tokens: tuple[int, ...] = (1,)
    max_answer_tokens: int = 128
    syntax: Syntax = field(default_factory=TextSyntax)
    shared_prefix: bool = False


@dataclass(frozen=True)
class Program:
    """One compiled program, as one chip sees it.

    Attributes:
      name: what it does.
      tasks: side by side, over all chips.
      chips: of the topology.
      bytes: {"arguments", "outputs", "aliased", "temporary", "total"}; what is
        donated counts once in the total. Of adaptation also "state", the adapters and
        their optimizer states: part of the arguments, and in a run beside decoding.
      flops: of one call as the compiler counts; a loop's body counts once, so of
        one step or one token, and a kernel of Pallas as it says of itself.
      collectives: `operation type[shape]` -> how many the program holds.
      traffic: kind of collective -> {"count", "bytes"} of one step or token.
      cache: what its loop does with whole cache arrays; None where it has no such loop.
      padding: {"arguments": {"bytes", "padded"}, "cache": ..., "cache in the loop": ...}:
        what the tiles of the layouts add to the arguments, to the key-value cache
        among them, and to the same where the decoding loop writes it.
      floor: seconds that a step or a token takes at least at the speeds of the
        data sheet: {"products", "state", "links", "seconds"}; see `floor_of`.
    """

    name: str
    tasks: int
    chips: int
    bytes: dict[str, int]
    flops: float
    collectives: dict[str, int]
    traffic: dict[str, dict[str, int]]
    cache: hlo.LoopArrays | None
    padding: dict[str, dict[str, int]]
    floor: dict[str, float]


@dataclass(frozen=True)
class Queries:
    """Of one task whose queries share their demonstrations: how many, and the tokens of each after these."""

    count: int
    length: int


class DoesNotFit(ValueError):
    """The compiler found that a program needs more memory than a chip has."""


def compile_programs(
    model: Decoder,
    domain: Writing,
    config: RunConfig,
    topology: str,
    length: int,
    on_program: Callable[[Program], None] = lambda program: None,
    only: tuple[str, ...] = ("adapt", "prefill", "decode"),
    queries: Queries | None = None,
) -> list[Program]:
    """Compiles one adaptation chunk, the reading of prompts and one decoding chunk.

    Where queries share their demonstrations (`shared_prefix`), these are read by a
    program of their own, the queries after them by another.

    `config.mesh` lays the chips out as in a run; `adapt.slots` (queries:
    `decode.slots`) count for each chip, or each group of `mesh.tensor` chips.

    Args:
      model: the decoder, its dtype the compute type.
      domain: of the tasks.
      config: batch sizes, steps, adapters, views, mesh.
      topology: such as `v5e:2x2`.
      length: tokens of a training sequence and of a prompt, or of what prompts have in common.
      on_program: told each program when it is compiled.
      only: which of the three, by name.
      queries: of a task; needed for a domain whose queries share their demonstrations.

    Raises:
      DoesNotFit: a program needs more memory than a chip has.
      ValueError: the mesh does not fit the topology, or the model the mesh.
      jax.errors.JaxRuntimeError: it does not compile.
    """
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    mesh, chip = make_mesh(config.mesh, devices), chip_of(topology)
    check_model(mesh, model.config)
    base = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, model.dtype), abstract_params(model.config))
    if config.quantize:
        base = jax.eval_shape(partial(quantize, method=config.quantize), base)
    programs = []
    base = _placed(base, mesh, stacked=False)
    makers: list[tuple[str, Any]] = [("adapt", _adaptation), ("prefill", _prefill), ("decode", _decoding)]
    if domain.shared_prefix:
        if queries is None:
            raise ValueError("queries: their number and length are needed where they share their demonstrations")
        shared = [("prefill", _shared_prefix), ("prefill", _shared_suffixes), ("decode", _shared_decoding)]
        makers[1:] = [(name, partial(maker, queries=queries)) for name, maker in shared]
    for name, compile_one in makers:
        if name in only:
            programs.append(compile_one(model, base, domain, config, mesh, length, chip))
            on_program(programs[-1])
    return programs


def kernel_for(topology: str, model: Decoder, config: RunConfig) -> str:
    """The attention kernel that the programs of a topology run on."""
    devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    with use(make_mesh(config.mesh, devices)):
        return kernel_name(model.dtype, model.config.head_dim)


def chip_of(topology: str) -> Chip:
    """Raises ValueError for a generation that is not in `CHIPS`."""
    name = topology.partition(":")[0]
    if name not in CHIPS:
        raise ValueError(f"topology: {topology!r} is of none of {', '.join(CHIPS)} (v5e:4x4, v5p:2x2x2 ...)")
    return CHIPS[name]


def describe(program: Program, topology: str) -> str:
    """A few lines: memory of one chip, operations, collectives, copies of the cache, the least time."""
    chip = chip_of(topology)
    total, temporary = (program.bytes[part] / 2**30 for part in ("total", "temporary"))
    lines = [
        f"{program.name}: {program.tasks} tasks on {topology}",
        f"  memory a chip  {total:.2f} GiB of {chip.memory}, {temporary:.2f} of it temporary",
        f"  a step, a chip {program.flops / 1e9:.1f} GFLOP",
        f"  collectives    {_traffic(program.traffic) or 'none'}",
    ]
    for what, size in program.padding.items():
        added = size["padded"] / max(1, size["bytes"]) - 1
        lines.append(f"  layouts add    {added:.1%} to {size['bytes'] / 2**30:.2f} GiB of {what}")
    if program.cache is not None:
        written, copied = map(len, program.cache)
        lines.append(f"  cache          {written} arrays written in place for a token, {copied or 'none'} copied")
    products, state, links = (1e3 * program.floor[part] for part in ("products", "state", "links"))
    lines.append(
        f"  at least       {1e3 * program.floor['seconds']:.2f} ms a step: "
        f"products {products:.2f} + state {state:.2f}, links {links:.2f}"
    )
    return "\n".join(lines)


def _traffic(traffic: dict[str, dict[str, int]]) -> str:
    return ", ".join(f"{t['count']} x {kind} {t['bytes'] / 2**20:.2f} MiB" for kind, t in traffic.items())


def floor_of(work: counts.Work, share: float, chip: Chip, traffic: dict[str, dict[str, int]]) -> dict[str, float]:
    """The least seconds of some work on a chip: no program of any kind takes less at the data sheet's speeds.

    Args:
      work: of one step or token (bench/counts.py), useful operations only.
      share: of it that one chip does.
      chip: its speeds.
      traffic: collectives of one step; those inside inner loops count once.

    Returns:
      products: each matrix product at the slower of its two ceilings; state:
      what is read and written beside, once; links: the collectives, which may
      run while the chip computes, so seconds = max(products + state, links).
    """
    products = share * replace(work, state_bytes=0.0).roofline(chip.flops, chip.memory_speed)
    state = share * work.state_bytes / chip.memory_speed
    links = sum(t["bytes"] for t in traffic.values()) / chip.link_speed
    return {"products": products, "state": state, "links": links, "seconds": max(products + state, links)}


def _adaptation(model, base, domain: Writing, config: RunConfig, mesh: Mesh, length: int, chip: Chip) -> Program:
    adapt, tasks = config.adapt, int(config.adapt.slots) * task_shards(mesh)
    adapter = Adapter(model, base, adapt, config.seed, domain.pad_token)
    state = adapter.shapes(tasks)
    shape = (tasks, adapt.chunk, adapt.batch_size, length)
    batch = {
        "tokens": jax.ShapeDtypeStruct(shape, jnp.int32),
        "positions": jax.ShapeDtypeStruct((*shape, domain.position_axes), jnp.int32),
        "weights": jax.ShapeDtypeStruct(shape, jnp.float32),
    }
    chunk: Any = adapter.chunk
    with use(mesh):
        lowered = chunk.lower(_placed(state, mesh), adapter.frozen, _placed(batch, mesh))
    trained = 2.0 * counts.tree_bytes(state.train)
    work = counts.adaptation(model.config, adapt.lora, tasks, adapt.batch_size, length, state_bytes=trained)
    name = f"adapt, {adapt.chunk} steps of {adapt.batch_size} x {length}"
    program = _describe(name, tasks, lowered, work, mesh, chip)
    placed = jax.tree.leaves(_placed(state.train, mesh))
    held = sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in placed)
    return replace(program, bytes={**program.bytes, "state": held})


def _decode_inputs(model, base, domain: Writing, config: RunConfig, mesh: Mesh, length: int):
    decode, tasks = config.decode, int(config.decode.slots) * task_shards(mesh)
    rows = decode.views * decode.samples
    longest = decode.max_new_tokens or domain.max_answer_tokens
    rules = Rules(
        domain.syntax, domain.stop_tokens, domain.pad_token, Sampling(decode.temperature, decode.top_p), decode.grammar
    )
    adapter = Adapter(model, base, config.adapt, config.seed, domain.pad_token)
    state = adapter.shapes(tasks)
    adapters = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, model.dtype), state.train.trainable)
    shapes = [(tasks, rows, length), (tasks, rows, length, domain.position_axes), (tasks, rows)]
    prompts = Prompts(*(jax.ShapeDtypeStruct(shape, jnp.int32) for shape in shapes))  # pyright: ignore[reportArgumentType]
    keys = jax.ShapeDtypeStruct((tasks, rows, 2), jnp.uint32)
    inputs = (base, *(_placed(tree, mesh) for tree in (adapters, prompts, keys)))
    options = {"rules": rules, "slots": length + min(decode.chunk, longest - 1), "longest": longest}
    return adapter.model, inputs, options, tasks, rows


def _prefill(model, base, domain: Writing, config: RunConfig, mesh: Mesh, length: int, chip: Chip) -> Program:
    model, inputs, options, tasks, rows = _decode_inputs(model, base, domain, config, mesh, length)
    with use(mesh):
        lowered = prefill.lower(model, *inputs, **options)
    work = _reading(model, config, tasks, rows, length)
    return _describe(f"prefill, {rows} x {length}", tasks, lowered, work, mesh, chip)


def _decoding(model, base, domain: Writing, config: RunConfig, mesh: Mesh, length: int, chip: Chip) -> Program:
    model, inputs, options, tasks, rows = _decode_inputs(model, base, domain, config, mesh, length)
    state = _placed(jax.eval_shape(partial(prefill, model, **options), *inputs), mesh)
    with use(mesh):
        lowered = decode_chunk.lower(model, *inputs[:2], state, rules=options["rules"])
    c, slots = model.config, options["slots"]
    work = counts.decoding(c, config.adapt.lora, tasks, rows)
    # The cache as it stands when half of the room for an answer is used.
    cached = counts.decoding_bytes(c, None, tasks, rows, (length + slots) / 2).cache
    cache = (int(config.decode.slots), rows, c.num_kv_heads // mesh.shape["tensor"], slots, c.head_dim)
    name = f"decode, {rows} rows, cache of {slots}"
    return _describe(name, tasks, lowered, replace(work, state_bytes=cached), mesh, chip, cache)


def _shared_inputs(model, base, domain: Writing, config: RunConfig, mesh: Mesh, length: int, queries: Queries):
    """What `decode_shared` would hand its programs: abstract arguments of each, and how many views and rows."""
    decode, shards = config.decode, task_shards(mesh)
    tasks, rows = views_and_rows(queries.count, int(decode.slots) * shards * decode.views, shards)
    one_view = replace(config, decode=replace(decode, slots=tasks // shards, views=rows))
    model, (base, adapters, prompts, keys), options, tasks, rows = _decode_inputs(
        model, base, domain, one_view, mesh, queries.length
    )
    heads = [(1, tasks, length), (1, tasks, length, domain.position_axes), (1, tasks)]
    heads = _placed(Prompts(*(jax.ShapeDtypeStruct(shape, jnp.int32) for shape in heads)), mesh)  # pyright: ignore[reportArgumentType]
    reading = (base, adapters, heads)
    prefix = _placed(jax.eval_shape(partial(read_prefix, model), *reading), mesh)
    return model, reading, (base, adapters, prefix, prompts, keys), options, tasks, rows


def _shared_prefix(model, base, domain, config, mesh: Mesh, length: int, chip: Chip, queries: Queries) -> Program:
    model, reading, _, _, tasks, _ = _shared_inputs(model, base, domain, config, mesh, length, queries)
    with use(mesh):
        lowered = read_prefix.lower(model, *reading)
    work = _reading(model, config, tasks, 1, length)
    return _describe(f"prefill, {length} common tokens", tasks, lowered, work, mesh, chip)


def _shared_suffixes(model, base, domain, config, mesh: Mesh, length: int, chip: Chip, queries: Queries) -> Program:
    model, _, inputs, options, tasks, rows = _shared_inputs(model, base, domain, config, mesh, length, queries)
    with use(mesh):
        lowered = read_suffixes.lower(model, *inputs, **options)
    work = _reading(model, config, tasks, rows, queries.length)
    name = f"prefill, {rows} x {queries.length} after {length} common tokens"
    return _describe(name, tasks, lowered, work, mesh, chip)


def _shared_decoding(model, base, domain, config, mesh: Mesh, length: int, chip: Chip, queries: Queries) -> Program:
    model, _, inputs, options, tasks, rows = _shared_inputs(model, base, domain, config, mesh, length, queries)
    state = _placed(jax.eval_shape(partial(read_suffixes, model, **options), *inputs), mesh)
    with use(mesh):
        lowered = decode_chunk.lower(model, *inputs[:2], state, rules=options["rules"])
    c, slots = model.config, options["slots"]
    cached = counts.decoding_bytes(c, None, tasks, rows, (queries.length + slots) / 2).cache
    cached += counts.decoding_bytes(c, None, tasks, 1, length).cache
    work = replace(counts.decoding(c, config.adapt.lora, tasks, rows), state_bytes=cached)
    cache = (tasks // task_shards(mesh), rows, c.num_kv_heads // mesh.shape["tensor"], slots, c.head_dim)
    name = f"decode, {rows} rows, caches of {slots} after {length} common tokens"
    return _describe(name, tasks, lowered, work, mesh, chip, cache)


def _reading(model: Decoder, config: RunConfig, tasks: int, rows: int, length: int) -> counts.Work:
    """Reading `rows` sequences of each task. The head sees the last position of each only: left out, as is attention
    to what precedes them."""
    c = model.config
    read = counts.decoding(c, config.adapt.lora, tasks, rows * length)
    products = tuple(m for m in read.matmuls if not m.name.startswith("head"))
    attention = counts.CausalAttention(
        tasks * rows, length, c.num_heads, c.num_kv_heads, c.head_dim, c.num_layers, backward=False
    )
    return counts.Work(products, attention, 0.0, read.tokens)


def _placed(tree: Any, mesh: Mesh, stacked: bool = True) -> Any:
    """Abstract arrays with their places on the mesh."""
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        tree,
        shardings(tree, mesh, stacked),
    )


def _describe(
    name: str,
    tasks: int,
    lowered: Any,
    work: counts.Work,
    mesh: Mesh,
    chip: Chip,
    cache: tuple[int, ...] | None = None,
) -> Program:
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        sizes = re.findall(r"\d+(?:\.\d+)?[KMGT]\b", str(error))  # what it needs, then what there is
        raise DoesNotFit(f"{name}: needs {sizes[0]} of {sizes[1]}" if len(sizes) > 1 else f"{name}: {error}") from None
    memory = compiled.memory_analysis()
    sizes = {
        "arguments": memory.argument_size_in_bytes,
        "outputs": memory.output_size_in_bytes,
        "aliased": memory.alias_size_in_bytes,
        "temporary": memory.temp_size_in_bytes,
    }
    sizes["total"] = sizes["arguments"] + sizes["outputs"] - sizes["aliased"] + sizes["temporary"]
    if sizes["total"] > chip.memory * 2**30:
        raise DoesNotFit(f"{name}: needs {sizes['total'] / 2**30:.2f} GiB of {chip.memory}")
    text = compiled.as_text()
    given, loop = {"arguments": hlo.arguments(text)}, None
    if cache is not None:
        given["cache"] = [array for array in given["arguments"] if array.shape == cache]
        # In the loop it may lie otherwise: then it is there twice.
        loop = hlo.loop_arrays(text, math.prod(cache))
        results = (hlo.arrays(instruction.partition(" = ")[2]) for instruction in loop.written)
        given["cache in the loop"] = [array for found in results for array in found if array.shape == cache]
    traffic = hlo.collective_traffic(text)
    return Program(
        name=name,
        tasks=tasks,
        chips=mesh.size,
        bytes=sizes,
        flops=float(compiled.cost_analysis().get("flops", 0.0)),
        collectives=hlo.collectives(text),
        traffic=traffic,
        cache=loop,
        padding={
            what: {"bytes": sum(a.bytes for a in arrays), "padded": sum(a.padded for a in arrays)}
            for what, arrays in given.items()
        },
        floor=floor_of(work, 1 / mesh.size, chip, traffic),
    )
