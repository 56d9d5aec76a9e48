"""How near to the device's limits adaptation runs, and how far ahead of PEFT one task at a time.

    python scripts/bench_adapt.py --presets arc-small llama-1b --out docs/results/bench_adapt.json

See docs/performance.md for how to read what it prints.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Any


def main(argv: list[str] | None = None) -> int:
    from ttt_jax.bench.adapt import AdaptBenchConfig, bench_adapt
    from ttt_jax.bench.main import ratio, run_benchmark
    from ttt_jax.bench.options import PRESETS
    from ttt_jax.bench.peers import PeerSpec
    from ttt_jax.config_loader import load_config

    config = load_config(AdaptBenchConfig, argv)
    specs = []
    for name in config.presets:
        preset = PRESETS[name]
        lora = preset.lora if config.rank is None else dataclasses.replace(preset.lora, rank=config.rank)
        for length in config.lengths or preset.lengths:
            spec = PeerSpec(
                "adapt", preset.model, lora, length, config.peer.batches, 0.0, loss_share=config.loss_share,
                rounds=config.rounds, compile=config.peer.compile, seed=config.seed,
            )  # fmt: skip
            specs.append((name, spec))

    def versus(case: dict[str, Any], peer: dict[str, Any]) -> str | None:
        if "does_not_fit" in case or case["length"] != peer["length"]:
            return None
        how = f"{peer['setting']}, batch {peer['batch']}, {peer['adapter']} adapter"
        return f"{case['name']}: {ratio(case['tokens_per_second'], peer['tokens_per_second'])} PEFT ({how})"

    run_benchmark("adapt", config, specs, lambda *args: bench_adapt(config, *args), versus)
    return 0


if __name__ == "__main__":
    sys.exit(main())
