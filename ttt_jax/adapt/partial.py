"""What a stopped run has in hand, on disk: pytrees by name, so that it goes on where it was."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import flax.serialization
import numpy as np

from ttt_jax.runtime.files import replacing


class PartialFolder:
    """Files of a run directory that hold nested dicts of arrays, numbers, text and lists of numbers.

    A run directory belongs to one config, so a name is all that can differ.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def _file(self, name: str) -> Path:
        # Any text may name an adapter.
        return self.folder / f"{hashlib.blake2b(name.encode(), digest_size=12).hexdigest()}.msgpack"

    def save(self, name: str, content: dict[str, Any]) -> None:
        with replacing(self._file(name)) as file:
            file.write_bytes(flax.serialization.msgpack_serialize(_on_host(content)))

    def load(self, name: str) -> dict[str, Any] | None:
        """What was saved under a name, None where nothing was."""
        file = self._file(name)
        content: Any = flax.serialization.msgpack_restore(file.read_bytes()) if file.exists() else None
        return content

    def remove(self, name: str) -> None:
        """Removes what was saved under a name, and the folder with the last of it."""
        self._file(name).unlink(missing_ok=True)
        if self.folder.exists() and not any(self.folder.iterdir()):
            self.folder.rmdir()


def _on_host(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {str(name): _on_host(value) for name, value in tree.items()}
    return np.asarray(tree) if hasattr(tree, "dtype") else tree
