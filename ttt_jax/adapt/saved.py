"""Adapted variables on disk: a task's, to decode again without adapting; one that all tasks start from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ttt_jax.adapt.course import Adapted
from ttt_jax.adapt.packed import Packed
from ttt_jax.config import LoraConfig
from ttt_jax.losses import Variables
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.lora import init_adapter
from ttt_jax.model.tree import flatten, unflatten


def saver(trainable: Variables) -> Callable[[Path], None]:
    """Writes one task's variables to the file that it is given, names as in {"lora": {"layers_0": ...}}."""
    return lambda path: save_file({name: np.ascontiguousarray(x) for name, x in flatten(trainable).items()}, path)


def load_adapted(folder: Path, task_id: str, like: Variables) -> Adapted:
    """What a task had adapted to in an earlier run with `save_adapters`.

    Args:
      folder: the `adapters/` of its run directory.
      task_id: names its file.
      like: variables of the same shapes, arrays or abstract arrays.

    Returns:
      `Adapted` without curves; where the file is missing or of other shapes it is failed, with the
      reason, and all zeros.
    """
    expected = flatten(like)
    found, reason = _read(folder / f"{task_id}.safetensors", expected)
    return Adapted(
        id=task_id,
        packed=Packed.of(unflatten(found or {name: np.zeros(x.shape, x.dtype) for name, x in expected.items()})),
        steps=0,
        failed=reason,
        curves={name: [] for name in ("step", "loss", "grad_norm", "learning_rate")},
        tokens=0,
        seconds=0.0,
    )


def load_initial(file: str | Path, model: ModelConfig, lora: LoraConfig) -> Any:
    """The adapter that every task starts from (`adapt.init`), as `saver` writes {"lora": adapter}.

    Returns:
      the adapter, float32 numpy arrays.

    Raises:
      ValueError: the file is missing or no safetensors file, or the adapter is of other targets or shapes, or not
        finite; says what is wrong.
    """
    like = jax.eval_shape(lambda: {"lora": init_adapter(jax.random.key(0), model, lora)})
    expected = {name: x.shape for name, x in flatten(like).items()}
    try:
        found = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"adapt.init: {file}: cannot be read: {error}") from error
    for name in sorted(expected.keys() | found.keys()):
        if name not in found:
            raise ValueError(f"adapt.init: {file}: has no {name}; are adapt.lora.targets and the model the same?")
        if name not in expected:
            raise ValueError(f"adapt.init: {file}: {name} is none of adapt.lora.targets {', '.join(lora.targets)}")
        if found[name].shape != expected[name]:
            raise ValueError(f"adapt.init: {file}: {name} has shape {found[name].shape}, expected {expected[name]}")
        if not np.isfinite(found[name].astype(np.float32)).all():
            raise ValueError(f"adapt.init: {file}: {name} is not finite")
    return unflatten({name: value.astype(np.float32) for name, value in found.items()})["lora"]


def _read(file: Path, expected: dict[str, Any]) -> tuple[dict[str, np.ndarray], str | None]:
    if not file.exists():
        return {}, f"{file}: no adapter was saved (save_adapters)"
    found = load_file(file)
    if {name: value.shape for name, value in found.items()} != {name: x.shape for name, x in expected.items()}:
        return {}, f"{file}: an adapter of other shapes: were adapt.lora and model the same?"
    return {name: value.astype(np.float32) for name, value in found.items()}, None
