"""Draws training pairs as a training run does and counts those that evaluation tasks have too.

    python scripts/check_overlap.py --config configs/arc/small_anneal.yaml --pairs 200000 --workers 2

Two pairs coincide when a symmetry and a renaming of colours make one of the other. Writes
docs/results/arc_overlap.json: for each source of tasks the pairs that came up, by task, with their number of cells.
Training leaves such pairs out (`data.exclude`); here they are drawn, to see how many there are.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ttt_jax.config_loader import load_config
from ttt_jax.runtime.files import write_json
from ttt_jax.train.coinciding import Coinciding
from ttt_jax.train.config import ReArcConfig, TrainConfig
from ttt_jax.train.invented import FAMILIES
from ttt_jax.train.workers import OrderedWorkers


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="of scripts/train_sft.py: its data are drawn")
    parser.add_argument("--pairs", type=int, default=200_000, help="to look at, at least (default: 200000)")
    parser.add_argument(
        "--sources", nargs="+", default=list(ReArcConfig.exclude), help="of tasks (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    parser.add_argument("--out", type=Path, default=Path("docs/results/arc_overlap.json"))
    arguments = parser.parse_args(argv)
    config = load_config(TrainConfig, ["--config", arguments.config])
    make = Coinciding(config.data, tuple(arguments.sources), arguments.seed)
    found: dict[str, Counter[tuple[str, int]]] = {source: Counter() for source in arguments.sources}
    looked, told = 0, time.monotonic()
    with OrderedWorkers(make, 0, arguments.workers) as draws:
        while looked < arguments.pairs:
            more, coinciding = next(draws)
            looked += more
            for source, counts in coinciding.items():
                found[source].update(counts)
            if time.monotonic() - told > 30:
                told = time.monotonic()
                print(f"{looked} pairs, {sum(sum(c.values()) for c in found.values())} coincide", flush=True)
    result = {
        "command": " ".join(["python", "scripts/check_overlap.py", *(sys.argv[1:] if argv is None else argv)]),
        "pairs": looked,
        "families": len(FAMILIES),
        "sources": {
            source: {
                "pairs": sum(counts.values()),
                "tasks": len({task for task, _ in counts}),
                "found": [
                    {"task": task, "cells": cells, "times": times} for (task, cells), times in counts.most_common()
                ],
            }
            for source, counts in found.items()
        },
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out, result, indent=1)
    for source, of in result["sources"].items():
        largest = max((f["cells"] for f in of["found"]), default=0)
        print(f"{source}: {of['pairs']} of {looked} pairs, of {of['tasks']} tasks; the largest has {largest} cells")
    print(f"wrote {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
