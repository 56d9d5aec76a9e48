"""What a quantised base costs in quality and saves in memory, measured on a text model.

    python scripts/quantize_quality.py --output docs/results/quantized_smollm2.json

Reads plain English in windows of `--length` tokens (tests/fixtures/english.txt, written for this, where no `--text` is
given) and compares the next-token distributions of the base in float32, int8 and nf4.
"""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ttt_jax.config_loader import load_config
from ttt_jax.model.io import load_model
from ttt_jax.model.quantize import is_quantised, quantize
from ttt_jax.runtime.device import describe_device, versions

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class QualityConfig:
    """Which model and which text."""

    model: str = "smollm2-135m-instruct"
    text: str = "tests/fixtures/english.txt"
    """A file of plain text."""
    length: int = 256
    """Tokens of a window; what precedes a window is not seen in it."""
    output: str | None = None
    """Write the figures to this file as well."""


def main(argv: list[str] | None = None) -> int:
    config = load_config(QualityConfig, argv)
    model, exact, tokenizer = load_model(config.model)
    path = ROOT / config.text if not Path(config.text).is_file() else Path(config.text)
    tokens = np.array(tokenizer.encode(path.read_text(encoding="utf-8")), np.int32)
    windows = tokens[: len(tokens) // config.length * config.length].reshape(-1, 1, config.length)

    @jax.jit
    def logprobs(params: Any, window: jax.Array) -> jax.Array:
        logits: Any = model.apply({"params": params}, window)
        return jax.nn.log_softmax(logits[0, :-1])

    figures, reference = {}, [np.asarray(logprobs(exact, window)) for window in windows]
    for method in (None, "int8", "nf4"):
        params = exact if method is None else quantize(exact, method)
        figures[method or "float32"] = compare(params, [logprobs(params, w) for w in windows], reference, windows)
        print(method or "float32", figures[method or "float32"], flush=True)
    record = {
        "model": config.model,
        "text": {"file": config.text, "tokens": int(windows.size), "window": config.length},
        "base": figures,
        "device": describe_device(),
        "versions": versions(),
        "command": shlex.join(["python", "scripts/quantize_quality.py", *(sys.argv[1:] if argv is None else argv)]),
    }
    if config.output:
        Path(config.output).write_text(json.dumps(record, indent=2) + "\n")
    return 0


def compare(params, logprobs, reference, windows) -> dict[str, float]:
    """Perplexity, divergence and agreement with the float32 base, and bytes a kernel's parameter takes."""
    logprobs = np.concatenate([np.asarray(window) for window in logprobs])
    exact, next_tokens = np.concatenate(reference), windows[:, 0, 1:].reshape(-1)
    read = logprobs[np.arange(len(next_tokens)), next_tokens]
    divergence = np.sum(np.exp(exact) * (exact - logprobs), axis=-1)
    same = exact.argmax(-1) == logprobs.argmax(-1)
    kernels = [
        leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(params["layers_0"], is_leaf=is_quantised)
        if jax.tree_util.keystr(path).endswith("['kernel']")
    ]
    stored = sum(part.nbytes for leaf in kernels for part in jax.tree.leaves(leaf))
    return {
        "perplexity": round(float(np.exp(-read.mean())), 4),
        "kl_divergence": round(float(divergence.mean()), 6),
        "same_next_token": round(float(same.mean()), 4),
        "bits_per_kernel_parameter": round(8 * stored / sum(int(np.prod(leaf.shape)) for leaf in kernels), 3),
        "base_megabytes": round(sum(jnp.asarray(leaf).nbytes for leaf in jax.tree.leaves(params)) / 1e6, 1),
    }


if __name__ == "__main__":
    sys.exit(main())
