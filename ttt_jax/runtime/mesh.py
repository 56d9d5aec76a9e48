"""Where arrays lie on many devices: a mesh over ("task", "fsdp", "tensor") and, in one place, the rules.

Tasks are dealt out over `task` and `fsdp` together: a stack of adapters, optimizer
states, batches or caches is split by its leading axis. The base is split over
`fsdp` (each layer is gathered where it is used) and over `tensor` (each device
computes a share of heads, of the MLP and of the vocabulary). With fsdp and
tensor 1 the base is on every device, and no device ever waits for another.

A run makes its mesh the context with `use`; what happens inside (`constrain`,
`put`, the attention kernel) looks there. Without one, everything is on one device.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from ttt_jax.config import MeshConfig
from ttt_jax.model.config import ModelConfig

AXES = ("task", "fsdp", "tensor")
TASK_AXES = ("task", "fsdp")
"""Mesh axes that a stack of tasks (or the rows of a training batch) is split over."""

RULES: dict[str | None, tuple[str, ...]] = {
    "task": TASK_AXES,
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "mlp": ("tensor",),
    "vocab": ("tensor",),
    "rank": (),
    None: (),
}
"""Logical axis -> mesh axes. The first axis of an array that asks for a mesh axis has it: fsdp splits
a base kernel by `embed`, and a stack of adapters by `task` alone."""

KERNELS: dict[str, tuple[str, str]] = {
    "embedding": ("vocab", "embed"),
    "head": ("embed", "vocab"),
    "q": ("embed", "heads"),
    "k": ("embed", "heads"),
    "v": ("embed", "heads"),
    "o": ("heads", "embed"),
    "gate": ("embed", "mlp"),
    "up": ("embed", "mlp"),
    "down": ("mlp", "embed"),
}
"""Logical axes (inputs, outputs) of each kind of kernel, by the name of its layer."""


def local_mesh(config: MeshConfig) -> Mesh | None:
    """The mesh of this process's own devices; None where it has one device only."""
    mesh = make_mesh(config, jax.local_devices())
    return None if mesh.size == 1 else mesh


def make_mesh(config: MeshConfig, devices: Sequence[Any]) -> Mesh:
    """A mesh of some devices, laid out so that those of a `tensor` group, then of an `fsdp` group, are neighbours.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    sizes = [config.task, config.fsdp, config.tensor]
    fixed = math.prod(size for size in sizes if size != -1)
    if -1 in sizes:
        sizes[sizes.index(-1)] = len(devices) // fixed
    if math.prod(sizes) != len(devices):
        raise ValueError(
            f"mesh: task {config.task} x fsdp {config.fsdp} x tensor {config.tensor} does not make "
            f"{len(devices)} devices; set one of them to -1 to take what is left"
        )
    return jax.make_mesh(tuple(sizes), AXES, axis_types=(AxisType.Auto,) * len(AXES), devices=devices)


def check_model(mesh: Any, config: ModelConfig) -> None:
    """Raises ValueError where heads cannot be split over `mesh.tensor` devices."""
    tensor = mesh.shape.get("tensor", 1)
    if config.num_kv_heads % tensor:
        raise ValueError(f"mesh.tensor: {tensor} does not divide the model's {config.num_kv_heads} key-value heads")


def use(mesh: Mesh | None) -> contextlib.AbstractContextManager[Any]:
    """Makes a mesh the context of what is inside; None changes nothing."""
    return contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh)


def task_shards(mesh: Any) -> int:
    """How many devices hold different tasks: `slots` of a config count for each of them."""
    return 1 if mesh is None else math.prod(mesh.shape[axis] for axis in TASK_AXES)


def shards_here() -> int:
    """`task_shards` of the mesh around the call."""
    mesh = jax.sharding.get_mesh()
    return task_shards(None if mesh.empty else mesh)


def place() -> Any:
    """`place` of `load_model`: the sharding of each base parameter by its name and shape; None without a mesh."""
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return None
    return lambda name, shape: NamedSharding(mesh, base_spec(name.split("."), shape, mesh))


def constrain(tree: Any, stacked: bool = True) -> Any:
    """Inside jit: places the arrays of a tree by the rules, those of a stack of tasks or of the base.

    Without a mesh around it, or for leaves without axes, it does nothing.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty:
        return tree

    def one(path: Any, leaf: Any) -> Any:
        if not leaf.ndim:
            return leaf
        return jax.lax.with_sharding_constraint(leaf, _spec(path, leaf.shape, mesh, stacked))

    return jax.tree_util.tree_map_with_path(one, tree)


def rows(x: jax.Array, batch_axes: tuple[str, ...] = ()) -> jax.Array:
    """Inside jit: activations [batch, ...] are split by row, over `batch_axes`, and by nothing else.

    Said once, where hidden states begin; without it they would follow the base's
    `fsdp` split, and be summed over devices in every layer in place of gathering
    its kernels. Mapped over tasks (`over_tasks`) they are split by task.
    """
    if jax.sharding.get_abstract_mesh().empty:
        return x
    return jax.lax.with_sharding_constraint(x, PartitionSpec(batch_axes or None, *[None] * (x.ndim - 1)))


def over_tasks(function: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """`vmap` over a leading axis of tasks: each device computes its own.

    What does not divide over the devices (one task on eight of them) is
    computed on each.
    """

    def mapped(*args: Any) -> Any:
        mesh = jax.sharding.get_abstract_mesh()
        axes = (in_axes,) * len(args) if isinstance(in_axes, int) else in_axes
        of_tasks = [leaf for arg, axis in zip(args, axes, strict=True) if axis == 0 for leaf in jax.tree.leaves(arg)]
        split = not mesh.empty and not of_tasks[0].shape[0] % task_shards(mesh)
        return jax.vmap(function, in_axes, out_axes, spmd_axis_name=TASK_AXES if split else None)(*args)

    return mapped


def tasks_here(tasks: int) -> int:
    """How many of `tasks` one device of the mesh around the call computes (all, where they do not divide)."""
    mesh = jax.sharding.get_abstract_mesh()
    return tasks if mesh.empty or tasks % task_shards(mesh) else tasks // task_shards(mesh)


def alone() -> bool:
    """Outside jit: whether one device computes, so that arrays may be put together as comes."""
    return jax.sharding.get_mesh().empty


def put(tree: Any, stacked: bool = True) -> Any:
    """Outside jit: sends host arrays to the devices where the rules want them; without a mesh, to the only one."""
    return putter(stacked)(tree)


def putter(stacked: bool = True) -> Callable[[Any], Any]:
    """`put` with the mesh of this moment, for other threads: a mesh is the context of one thread only."""
    mesh = jax.sharding.get_mesh()
    return lambda tree: jax.device_put(tree, None if mesh.empty else shardings(tree, mesh, stacked))


def shardings(tree: Any, mesh: Mesh, stacked: bool = True) -> Any:
    """The sharding of each leaf (array or abstract array): of stacks over tasks, or of the base.

    Scalars are on every device.
    """
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: NamedSharding(mesh, _spec(path, leaf.shape, mesh, stacked)), tree
    )


def base_spec(path: Sequence[str], shape: Sequence[int], mesh: Any) -> PartitionSpec:
    """Of one array of the base; `path` holds the names above it, such as layers_0, attn, q, kernel."""
    return _resolve(_logical(path, len(shape)), shape, mesh)


def stack_spec(path: Sequence[str], shape: Sequence[int], mesh: Any) -> PartitionSpec:
    """Of a stack over tasks: adapters, their optimizer states, full copies of the base, batches, caches.

    The axes after the first are those of the array in the base where the path
    ends like one of its arrays; keys and values are split by head; anything
    else is split over tasks alone.
    """
    axes = ("task", *_logical(path, len(shape) - 1)) if shape else ()
    return _resolve(axes, shape, mesh)


def _spec(path: Any, shape: Sequence[int], mesh: Any, stacked: bool) -> PartitionSpec:
    names = [str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path]
    return (stack_spec if stacked else base_spec)(names, shape, mesh)


def _logical(path: Sequence[str], rank: int) -> tuple[str | None, ...]:
    """Logical axes of an array of the model's trees by its path and rank."""
    plain: tuple[str | None, ...] = (None,) * rank
    names = list(path)
    if {"keys", "values"} & set(names) and rank in (3, 4):
        # A layer of a cache: rows, heads, slots, head_dim; its prefix has no rows.
        return (*[None] * (rank - 3), "heads", None, None)
    while names and names[-1] in ("values", "scales", "codes"):  # inside a quantised kernel
        names.pop()
    if not names:
        return plain
    if names[-1] == "embedding":
        axes = KERNELS["embedding"]
    elif len(names) > 1 and names[-2] in KERNELS:
        axes = KERNELS[names[-2]]
    else:
        return plain
    inputs, outputs = axes
    if names[-1] in ("kernel", "embedding") and rank >= 2:
        return (inputs, *[None] * (rank - 2), outputs)
    if names[-1] == "a" and rank == 2:
        return (inputs, "rank")
    if names[-1] == "b" and rank == 2:
        return ("rank", outputs)
    if names[-1] == "bias" and rank == 1:
        return (outputs,)
    return plain


def _resolve(axes: Sequence[str | None], shape: Sequence[int], mesh: Any) -> PartitionSpec:
    """Mesh axes for logical ones: each is given once, and only where it divides the array's axis."""
    taken: set[str] = set()
    spec: list[Any] = []
    for axis, size in zip(axes, shape, strict=True):
        wanted = tuple(name for name in RULES[axis] if name not in taken and mesh.shape[name] > 1)
        if wanted and size % math.prod(mesh.shape[name] for name in wanted) == 0:
            taken.update(wanted)
            spec.append(wanted if len(wanted) > 1 else next(iter(wanted)))
        else:
            spec.append(None)
    return PartitionSpec(*spec)
