"""A run directory: everything that a run leaves, and how it goes on after being killed.

    config.yaml      every option as resolved; the head comment is the command
    tasks.json       the tasks as they were given, with answers where known
    journal.jsonl    a line for every finished task, appended (`journal.Journal`)
    candidates/      every decoded answer of a task, by arm
    curves/          loss, gradient norm and learning rate of its adaptation
    adapters/        its adapter, on request
    metrics.json, submission.json, report.html    at the end

The files of a task are written before its journal line, so a task in the
journal always has its files.
"""

from __future__ import annotations

import dataclasses
import fcntl
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ttt_jax.config_loader import diff, from_yaml, to_yaml
from ttt_jax.config_values import ConfigError
from ttt_jax.runtime.files import replacing, write_json, write_text
from ttt_jax.runtime.journal import Journal, JournalError, Record
from ttt_jax.tasks.task import Task

FREE_OPTIONS = ("run_dir", "hosts.coordinator", "hosts.count", "hosts.index", "hosts.results")
"""Options that may differ between a run and its continuation."""


class RunDirError(ValueError):
    """The directory cannot be used for this run; the message says why and what to do."""


@dataclasses.dataclass
class RunDir:
    """The writing side of a run directory. Use as a context manager, or `close` it.

    Attributes:
      path: the directory.
      resumed: whether it held a run already.
      command: the command that started the run, from config.yaml where resumed.
    """

    path: Path
    resumed: bool
    command: str
    _journal: Journal
    _lock: int

    @classmethod
    def open(cls, path: str | Path, config: Any, command: str) -> RunDir:
        """Creates a run directory, or takes up the run that it holds.

        Args:
          path: created where missing, parents included.
          config: the dataclass of the run's options.
          command: what was typed, kept in the head comment of config.yaml.

        Raises:
          RunDirError: another process writes there, or the directory holds a
            run of another config or something that is no run.
        """
        path = Path(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except FileExistsError:
            raise RunDirError(f"{path}: is a file; choose another --run-dir") from None
        except OSError as error:
            raise RunDirError(f"{path}: cannot be created: {error.strerror}") from None
        lock = _lock(path)
        try:
            file = path / "config.yaml"
            resumed = file.exists()
            if resumed:
                _same_config(file, config)
                command = _command(file) or command
            elif (path / "journal.jsonl").exists():
                raise RunDirError(f"{path}: has a journal.jsonl and no config.yaml; choose another --run-dir")
            else:
                write_text(file, f"# {' '.join(command.splitlines())}\n{to_yaml(config)}")
            _remove_unfinished(path)
            return cls(path, resumed, command, Journal(path / "journal.jsonl"), lock)
        except JournalError as error:
            os.close(lock)
            raise RunDirError(str(error)) from None
        except BaseException:
            os.close(lock)
            raise

    def finished(self) -> dict[str, Record]:
        """Task id -> record of every task that is done, failed ones included."""
        return self._journal.records

    def save_tasks(self, tasks: Iterable[Task]) -> None:
        """Keeps the tasks, so that replaying and reporting need nothing but this directory."""
        tasks = sorted(tasks, key=lambda t: t.id)
        content = {t.id: {"demos": t.demos, "queries": t.queries, "answers": t.answers} for t in tasks}
        write_json(self.path / "tasks.json", content)

    def save(
        self,
        record: Record,
        *,
        candidates: dict[str, Any] | None = None,
        curves: dict[str, Any] | None = None,
        adapter: Callable[[Path], None] | None = None,
    ) -> None:
        """Records a finished task: its files first, then its line in the journal.

        Args:
          record: the journal line (see evaluate/metrics.py).
          candidates: {arm: [candidate, ..], "scores": {arm: [{answer key: [logprob a view]} a query]}}.
          curves: {"step": [..], "loss": [..], "grad_norm": [..], "learning_rate": [..]}.
          adapter: writes the adapter to the file that it is given (.safetensors).

        Raises:
          ValueError: the task's id cannot be a file name.
        """
        task = record["task"]
        if not task or task.startswith(".") or Path(task).name != task:
            raise ValueError(f"task {task!r}: its id names its files, so it must be a file name without a dot first")
        if candidates is not None:
            write_json(self.path / "candidates" / f"{task}.json", candidates)
        if curves is not None:
            write_json(self.path / "curves" / f"{task}.json", curves)
        if adapter is not None:
            with replacing(self.path / "adapters" / f"{task}.safetensors") as file:
                adapter(file)
        self._journal.append(record)

    def write_json(self, name: str, value: Any) -> None:
        """Writes a file of the whole run, such as metrics.json."""
        write_json(self.path / name, value, indent=2 if name.startswith("metrics") else None)

    def close(self) -> None:
        self._journal.close()
        os.close(self._lock)

    def __enter__(self) -> RunDir:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lock(path: Path) -> int:
    """An exclusive lock that ends with the process, however it ends."""
    lock = os.open(path / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        writer = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise RunDirError(
            f"{path}: process {writer or '?'} is writing to it; wait, or choose another --run-dir"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _same_config(file: Path, config: Any) -> None:
    try:
        differences = diff(from_yaml(type(config), file), config, ignore=FREE_OPTIONS)
    except ConfigError as error:
        raise RunDirError(f"{error} (written by another version?); choose another --run-dir") from None
    if differences:
        listed = "".join(f"\n  {line}" for line in differences)
        raise RunDirError(
            f"{file.parent}: holds a run of another config (there != here):{listed}\n"
            "choose another --run-dir, or give the same options to go on with that run"
        )


def _command(file: Path) -> str:
    head = file.read_text(encoding="utf-8").partition("\n")[0]
    return head.removeprefix("# ") if head.startswith("# ") else ""


def _remove_unfinished(path: Path) -> None:
    """Removes what a killed process was writing (nobody else writes: the lock is ours)."""
    for folder in (path, *(path / name for name in ("candidates", "curves", "adapters"))):
        for file in folder.glob(".*.unfinished.*"):
            file.unlink()
