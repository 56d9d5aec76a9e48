"""How near to the bandwidth floor decoding runs, and how far ahead of `generate` one task at a time.

    python scripts/bench_decode.py --presets arc-small llama-1b --out docs/results/bench_decode.json

See docs/performance.md for how to read what it prints.
"""

from __future__ import annotations

import sys
from typing import Any


def main(argv: list[str] | None = None) -> int:
    from ttt_jax.bench.decode import DecodeBenchConfig, bench_decode
    from ttt_jax.bench.main import ratio, run_benchmark
    from ttt_jax.bench.options import PRESETS
    from ttt_jax.bench.peers import PeerSpec
    from ttt_jax.config_loader import load_config

    config = load_config(DecodeBenchConfig, argv)
    specs = []
    for name in config.presets:
        preset = PRESETS[name]
        for context in config.contexts or preset.contexts:
            # One view at a time, and all views of a task at once.
            rows, tokens = (1, config.views), min(config.new_tokens, 32)
            spec = PeerSpec(
                "decode", preset.model, preset.lora, context, rows, 0.0, new_tokens=tokens, rounds=config.rounds,
                seed=config.seed,
            )  # fmt: skip
            specs.append((name, spec))

    def versus(case: dict[str, Any], peer: dict[str, Any]) -> str | None:
        if "does_not_fit" in case or case["ragged"] or case["context"] != peer["length"]:
            return None
        how = f"{peer['setting']}, {peer['batch']} rows"
        faster = ratio(case["tokens_per_second"], peer["tokens_per_second"])
        return f"{case['name']}: {faster} generate ({how}), prompts apart"

    run_benchmark("decode", config, specs, lambda *args: bench_decode(config, *args), versus)
    return 0


if __name__ == "__main__":
    sys.exit(main())
