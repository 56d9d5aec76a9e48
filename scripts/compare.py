"""The paired difference of two runs, or of two arms of one, over the tasks that both answered.

python scripts/compare.py runs/a runs/b                             the adapted arms of two runs
python scripts/compare.py runs/a --arm in_context --arm adapted     two arms of one run
python scripts/compare.py docs/results/a.json runs/b --attempts 1   a metrics.json will do
python scripts/compare.py a.json:first b.json:first                 runs in files of measurements, ablations, sweeps
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ttt_jax.evaluate.compare import compare, print_comparison


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_a", type=Path, help="a run directory, a metrics.json, or FILE.json:NAME")
    parser.add_argument("run_b", type=Path, nargs="?", help="the same; run_a where left out")
    parser.add_argument("--arm", action="append", help="the arm of A and B (default: adapted); given twice, of each")
    parser.add_argument("--attempts", type=int, default=2, help="k of pass@k (default: 2)")
    arguments = parser.parse_args()
    arms = arguments.arm or ["adapted"]
    if len(arms) > 2:
        parser.error("--arm: give it once, or twice for A and B")
    run_b = arguments.run_b or arguments.run_a
    try:
        metrics_a, metrics_b = read_metrics(arguments.run_a), read_metrics(run_b)
        result = compare(metrics_a, arms[0], metrics_b, arms[-1], arguments.attempts)
    except ValueError as error:
        sys.exit(f"compare.py: {error}")
    print_comparison(result, f"{arguments.run_a} {arms[0]}", f"{run_b} {arms[-1]}")


def read_metrics(path: Path) -> dict[str, Any]:
    """metrics.json of a run directory, the file itself, or run NAME of a file of several, given as FILE.json:NAME."""
    file, name = (path / "metrics.json" if path.is_dir() else path), None
    if not file.exists() and ".json:" in path.name:
        head, name = str(path).rsplit(":", 1)
        file = Path(head)
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{file}: no such file (written when a run comes to its end)") from None
    except ValueError as error:
        raise ValueError(f"{file}: not JSON: {error}") from None
    runs = metrics.get("runs") if isinstance(metrics, dict) else None
    if name is not None or runs:
        if not runs or name not in runs:
            known = ", ".join(f"{file.name}:{known}" for known in runs or ())
            raise ValueError(f"{file}: {'holds several runs' if runs else 'holds one run'}; give {known or file}")
        return runs[name]
    if not isinstance(metrics, dict) or not {"arms", "per_task"} <= metrics.keys():
        raise ValueError(f"{file}: not the metrics of a run: needs arms and per_task")
    return metrics


if __name__ == "__main__":
    main()
