"""A run directory's claim, and checkpoints of the full training state (orbax)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from ttt_jax.config_loader import ConfigError, diff, from_yaml, to_yaml
from ttt_jax.train.config import RESUME_MAY_CHANGE


class OtherRun(ValueError):
    """The run directory holds a run of another config; says what differs."""


def claim_run_dir(config: Any, may_change: Sequence[str] = RESUME_MAY_CHANGE) -> Path:
    """Makes `config.run_dir` and writes config.yaml, or checks that the run in it is the same.

    Args:
      config: of the run.
      may_change: options that a resumed run may change.

    Raises:
      OtherRun: where the directory's config differs in an option that changes
        what is computed, naming each with both values.
    """
    run_dir = Path(config.run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    file = run_dir / "config.yaml"
    if file.exists():
        try:
            differing = diff(from_yaml(type(config), file), config, ignore=may_change)
        except ConfigError as error:
            raise OtherRun(f"{file} is not a config of this trainer ({error}); name another run_dir") from error
        if differing:
            raise OtherRun(f"{run_dir} holds another run (there != here): {'; '.join(differing)}. Name another run_dir")
    partial = file.with_suffix(".partial")
    partial.write_text(to_yaml(config))
    partial.replace(file)
    return run_dir


class Checkpoints:
    """Full training states by step, the newest `keep` of them; what is saved is never overwritten.

    Restoring gives back the very bits on the same kind of machine. To go on
    elsewhere, start a new run from the exported weights (`init_from`).
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self._folder = folder.resolve()
        self._manager = ocp.CheckpointManager(self._folder, options=ocp.CheckpointManagerOptions(max_to_keep=keep))

    @property
    def latest(self) -> int | None:
        """Step of the newest checkpoint."""
        return self._manager.latest_step()

    def save(self, step: int, state: Any, meta: dict[str, Any]) -> None:
        """Starts writing in the background; `meta` is small JSON."""
        self._manager.save(
            step, args=ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
        )

    def restore(self, like: Any) -> tuple[Any, dict[str, Any]]:
        """The newest state, in the shapes, types and shardings of `like`, and its meta."""
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), meta=ocp.args.JsonRestore())
        restored = self._manager.restore(self.latest, args=args)
        return restored["state"], restored["meta"]

    def close(self) -> None:
        """Waits until everything is on disk."""
        self._manager.wait_until_finished()
        self._manager.close()
