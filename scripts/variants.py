"""Measures a configuration of scripts/ttt.py and variants of it over the same tasks, into one JSON file and one table.

    python scripts/variants.py --config configs/arc/development.yaml --variants configs/arc/ideas.yaml \\
        --run-dir runs/ideas --out docs/results/arc_ideas.json

The file of variants says for each name which options differ; every variant has
its paired difference from the configuration itself, with a 95% interval. With
`load_adapters: reference` a variant answers with the adapters of the
configuration. A figure of accuracy against seconds lies beside the file. All
other options are those of scripts/ttt.py. Start it again to go on, also on
another machine that has the file. --only names variants, so that several GPUs
can share them: each process writes an --out of its own, and a last call puts
together what lies in --run-dir, or in the files that --merge names.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.evaluate.cost_plot import plot_rows
from ttt_jax.evaluate.paired import print_rows
from ttt_jax.evaluate.variants import measure_variants, read_changes
from ttt_jax.runtime.restart import again_if_failed


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--variants", type=Path, required=True, help="a YAML file: name -> options that differ")
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write, or to go on with")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="make these alone now; `reference` is the configuration"
    )
    parser.add_argument(
        "--merge", type=Path, nargs="+", default=[], metavar="FILE", help="take over the runs of other processes' --out"
    )
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="stop after so long")
    given = list(sys.argv[1:] if argv is None else argv)
    arguments, rest = parser.parse_known_args(given)
    config = load_config(RunConfig, rest)
    from ttt_jax.run import run

    command = shlex.join(["python", "scripts/variants.py", *given])
    try:
        changes = read_changes(arguments.variants)
        status = measure_variants(
            config, changes, run, arguments.out, arguments.only, arguments.budget_seconds, command, arguments.merge
        )
    except (OSError, ValueError) as error:
        print(f"variants.py: {error}", file=sys.stderr)
        return 2
    if arguments.out.exists():
        found = json.loads(arguments.out.read_text())
        print_rows(found["rows"], f"{found['tasks']} tasks of {found['benchmark']}", found["reference"])
        if found["rows"]:
            plot_rows(found, arguments.out.with_suffix(".png"))
    return status


if __name__ == "__main__":
    sys.exit(again_if_failed(main()))
