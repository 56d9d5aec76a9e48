"""Measures accuracy against seconds: adaptation steps x views x search, into one JSON file and a figure.

    python scripts/sweep.py --config configs/arc/development.yaml --run-dir runs/sweep \\
        --steps 0 4 16 64 --views 2 8 32 --search none 0.1 --out docs/results/arc_sweep.json

Every combination is a run of scripts/ttt.py with its own seconds, the cheapest
first; all other options are that script's. The figure lies beside the file.
Start it again to go on, also on another machine that has the file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.evaluate.sweep import plot_sweep, sweep
from ttt_jax.runtime.restart import again_if_failed


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write, or to go on with")
    parser.add_argument("--steps", type=int, nargs="+", default=[0, 4, 16, 64], help="of adaptation; 0: in-context")
    parser.add_argument("--views", type=int, nargs="+", default=[2, 8, 32], help="of every query")
    parser.add_argument("--search", nargs="+", default=["none"], help="values of decode.search_above, or none")
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="stop after so long")
    given = list(sys.argv[1:] if argv is None else argv)
    arguments, rest = parser.parse_known_args(given)
    config = load_config(RunConfig, rest)
    from ttt_jax.run import run

    command = " ".join(["python", "scripts/sweep.py", *given])
    try:
        searches = [None if value == "none" else float(value) for value in arguments.search]
        status = sweep(
            config, run, arguments.out, arguments.steps, arguments.views, searches, arguments.budget_seconds, command
        )
    except ValueError as error:
        print(f"sweep.py: {error}", file=sys.stderr)
        return 2
    if arguments.out.exists():
        found = json.loads(arguments.out.read_text())
        for point in found["points"]:
            value = point.get("pass@2")
            shown = "not scored" if value is None else f"pass@2 {value['value']:.1%}"
            print(f"{point['name']}: {shown}, {point['seconds_per_task']:.2f} s a task")
        print(f"the knee: {found['knee']}")
        plot_sweep(found, arguments.out.with_suffix(".png"))
    return status


if __name__ == "__main__":
    sys.exit(again_if_failed(main()))
