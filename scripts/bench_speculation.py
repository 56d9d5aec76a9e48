"""How much faster a run's tasks are decoded by drafts (decode.speculate), and how many answers stay the same tokens.

    python scripts/bench_speculation.py --config configs/arc/eval100.yaml --load-adapters runs/eval100 \
        --out docs/results/bench_speculation.json

The run must have saved its adapters (--save-adapters true). See docs/performance.md.
"""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    from ttt_jax.bench.speculation import SpeculationBenchConfig, bench_speculation
    from ttt_jax.config_loader import load_config

    config = load_config(SpeculationBenchConfig, argv)
    try:
        bench_speculation(config)
    except ValueError as error:
        sys.exit(f"bench_speculation.py: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
