"""What adaptation and decoding need on TPU chips, found out without one.

    python scripts/compile_for_tpu.py --config configs/arc/quickstart.yaml --topology v5e:4x4

Needs Linux x86-64 and the libtpu of `pip install ttt-jax[tpu]`. Prints memory
and floating point operations a chip, collectives, and whole-cache copies in
the decoding loop. Leaves with status 1 where something does not fit.
"""

import dataclasses
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.update(
    {
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no chips are held, so several may compile at a time
    }
)

import jax
import jax.numpy as jnp

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config
from ttt_jax.model import io
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.tpu_compile import compile_programs, describe
from ttt_jax.tasks.registry import get_domain


@dataclass(frozen=True)
class CompileConfig(RunConfig):
    """A run, and the chips to compile it for. `adapt.slots` and `decode.slots` count for each chip."""

    topology: str = "v5e:4x4"
    """Generation and shape: v4:2x2x1, v5e:4x4, v5p:2x2x1, v6e:4x4 ..."""
    length: int = 2048
    """Tokens of a training sequence and of a prompt."""
    json: str | None = None
    """Also write the figures to this file."""


def main() -> int:
    config = load_config(CompileConfig, sys.argv[1:])
    model_config, _ = io.load_config(io.resolve(config.model))
    model = Decoder(model_config, dtype=jnp.dtype("bfloat16" if config.dtype == "auto" else config.dtype))
    try:
        domain = get_domain(config.tasks.domain).bind(io.load_tokenizer(config.model))
        programs = compile_programs(model, domain, config, config.topology, config.length)
    except jax.errors.JaxRuntimeError as error:
        print(f"does not compile for {config.topology}: {error}", file=sys.stderr)
        print("For less memory: lower adapt.slots, adapt.batch_size, decode.slots or length, or set adapt.remat.")
        return 1
    print(describe(programs, config.topology))
    if config.json:
        Path(config.json).write_text(json.dumps([dataclasses.asdict(p) for p in programs], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
