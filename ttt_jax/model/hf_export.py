"""Our parameters as a Hugging Face directory, which transformers and other libraries load."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file

from ttt_jax.model.checkpoint_stream import WEIGHTS, WEIGHTS_INDEX
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.errors import ModelError
from ttt_jax.model.hf import config_from_hf, our_name, rope_scaling_to_hf, tensor_shapes
from ttt_jax.model.tree import flatten

SHARD_BYTES = 5 << 30
_ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}


def config_to_hf(config: ModelConfig) -> dict[str, Any]:
    """The config.json of the family that computes what `config` says.

    Rope is in the spelling of transformers 4, which transformers 5 reads too.

    Raises:
      ModelError: no family has this combination of features.
    """
    c = config
    if c.rope.axes != 1:
        raise ModelError(f"a model with {c.rope.axes} position axes has no counterpart among Hugging Face's families")
    c = replace(c, rope=replace(c.rope, pairs=None))  # with one axis, all pairs are its
    fields: dict[str, Any] = {
        "vocab_size": c.vocab_size,
        "hidden_size": c.hidden_size,
        "intermediate_size": c.intermediate_size,
        "num_hidden_layers": c.num_layers,
        "num_attention_heads": c.num_heads,
        "num_key_value_heads": c.num_kv_heads,
        "head_dim": c.head_dim,
        "hidden_act": "silu",
        "rms_norm_eps": c.norm_eps,
        "rope_theta": c.rope.theta[0],
        "rope_scaling": rope_scaling_to_hf(c.rope.scaling),
        "tie_word_embeddings": c.tie_embeddings,
        "attention_bias": {"q", "k", "v", "o"} <= set(c.biases),
        "mlp_bias": {"gate", "up", "down"} <= set(c.biases),
    }
    for family, architecture in _ARCHITECTURES.items():
        hf = {"model_type": family, "architectures": [architecture], **fields, **_window_to_hf(c, family)}
        try:
            if config_from_hf(hf) == c:
                return hf
        except ValueError:
            continue
    raise ModelError(f"none of {', '.join(_ARCHITECTURES)} has this combination of features: {config}")


def _window_to_hf(c: ModelConfig, family: str) -> dict[str, Any]:
    """The fields in which a family states its sliding window."""
    if family == "mistral":
        # On every layer, and of 4096 where the field is absent.
        return {"sliding_window": c.sliding_window}
    if c.sliding_window is None:
        return {}
    windowed = range(c.num_layers) if c.windowed_layers is None else c.windowed_layers
    kinds = ["sliding_attention" if i in windowed else "full_attention" for i in range(c.num_layers)]
    fields = {"sliding_window": c.sliding_window, "use_sliding_window": True, "layer_types": kinds}
    return {**fields, "max_window_layers": min(windowed, default=c.num_layers)}


def export_hf(
    path: str | Path,
    config: ModelConfig,
    params: Any,
    tokenizer: Any = None,
    dtype: Any = jnp.bfloat16,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes config.json, safetensors (in shards with an index where they are large) and the tokenizer.

    Args:
      path: a directory, made where it is missing.
      params: base parameters, quantised or not, with an adapter merged into
        them or not (`ttt_jax.model.lora.merge_adapter`).
      tokenizer: a `TextTokenizer`, or None for weights alone.
      dtype: of the written tensors.
      shard_bytes: of a file at most, or one tensor; the host holds one shard at a time.

    Raises:
      ModelError: no family of Hugging Face's computes this model.
    """
    path = Path(path)
    hf = config_to_hf(config) | {"dtype": jnp.dtype(dtype).name, "torch_dtype": jnp.dtype(dtype).name}
    path.mkdir(parents=True, exist_ok=True)
    for stale in (*path.glob("model*.safetensors"), path / WEIGHTS_INDEX):
        stale.unlink(missing_ok=True)
    if tokenizer is not None:
        tokenizer.save(path)
        hf |= {"bos_token_id": tokenizer.bos_token, "eos_token_id": list(tokenizer.stop_tokens) or None}
    (path / "config.json").write_text(json.dumps(hf, indent=2) + "\n")

    flat = flatten(params)
    shards = _shards(tensor_shapes(config), jnp.dtype(dtype).itemsize, shard_bytes)
    weight_map: dict[str, str] = {}
    for i, names in enumerate(shards):
        file = WEIGHTS if len(shards) == 1 else f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        tensors = {name: _tensor(flat[our_name(name)], our_name(name), dtype) for name in names}
        save_file(tensors, path / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    if len(shards) > 1:
        size = sum(math.prod(shape) for shape in tensor_shapes(config).values()) * jnp.dtype(dtype).itemsize
        index = {"metadata": {"total_size": size}, "weight_map": weight_map}
        (path / WEIGHTS_INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _tensor(leaf: Any, name: str, dtype: Any) -> np.ndarray:
    array = np.asarray(leaf.astype(dtype))
    return np.ascontiguousarray(array.T) if name.endswith(".kernel") else array


def _shards(shapes: dict[str, tuple[int, ...]], itemsize: int, limit: int) -> list[list[str]]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name, shape in shapes.items():
        size = math.prod(shape) * itemsize
        if shards[-1] and filled + size > limit:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    return shards
