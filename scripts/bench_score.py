"""How fast answers are scored after prompts that are read already, with the fused kernel and with plain XLA.

    python scripts/bench_score.py --presets arc-small --contexts 1024 6144 --out docs/results/bench_score.json

See docs/performance.md for how to read what it prints.
"""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    from ttt_jax.bench.main import run_benchmark
    from ttt_jax.bench.score import ScoreBenchConfig, bench_score
    from ttt_jax.config_loader import load_config

    config = load_config(ScoreBenchConfig, argv)
    run_benchmark("score", config, [], lambda *args: bench_score(config, *args), lambda case, peer: None)
    return 0


if __name__ == "__main__":
    sys.exit(main())
