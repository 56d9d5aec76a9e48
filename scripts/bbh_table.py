"""One table of several runs on BIG-Bench Hard: python scripts/bbh_table.py runs/bbh/* --out table.json"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ttt_jax.evaluate.bbh_table import combine
from ttt_jax.evaluate.measures import table
from ttt_jax.runtime.files import write_json


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table, and writes its numbers where asked; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run directories, finished")
    parser.add_argument("--out", type=Path, help="a file for the numbers, as JSON")
    options = parser.parse_args(argv)
    try:
        metrics = {path.name: json.loads((path / "metrics.json").read_text()) for path in options.runs}
        found = combine(metrics)
    except (OSError, ValueError) as error:
        print(f"bbh_table: {error}", file=sys.stderr)
        return 2
    console, rows = Console(), table(found["arms"])
    shown = Table(title="accuracy in %, with standard errors over seeds", title_justify="left", pad_edge=False)
    for column, title in enumerate(rows[0]):
        shown.add_column(title.replace(", ", "\n"), justify="right" if column else "left")
    for row in rows[1:]:
        shown.add_row(*row)
    console.print(shown)
    for arm, stages in found["seconds"].items():
        console.print(f"{arm}: " + ", ".join(f"{stage} {value:.2f} s" for stage, value in stages.items()) + " a task")
    for run, gain in found["gain"].items():
        error = "" if gain["stderr"] is None else f" ± {100 * gain['stderr']:.1f}"
        share = found["explained"][run]
        label = "" if share is None else f"; the majority label explains {share:.0%} of what tasks gained"
        console.print(f"{run}: {100 * gain['mean']:+.1f}{error} points over in-context{label}")
    if options.out:
        write_json(options.out, found, indent=2)
    return 0


if __name__ == "__main__":
    sys.exit(main())
