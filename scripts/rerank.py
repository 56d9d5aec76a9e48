"""Ranks the saved candidates of a run by other methods, without an accelerator.

    python scripts/rerank.py runs/demo                              every method in one table
    python scripts/rerank.py runs/demo --method hierarchical_vote   one, as if the run had used it
    python scripts/rerank.py runs/seed0 runs/seed1 runs/seed2       the candidates of several runs together

All methods: writes methods.json, with the paired difference of each from the
vote. One: prints its numbers beside the saved ones and writes
metrics.<method>.json and submission.<method>.json. Both into the (first) run
directory, with .pooled in the name where there are several.
Methods that rank by likelihoods need a run with one of them as select.method.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ttt_jax.evaluate.paired import paired_rows, print_rows
from ttt_jax.evaluate.pooled import PooledRuns
from ttt_jax.evaluate.rerank import by_method, rerank
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.evaluate.submission import make_submission
from ttt_jax.evaluate.summary import label, print_beside
from ttt_jax.runtime.files import write_json
from ttt_jax.select.rank import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dirs", type=Path, nargs="+", metavar="run_dir")
    parser.add_argument("--method", choices=METHODS, help="one method in place of all")
    arguments = parser.parse_args()
    try:
        first, *others = arguments.run_dirs
        run = PooledRuns(first, tuple(map(SavedRun, others))) if others else SavedRun(first)
        if arguments.method:
            one_method(run, arguments.method)
        else:
            all_methods(run)
    except ValueError as error:
        sys.exit(f"rerank.py: {error}")


def one_method(run: SavedRun, method: str) -> None:
    """What the run would have said with this method."""
    records, metrics = rerank(run, method)
    attempts, arm = run.config.select.attempts, run.config.arms[-1]
    submission = make_submission(records, run.tasks.values(), attempts=attempts, arm=arm)
    write_json(run.path / f"metrics.{method}{suffix(run)}.json", metrics, indent=2)
    write_json(run.path / f"submission.{method}{suffix(run)}.json", submission)
    print_beside({f"saved ({run.config.select.method})": run.metrics, method: metrics})


def all_methods(run: SavedRun) -> None:
    """Every method over the same candidates, a table an arm."""
    methods = by_method(run)
    rows = {
        arm: paired_rows({name: (metrics, arm) for name, metrics in methods.items()}, "vote") for arm in run.config.arms
    }
    for arm, of_arm in rows.items():
        print_rows(of_arm, f"{label(arm)}: the same candidates, ranked by", "vote")
    write_json(run.path / f"methods{suffix(run)}.json", rows, indent=2)


def suffix(run: SavedRun) -> str:
    """Told from the run's own files: those of several runs."""
    return ".pooled" if isinstance(run, PooledRuns) else ""


if __name__ == "__main__":
    main()
