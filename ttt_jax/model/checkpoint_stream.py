"""Tensors from files to devices, a slice at a time: the host never holds a checkpoint beside the parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open

from ttt_jax.model.errors import ModelError
from ttt_jax.model.quantize import Method, quantize_kernel, quantizes
from ttt_jax.model.tree import unflatten

Shapes = Mapping[str, tuple[int, ...]]
Index = tuple[slice, ...]
Place = Callable[[str, tuple[int, ...]], jax.sharding.Sharding]
"""The sharding of a parameter by its dotted name and shape."""

WEIGHTS, WEIGHTS_INDEX = "model.safetensors", "model.safetensors.index.json"
# Bytes of a file that are read at once.
CHUNK = 64 << 20
SCALES = "_scales"
"""What follows a kernel's name in the name of its scales, in an int8 file."""


class TensorSource(Protocol):
    """Named tensors in one or more files."""

    @property
    def shapes(self) -> Shapes: ...

    def read(self, name: str, index: Index) -> np.ndarray:
        """A part of a tensor, in its own type."""
        ...


class SafetensorsSource:
    """The tensors of `model.safetensors`, or of the shards that `model.safetensors.index.json` lists.

    Raises:
      ModelError: a file is missing, unreadable, or holds other tensors than the index says.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        index = self.path / WEIGHTS_INDEX
        if index.is_file():
            listed = _weight_map(index)
        elif (self.path / WEIGHTS).is_file():
            listed = None
        else:
            pickled = any(self.path.glob("pytorch_model*.bin"))
            hint = "; pickled weights are never read: save them as safetensors" if pickled else ""
            raise ModelError(f"{self.path}: there is neither {WEIGHTS} nor {WEIGHTS_INDEX}{hint}")
        names = [WEIGHTS] if listed is None else sorted(set(listed.values()))
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.files: dict[str, Path] = {}
        for name in names:
            file = self.path / name
            for tensor, shape in _header(file).items():
                if listed is not None and listed.get(tensor) != name:
                    raise ModelError(f"{index}: {tensor} is in {name}, the index says {listed.get(tensor)}")
                self.shapes[tensor], self.files[tensor] = shape, file
        if listed is not None and (absent := sorted(listed.keys() - self.shapes.keys())):
            raise ModelError(f"{index}: {', '.join(absent[:8])} not in the files that the index names")

    def read(self, name: str, index: Index) -> np.ndarray:
        # Opened for every slice: the file is mapped, and pages that were read count as this process's memory until
        # it is closed.
        with safe_open(self.files[name], framework="np") as file:
            return file.get_slice(name)[index]


class Int8Source:
    """Dequantises the kernels that have scales beside them (`io.save_model` with int8); other tensors pass through."""

    def __init__(self, source: SafetensorsSource):
        self.source = source
        scaled = {name for name in source.shapes if name + SCALES in source.shapes}
        self.scaled = {name for name in scaled if source.shapes[name + SCALES] == (1, *source.shapes[name][1:])}
        # Scales of another shape stay in the list, where they are refused by name.
        self.shapes = {
            n: s for n, s in source.shapes.items() if n.removesuffix(SCALES) not in self.scaled or n in scaled
        }

    def read(self, name: str, index: Index) -> np.ndarray:
        values = self.source.read(name, index)
        if name not in self.scaled:
            if values.dtype == np.int8:
                raise ModelError(f"{self.source.path}: {name} is int8, but {name + SCALES} is not there or misshapen")
            return values
        return values.astype(np.float32) * self.source.read(name + SCALES, (slice(0, 1), *index[1:]))


def _weight_map(index: Path) -> dict[str, str]:
    try:
        weight_map = json.loads(index.read_text())["weight_map"]
        inside = all(Path(name).name == name for name in weight_map.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{index}: no weight_map from tensors to files: {type(error).__name__}: {error}") from error
    if not inside:
        raise ModelError(f"{index}: weight_map names a file outside the directory")
    return weight_map


def _header(file: Path) -> dict[str, tuple[int, ...]]:
    try:
        with safe_open(file, framework="np") as opened:
            return {name: tuple(opened.get_slice(name).get_shape()) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: cannot be read: {error}") from error


def check_tensors(found: Shapes, expected: Shapes, where: Any) -> None:
    """Refuses tensors that are missing, left over or misshapen.

    Raises:
      ModelError: names each of them.
    """
    faults = [f"missing {name} {shape}" for name, shape in expected.items() if name not in found]
    faults += [f"unexpected {name}" for name in sorted(found.keys() - expected.keys())]
    faults += [
        f"{name} has shape {found[name]}, expected {shape}"
        for name, shape in expected.items()
        if name in found and found[name] != shape
    ]
    if faults:
        more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise ModelError(f"{where} does not fit its config:\n  " + "\n  ".join(faults[:20]) + more)


def stream_params(
    source: TensorSource,
    names: Mapping[str, str],
    dtype: Any,
    *,
    transposed: bool = False,
    quantize: Method | None = None,
    place: Place | None = None,
) -> dict[str, Any]:
    """Reads tensors onto devices.

    Args:
      source: where from; its names and shapes have been checked.
      names: dotted name of a parameter -> name of its tensor.
      dtype: of the parameters.
      transposed: kernels are `[out, in]` in the source.
      quantize: kernels of layers stay in this form.
      place: the sharding of each parameter; each device's part alone is read for it. None: the default device.

    Returns:
      The nested tree of parameters.
    """
    params = {}
    # Largest first: what is needed beside a parameter while it is read is then largest while few are there.
    for path in sorted(names, key=lambda path: -math.prod(source.shapes[names[path]])):
        shape, flip = source.shapes[names[path]], transposed and path.endswith(".kernel")
        shape = shape[::-1] if flip else shape
        smaller = quantize if quantize and quantizes(path) else None

        kind = jnp.float32 if smaller else dtype
        part: Any = partial(_read, source, names[path], flip=flip, dtype=kind)
        if place is None:
            array = jnp.asarray(part(tuple(slice(0, n) for n in shape)))
        else:
            array = jax.make_array_from_callback(shape, place(path, shape), part)
        # Waited for: copies that are still under way keep what they copy from, on a busy machine many at once.
        params[path] = jax.block_until_ready(quantize_kernel(array, smaller) if smaller else array)
    return unflatten(params)


def _read(source: TensorSource, name: str, index: Index, flip: bool, dtype: Any) -> np.ndarray:
    """The part `index` of a parameter, read a few rows of its tensor at a time."""
    ends = source.shapes[name][::-1] if flip else source.shapes[name]
    ranges = [part.indices(end)[:2] for part, end in zip(index, ends, strict=True)]
    out = np.empty([stop - start for start, stop in ranges], dtype)
    rows, tensor = (out.T, ranges[::-1]) if flip else (out, ranges)
    start, stop = tensor[0]
    rest = tuple(slice(*r) for r in tensor[1:])
    step = max(1, CHUNK * (stop - start) // max(1, out.size * 4))
    for row in range(start, stop, step):
        end = min(row + step, stop)
        chunk = source.read(name, (slice(row, end), *rest))
        # A few rows at a time: transposing them fills whole cache lines.
        for i in range(0, end - row, 16):
            rows[row - start + i : min(row - start + i + 16, end - start)] = chunk[i : i + 16]
    return out
