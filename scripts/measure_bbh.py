"""Measures every arm on BIG-Bench Hard, the paper's protocol first, into one JSON file.

    python scripts/measure_bbh.py --tasks.path BBH --run-dir runs/bbh --out docs/results/bbh_smollm2.json

BBH is the directory of task files. Each arm is a config of configs/bbh and a
run directory of its own in --run-dir; --arms names them, in order. Other
options are those of scripts/ttt.py and hold for all (seeds 42 and 43 where
none are given). Start it again to go on, also on another machine that has the
file. --choose tries schedules on the demonstrations alone in place of measuring.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.evaluate.bbh_measurement import ARMS, choose_schedule, measure_bbh
from ttt_jax.runtime.restart import again_if_failed

CONFIGS = Path(__file__).resolve().parent.parent / "configs" / "bbh"


def main(argv: Sequence[str] | None = None) -> int:
    """Measures; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--out", type=Path, required=True, help="the JSON file to write, or to go on with")
    parser.add_argument("--run-dir", type=Path, default=Path("runs/bbh"), help="holds a run directory for each arm")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=ARMS, metavar="ARM", help=", ".join(ARMS))
    parser.add_argument("--budget-seconds", type=float, default=float("inf"), help="stop after so long")
    parser.add_argument("--choose", action="store_true", help="try schedules on the demonstrations alone")
    given = list(sys.argv[1:] if argv is None else argv)
    arguments, rest = parser.parse_known_args(given)
    from ttt_jax.run import run

    command = " ".join(["python", "scripts/measure_bbh.py", *given])

    def config(name: str) -> RunConfig:
        options = ["--config", str(CONFIGS / f"{name}.yaml"), "--tasks.seeds", "42", "43", *rest]
        return replace(load_config(RunConfig, options), run_dir=str(arguments.run_dir / name))

    try:
        if arguments.choose:
            return choose_schedule(config("long"), run, arguments.out, arguments.budget_seconds, command)
        configs = {name: config(name) for name in arguments.arms}
        return measure_bbh(configs, run, arguments.out, arguments.budget_seconds, command)
    except ValueError as error:
        print(f"measure_bbh: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(again_if_failed(main()))
