"""Metrics of a training run: JSON lines, CSV, and TensorBoard where tensorboardX is installed."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "step", "kind", "loss", "grad_norm", "learning_rate", "tokens", "tokens_per_second", "wait", "fill",
    "failed_pairs", "worker_tokens_per_second", "minutes",
    "held_out_loss", "held_out_exact", "fresh_loss", "fresh_exact",
)  # fmt: skip


class MetricsLog:
    """Appends records to metrics.jsonl, metrics.csv and tensorboard/ in a run directory.

    A record has a `step`, a `kind` (train or eval) and any other columns.

    Args:
      step: where the run (re)starts: records of later steps, left by a run that
        was killed after its checkpoint, are dropped, for they come again.
    """

    def __init__(self, run_dir: Path, step: int, columns: Sequence[str] = COLUMNS) -> None:
        kept = [r for r in read_metrics(run_dir) if r["step"] <= step]
        # Written beside the old files and then put in their place: a kill here loses nothing.
        self._jsonl = (run_dir / "metrics.jsonl.partial").open("w")
        self._csv_file = (run_dir / "metrics.csv.partial").open("w", newline="")
        self._csv: csv.DictWriter[str] = csv.DictWriter(self._csv_file, list(columns))
        self._csv.writeheader()
        for record in kept:
            self._append(record)
        self._csv_file.flush()
        for name in ("metrics.jsonl", "metrics.csv"):
            (run_dir / f"{name}.partial").replace(run_dir / name)
        self._board = None
        try:
            board = importlib.import_module("tensorboardX")
        except ImportError:
            print("tensorboardX is not installed: metrics go to metrics.jsonl and metrics.csv only", flush=True)
        else:
            self._board = board.SummaryWriter(str(run_dir / "tensorboard"), purge_step=step + 1 if step else None)

    def write(self, record: dict[str, Any]) -> None:
        self._append(record)
        if self._board is not None:
            for name, value in record.items():
                if name not in ("step", "kind"):
                    self._board.add_scalar(f"{record['kind']}/{name}", value, record["step"])

    def _append(self, record: dict[str, Any]) -> None:
        self._jsonl.write(json.dumps(record) + "\n")
        self._csv.writerow(record)
        self._jsonl.flush()
        self._csv_file.flush()

    def close(self) -> None:
        self._jsonl.close()
        self._csv_file.close()
        if self._board is not None:
            self._board.close()


def read_metrics(run_dir: str | Path) -> list[dict[str, Any]]:
    """The records of a run, oldest first; a last line cut short by a kill is left out."""
    file = Path(run_dir) / "metrics.jsonl"
    if not file.exists():
        return []
    lines = file.read_text().split("\n")
    return [json.loads(line) for line in lines[:-1]]  # what follows the last newline was not finished
