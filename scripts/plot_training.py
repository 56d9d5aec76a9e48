"""Draws the curves of a training run to RUN_DIR/training.png.

python scripts/plot_training.py RUN_DIR [OUT.png]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Draws the curves of a training run.")
    parser.add_argument("run_dir", type=Path, help="a run of scripts/train_sft.py")
    parser.add_argument("out", type=Path, nargs="?", help="image to write (default: RUN_DIR/training.png)")
    args = parser.parse_args(argv)

    from ttt_jax.train.metrics import read_metrics
    from ttt_jax.train.plot import plot_training

    records = read_metrics(args.run_dir)
    if not records:
        print(f"error: {args.run_dir}/metrics.jsonl: no metrics there", file=sys.stderr)
        return 2
    out = args.out or args.run_dir / "training.png"
    plot_training(records, out)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
