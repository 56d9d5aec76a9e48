"""Writes a model, with or without an adapter, in another layout.

    python scripts/convert_checkpoint.py --model smollm2-135m-instruct --output smollm2-hf
    python scripts/convert_checkpoint.py --model DIR --adapter PEFT_DIR --output merged --dtype float32
    python scripts/convert_checkpoint.py --model DIR --adapter RUN_DIR/adapters/TASK.safetensors --merge false

Reads Hugging Face directories, .gguf files, shipped models and our own
directories; writes Hugging Face directories, ours (`--format ttt_jax`) and
PEFT adapters. Leaves with status 2 and one line where that cannot be.
"""

import sys

from ttt_jax.config_loader import load_config
from ttt_jax.model.convert import ConvertConfig, convert
from ttt_jax.model.errors import ModelError


def main(argv: list[str] | None = None) -> int:
    config = load_config(ConvertConfig, argv)
    try:
        print(convert(config))
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
