"""Models and adapters from one layout to another: the work of scripts/convert_checkpoint.py."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax.numpy as jnp
from safetensors import SafetensorError
from safetensors.flax import load_file

from ttt_jax.config import LoraConfig, RunConfig
from ttt_jax.config_loader import ConfigError, from_yaml
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.errors import ModelError
from ttt_jax.model.hf_export import export_hf
from ttt_jax.model.io import load_config, load_model, resolve, save_model
from ttt_jax.model.lora import Adapter, merge_adapter, untie
from ttt_jax.model.peft_io import SETTINGS, load_adapter, save_adapter
from ttt_jax.model.tree import unflatten


@dataclass(frozen=True)
class ConvertConfig:
    """What to read and what to write."""

    model: str = "smollm2-135m-instruct"
    """A shipped name, a directory in Hugging Face layout or in ours, or a .gguf file."""
    adapter: str | None = None
    """A PEFT directory, or RUN_DIR/adapters/TASK.safetensors of a run that saved its adapters."""
    merge: bool = True
    """Fold the adapter into the model; false writes the adapter alone, as a PEFT directory."""
    output: str = "converted"
    """The directory that is written."""
    format: Literal["huggingface", "ttt_jax"] = "huggingface"
    dtype: Literal["bfloat16", "float16", "float32", "int8"] = "bfloat16"
    """int8 (in our own layout) stores the kernels of layers in 8 bits, with a scale for each output."""


def convert(config: ConvertConfig) -> str:
    """Reads a model, merges an adapter or writes it alone, and writes the other layout.

    Returns:
      a sentence that says what was written.

    Raises:
      ModelError: something cannot be read, does not fit, or has no counterpart in the other layout.
    """
    output = Path(config.output)
    if output.resolve() == resolve(config.model).resolve():
        raise ModelError(f"output: {output} is the model that is read; write elsewhere")
    if config.adapter is not None and not config.merge:
        shape, _ = load_config(resolve(config.model))
        adapter, lora = read_adapter(config.adapter, shape)
        save_adapter(output, adapter, lora, base=config.model)
        return f"{output}: adapter of rank {lora.rank} on {', '.join(lora.targets)}, in PEFT's layout"

    dtype = jnp.dtype(config.dtype)
    if dtype == jnp.int8 and config.format != "ttt_jax":
        raise ModelError("dtype: int8 is a type of our own layout alone; add --format ttt_jax")
    # An adapter is added in full precision; without one, nothing is computed.
    model, params, tokenizer = load_model(
        config.model, dtype if config.adapter is None and dtype != jnp.int8 else jnp.float32
    )
    shape = model.config
    if config.adapter is not None:
        adapter, lora = read_adapter(config.adapter, shape)
        if "head" in adapter:
            shape, params = untie(shape, params)
        params = merge_adapter(params, adapter, lora.scale)
    if config.format == "huggingface":
        export_hf(output, shape, params, tokenizer, dtype)
    else:
        text = hasattr(tokenizer, "save")
        save_model(output, shape, params, tokenizer if text else load_config(resolve(config.model))[1], dtype)
    merged = "" if config.adapter is None else f", {config.adapter} merged into it"
    return f"{output}: {config.model} in {config.dtype}, {config.format} layout{merged}"


def read_adapter(path: str | Path, config: ModelConfig) -> tuple[Adapter, LoraConfig]:
    """An adapter from a PEFT directory, or from the directory of a run, whose config.yaml says its scale.

    Raises:
      ModelError: it is neither, or does not fit the model.
    """
    path = Path(path)
    if (path / SETTINGS).is_file():
        return load_adapter(path, config)
    settings = path.parent.parent / "config.yaml"
    if path.suffix != ".safetensors" or not settings.is_file():
        raise ModelError(
            f"adapter: {path} is neither a directory with {SETTINGS} nor RUN_DIR/adapters/TASK.safetensors"
        )
    try:
        run = from_yaml(RunConfig, settings)
        trained: dict[str, Any] = unflatten(load_file(path))
    except (ConfigError, OSError, SafetensorError) as error:
        raise ModelError(f"adapter: {path}: {error}") from error
    if "lora" not in trained:
        raise ModelError(f"adapter: {path} holds {', '.join(trained)}: that run adapted all weights, not an adapter")
    return trained["lora"], run.adapt.lora
