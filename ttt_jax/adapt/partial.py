"""A group that was stopped between chunks: its state on disk, so that adaptation goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax.serialization
import numpy as np

from ttt_jax.adapt.loop import AdaptState
from ttt_jax.runtime.files import replacing


@dataclass(frozen=True)
class Partial:
    """How far a group had come.

    Attributes:
      state: of all slots.
      step: steps made.
      curves: name -> float[tasks, steps].
      tokens: int[tasks], trained on so far.
    """

    state: AdaptState
    step: int
    curves: dict[str, np.ndarray]
    tokens: np.ndarray


class PartialFile:
    """The file of one group in a run directory, named after its tasks.

    A run directory belongs to one config, so the tasks are all that can differ.
    """

    def __init__(self, folder: Path, task_ids: Sequence[str]):
        name = hashlib.blake2b("\n".join(task_ids).encode(), digest_size=8).hexdigest()
        self.path = folder / f"{name}.msgpack"

    def save(self, partial: Partial) -> None:
        content = {
            "state": flax.serialization.to_state_dict(partial.state),
            "step": partial.step,
            "curves": partial.curves,
            "tokens": partial.tokens,
        }
        with replacing(self.path) as file:
            file.write_bytes(flax.serialization.msgpack_serialize(_on_host(content)))

    def load(self, like: AdaptState) -> Partial | None:
        """What was saved, None where nothing was; `like` is a state of the same shapes."""
        if not self.path.exists():
            return None
        content = flax.serialization.msgpack_restore(self.path.read_bytes())
        state = flax.serialization.from_state_dict(like, content["state"])
        return Partial(state, int(content["step"]), dict(content["curves"]), content["tokens"])

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


def _on_host(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(name): _on_host(value) for name, value in tree.items()}
    return tree if isinstance(tree, int) else np.asarray(tree)
