"""Measures a configuration of scripts/ttt.py the way a claim needs it, into one JSON file.

    python scripts/measure_arc.py --config configs/arc/eval100.yaml --run-dir runs/eval100 \\
        --out docs/results/arc_eval100.json

Both arms, in-context at equal seconds, and the adapted arm with further seeds;
all other options are those of scripts/ttt.py. Start it again to go on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.evaluate.measurement import measure


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write")
    parser.add_argument("--seeds", type=int, default=3, help="adaptation seeds in all (default: 3)")
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="begin no run after so long")
    arguments, rest = parser.parse_known_args()
    config = load_config(RunConfig, rest)
    from ttt_jax.run import run

    command = " ".join(["python", "scripts/measure_arc.py", *sys.argv[1:]])
    return measure(config, run, arguments.out, arguments.seeds, arguments.budget_seconds, command)


if __name__ == "__main__":
    sys.exit(main())
