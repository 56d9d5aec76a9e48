"""What the 8B configs of configs/bbh need, by the compiler's plan, into docs/results/memory_8b.json.

    python scripts/memory_8b.py

Runs compile_for_tpu.py for each case that the file does not have yet: the
configs as they are, with a quantised base, and with one slot more, which should
not fit. Of the model it needs the shape only. A chip of v5p stands for the GPU,
whose compiler needs one: it has the whole base and tasks of its own, as one GPU
has. Each program takes minutes of a processor.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = Path("docs/results/memory_8b.json")
# Training sequences of up to 3072 tokens, queries of up to 640 after their demonstrations.
COMMON = ["--model", "configs/tpu/models/llama-3.1-8b", "--length", "3072", "--query-length", "640"]
# 80 GB as jax may use them: XLA_PYTHON_CLIENT_MEM_FRACTION=0.92.
GPU = ["--config", "configs/bbh/llama8b_gpu.yaml", "--topology", "v5p:2x2x1", "--memory", "73"]
# One host of the slice: hosts do not work in step.
TPU = ["--config", "configs/bbh/llama8b_tpu.yaml", "--topology", "v6e:2x2"]
WHOLE = ["--mesh.task", "-1", "--mesh.fsdp", "1"]
ADAPT, DECODE = ["--programs", "adapt"], ["--programs", "prefill", "decode"]
NF4 = ["--quantize", "nf4"]

CASES = {
    "gpu, adapt": [*GPU, *ADAPT],
    "gpu, decode": [*GPU, *DECODE],
    "tpu, adapt": [*TPU, *ADAPT],
    "tpu, decode": [*TPU, *DECODE],
    "gpu, adapt, nf4": [*GPU, *ADAPT, *NF4, "--adapt.slots", "5"],
    "tpu, adapt, nf4 on every chip": [*TPU, *ADAPT, *WHOLE, *NF4, "--adapt.slots", "2"],
    "gpu, adapt, one slot more": [*GPU, *ADAPT, "--adapt.slots", "5"],
    "tpu, adapt, one slot more": [*TPU, *ADAPT, "--adapt.slots", "2"],
}


def main(argv: Sequence[str] | None = None) -> int:
    """Compiles what the file lacks; returns the worst exit status but 1, which says that a case does not fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--again", action="store_true", help="also those that the file has")
    options = parser.parse_args(argv)
    worst = 0
    for name in options.cases:
        done = json.loads((ROOT / OUT).read_text()) if (ROOT / OUT).exists() else {}
        if name in done and not options.again:
            continue
        print(f"{name}:", flush=True)
        command = [sys.executable, "scripts/compile_for_tpu.py", *CASES[name], *COMMON]
        status = subprocess.run([*command, "--json", str(OUT), "--case", name], cwd=ROOT, check=False).returncode
        worst = max(worst, status if status != 1 else 0)
    return worst


if __name__ == "__main__":
    sys.exit(main())
