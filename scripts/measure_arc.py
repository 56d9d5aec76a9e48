"""Measures a configuration of scripts/ttt.py the way a claim needs it, into one JSON file.

    python scripts/measure_arc.py --config configs/arc/eval100.yaml --run-dir runs/eval100 \\
        --out docs/results/arc_eval100.json

Both arms, in-context at equal seconds, and the adapted arm with further seeds;
where select.method ranks by likelihoods, also what every method makes of the
first run's candidates. All other options are those of scripts/ttt.py. Start it
again to go on, also on another machine that has the file.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.evaluate.measurement import measure
from ttt_jax.runtime.restart import again_if_failed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write, or to go on with")
    parser.add_argument("--seeds", type=int, default=3, help="adaptation seeds in all (default: 3)")
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="stop after so long")
    arguments, rest = parser.parse_known_args()
    config = load_config(RunConfig, rest)
    from ttt_jax.run import run

    command = " ".join(["python", "scripts/measure_arc.py", *sys.argv[1:]])
    return measure(config, run, arguments.out, arguments.seeds, arguments.budget_seconds, command)


if __name__ == "__main__":
    sys.exit(again_if_failed(main()))
