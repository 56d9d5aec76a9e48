"""Measures the logic-grid generator: seconds of the largest puzzles on one core, of a whole set, conflicts by size.

    python scripts/measure_generators.py --workers 2

Writes docs/results/reasoning_generators.json. Takes minutes on a few cores.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ttt_jax.evaluate.intervals import mean
from ttt_jax.runtime.files import write_json
from ttt_jax.tasks.zebra.records import Record
from ttt_jax.tasks.zebra.sets import SIZES, make_records

LARGEST = "6x6"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/results/reasoning_generators.json"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="of the set (default: all cores)")
    parser.add_argument("--each", type=int, default=40, help="puzzles of every size in the set (default: 40)")
    parser.add_argument("--largest", type=int, default=20, help=f"{LARGEST} puzzles timed on one core (default: 20)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    load = os.getloadavg()[0]
    single = [_timed(LARGEST, arguments.seed + i) for i in range(arguments.largest)]
    print(f"{LARGEST} on one core: median {statistics.median(single):.2f} s, slowest {max(single):.2f} s", flush=True)
    began, used = time.perf_counter(), _cpu_seconds()
    records = make_records("test", arguments.seed, arguments.each, workers=arguments.workers)
    seconds, used = time.perf_counter() - began, _cpu_seconds() - used
    print(
        f"{len(records)} puzzles with {arguments.workers} workers: {seconds:.1f} s, of processors {used:.1f} s",
        flush=True,
    )
    found = {
        "command": " ".join(["python", *sys.argv]),
        "machine": {
            "processor": platform.machine(),
            "cores": os.cpu_count(),
            # Of everything that ran there: above the number of cores, `seconds` say more of the others than of this.
            "load_before": load,
            "python": platform.python_version(),
        },
        "largest": {"size": LARGEST, "n": len(single), "cpu_seconds": mean(single), "slowest": max(single)},
        "set": {"puzzles": len(records), "workers": arguments.workers, "seconds": seconds, "cpu_seconds": used},
        "sizes": by_size(records),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out, found, indent=2)
    print(f"wrote {arguments.out}")
    return 0


def by_size(records: Sequence[Record]) -> dict[str, Any]:
    """Size -> search space, level, and means over its puzzles: clues, and the conflicts of solving and of the proof
    that there is no second solution."""
    found: dict[str, Any] = {}
    for size in SIZES:
        of = [r for r in records if r.puzzle.size == tuple(map(int, size.split("x")))]
        if of:
            found[size] = {
                "n": len(of),
                "search_space": of[0].extra["search_space"],
                "level": of[0].extra["level"],
                "clues": mean([float(len(r.puzzle.clues)) for r in of]),
                "conflicts": mean([float(r.extra["conflicts"]) for r in of]),
                "proof_conflicts": mean([float(r.extra["proof_conflicts"]) for r in of]),
            }
    return found


def _cpu_seconds() -> float:
    """Of this process and of the workers that have ended."""
    of = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in of)


def _timed(size: str, seed: int) -> float:
    began = time.process_time()
    make_records("test", seed, each=1, sizes=(size,))
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
