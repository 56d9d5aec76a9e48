"""Ranks the saved candidates of a run by another method, without an accelerator.

python scripts/rerank.py runs/demo --method hierarchical_vote

Prints the new numbers beside the saved ones; writes metrics.<method>.json and
submission.<method>.json into the run directory.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ttt_jax.evaluate.rerank import rerank
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.evaluate.submission import make_submission
from ttt_jax.evaluate.summary import print_beside
from ttt_jax.runtime.files import write_json
from ttt_jax.select.rank import METHODS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--method", choices=METHODS, required=True)
    arguments = parser.parse_args()
    try:
        run = SavedRun(arguments.run_dir)
        records, metrics = rerank(run, arguments.method)
    except ValueError as error:
        sys.exit(f"rerank.py: {error}")
    attempts, arm = run.config.select.attempts, run.config.arms[-1]
    submission = make_submission(records, run.tasks.values(), attempts=attempts, arm=arm)
    write_json(run.path / f"metrics.{arguments.method}.json", metrics, indent=2)
    write_json(run.path / f"submission.{arguments.method}.json", submission)
    print_beside({f"saved ({run.config.select.method})": run.metrics, arguments.method: metrics})


if __name__ == "__main__":
    main()
