"""journal.jsonl: one line for every finished task, appended and never changed.

A line counts once its newline is on the disk. A process killed in the middle of
a write leaves a torn last line, which readers pass over and the next writer
cuts off; its task is done again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ttt_jax.runtime.files import dumps, sync_folder

Record = dict[str, Any]


class JournalError(ValueError):
    """A line in the middle of a journal is not a record."""


def read_journal(path: str | Path) -> dict[str, Record]:
    """Task id -> record, in the order of finishing; a torn last line is passed over. Writes nothing.

    Raises:
      JournalError: a line that is not the last one cannot be read.
    """
    return _read(Path(path))[0]


class Journal:
    """The writing side; one process at a time (`RunDir` holds the lock)."""

    def __init__(self, path: str | Path):
        """Opens or creates the journal and cuts off a torn last line."""
        self.path = Path(path)
        records, whole = _read(self.path)
        self._records = records
        self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        self.torn_bytes = os.fstat(self._descriptor).st_size - whole
        """How many bytes of a torn line were cut off."""
        if self.torn_bytes:
            os.ftruncate(self._descriptor, whole)
        os.fsync(self._descriptor)
        sync_folder(self.path.parent)

    @property
    def records(self) -> dict[str, Record]:
        """Task id -> record, those of earlier processes included."""
        return dict(self._records)

    def append(self, record: Record) -> None:
        """Writes one record and waits until it is on the disk.

        Raises:
          ValueError: the record names no task, or one that has a record.
        """
        task = record.get("task")
        if not isinstance(task, str):
            raise ValueError(f"journal record: task: expected a task id, found {task!r}")
        if task in self._records:
            raise ValueError(f"{self.path}: task {task} has a record already")
        line = dumps(record)
        data = (line + "\n").encode()
        while data:  # a nearly full disk may take a part only
            data = data[os.write(self._descriptor, data) :]
        os.fsync(self._descriptor)
        # What readers will see: tuples are lists and NaN is null, in this process too.
        self._records[task] = json.loads(line)

    def close(self) -> None:
        os.close(self._descriptor)


def _read(path: Path) -> tuple[dict[str, Record], int]:
    """Records, and how many bytes of the file they take."""
    content = path.read_bytes() if path.exists() else b""
    lines = content.split(b"\n")
    lines.pop()  # what follows the last newline: nothing, or a torn line
    records: dict[str, Record] = {}
    whole = 0
    for number, line in enumerate(lines, 1):
        try:
            record = json.loads(line)
            records[record["task"]] = record
        except (ValueError, KeyError, TypeError) as error:
            # After a power cut the last line can have its newline and not its content.
            if number == len(lines):
                break
            raise JournalError(
                f"{path}:{number}: not a record of a task: {error!r}; remove the line to go on"
            ) from None
        whole += len(line) + 1
    return records, whole
