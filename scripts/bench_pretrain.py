"""How near to the device's limits training from scratch runs, by length and optimizer, and what its data workers make.

    python scripts/bench_pretrain.py --out docs/results/bench_pretrain.json

See docs/performance.md for how to read what it prints.
"""

from __future__ import annotations

import sys
from typing import Any


def main(argv: list[str] | None = None) -> int:
    # Imported here: data workers import this file anew, and they must not start jax.
    from ttt_jax.bench.main import ratio, run_benchmark
    from ttt_jax.bench.options import PRESETS
    from ttt_jax.bench.peers import PeerSpec
    from ttt_jax.bench.pretrain import PretrainBenchConfig, bench_pretrain
    from ttt_jax.config_loader import load_config

    config = load_config(PretrainBenchConfig, argv)
    specs = []
    for name in config.presets:
        preset = PRESETS[name]
        for length in config.lengths:
            rows = max(1, config.tokens_per_batch // length)
            batches = tuple(dict.fromkeys(max(1, rows // part) for part in (1, 4, 16)))
            spec = PeerSpec(
                "train", preset.model, preset.lora, length, batches, 0.0, rounds=config.rounds, seed=config.seed
            )
            specs.append((name, spec))

    def versus(case: dict[str, Any], peer: dict[str, Any]) -> str | None:
        if "does_not_fit" in case or case["length"] != peer["length"] or case["optimizer"] != "adamw":
            return None
        how = f"batch {peer['batch']}, AdamW"
        return f"{case['name']}: {ratio(case['tokens_per_second'], peer['tokens_per_second'])} transformers ({how})"

    run_benchmark("pretrain", config, specs, lambda *args: bench_pretrain(config, *args), versus)
    return 0


if __name__ == "__main__":
    sys.exit(main())
