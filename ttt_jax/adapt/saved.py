"""Adapted variables on disk: one safetensors file a task, to decode again without adapting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.flax import load_file, save_file

from ttt_jax.adapt.adapt import Adapted
from ttt_jax.losses import Variables
from ttt_jax.model.io import flatten, unflatten


def slot_saver(trainable: Variables, index: int) -> Callable[[Path], None]:
    """Writes the variables of one slot to the file that it is given, names as in {"lora": {"layers_0": ...}}."""
    return lambda path: save_file(flatten(jax.tree.map(lambda x: x[index], trainable)), path)


def load_adapted(folder: Path, task_ids: Sequence[str], like: Variables) -> Adapted:
    """What a group had adapted to in an earlier run with `save_adapters`.

    Args:
      folder: the `adapters/` of its run directory.
      task_ids: of the group.
      like: stacked variables of the same shapes; they stay in slots without a task.

    Returns:
      `Adapted` without curves; a task whose file is missing or of other shapes is failed, with the reason.
    """
    expected = flatten(like)
    slots: dict[str, list[Any]] = {name: list(values) for name, values in expected.items()}
    reasons: list[str | None] = []
    for i, task_id in enumerate(task_ids):
        found, reason = _read(folder / f"{task_id}.safetensors", expected)
        reasons.append(reason)
        for name, value in found.items():
            slots[name][i] = value
    tasks = len(task_ids)
    return Adapted(
        trainable=unflatten({name: jnp.stack(values) for name, values in slots.items()}),
        steps=np.zeros(tasks, np.int32),
        failed=reasons,
        curves=[{name: [] for name in ("step", "loss", "grad_norm", "learning_rate")}] * tasks,
        tokens=np.zeros(tasks, np.int64),
    )


def _read(file: Path, expected: dict[str, Any]) -> tuple[dict[str, jax.Array], str | None]:
    if not file.exists():
        return {}, f"{file}: no adapter was saved (save_adapters)"
    found = load_file(file)
    shapes = {name: value.shape[1:] for name, value in expected.items()}
    if {name: value.shape for name, value in found.items()} != shapes:
        return {}, f"{file}: an adapter of other shapes: were adapt.lora and model the same?"
    return found, None
