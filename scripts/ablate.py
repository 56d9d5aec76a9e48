"""Measures a configuration of scripts/ttt.py, and again without each of its parts, into one JSON file and one table.

    python scripts/ablate.py --config configs/arc/development.yaml --run-dir runs/ablate \\
        --out docs/results/arc_ablation.json

Every part has its paired difference from the whole, with a 95% interval. All
other options are those of scripts/ttt.py, so that any model and any tasks will
do (--model DIR --tasks.path TASKS). Start it again to go on, also on another
machine that has the file; a part that the configuration does not have is named
in the file with the reason.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.evaluate.ablation import PARTS, ablate
from ttt_jax.evaluate.paired import print_rows
from ttt_jax.runtime.restart import again_if_failed


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write, or to go on with")
    parser.add_argument(
        "--without", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--one-axis-model", help="a base trained alike with --model.rope.pairs on the sequence axis")
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="stop after so long")
    given = list(sys.argv[1:] if argv is None else argv)
    arguments, rest = parser.parse_known_args(given)
    config = load_config(RunConfig, rest)
    from ttt_jax.run import run

    command = " ".join(["python", "scripts/ablate.py", *given])
    try:
        status = ablate(
            config, run, arguments.out, arguments.without, arguments.budget_seconds, command, arguments.one_axis_model
        )
    except ValueError as error:
        print(f"ablate.py: {error}", file=sys.stderr)
        return 2
    if arguments.out.exists():
        found = json.loads(arguments.out.read_text())
        print_rows(found["rows"], f"{found['tasks']} tasks of {found['benchmark']}, without", found["reference"])
        for part, reason in found["not_measured"].items():
            print(f"{part}: {reason}")
    return status


if __name__ == "__main__":
    sys.exit(again_if_failed(main()))
