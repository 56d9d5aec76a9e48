"""Writes a random checkpoint in Hugging Face layout, in shards, never holding more than one of them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from ttt_jax.model.config import ModelConfig
from ttt_jax.model.hf import config_from_hf, tensor_shapes
from ttt_jax.tokenizers.text import TextTokenizer

LLAMA = {
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rope_theta": 10_000.0,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}


def byte_tokenizer(vocab_size: int = 300) -> TextTokenizer:
    """A tokenizer of single bytes, with <bos>, <eos> and a few merges, that fits in `vocab_size` tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("i", "n")]
    words = ["<bos>", "<eos>", *letters, *(a + b for a, b in merges)]
    assert len(words) <= vocab_size
    core = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens([AddedToken("<bos>", special=True), AddedToken("<eos>", special=True)])
    template = (
        "{{ bos_token }}{% for message in messages %}[{{ message['role'] }}] {{ message['content'] | trim }}\n"
        "{% endfor %}{% if add_generation_prompt %}[assistant] {% endif %}"
    )
    return TextTokenizer(core, {"bos_token": "<bos>", "eos_token": "<eos>"}, chat_template=template)


def write_checkpoint(folder: Path, hf: dict, *, shard_bytes: int = 1 << 20, seed: int = 0, dtype=ml_dtypes.bfloat16):
    """config.json, a tokenizer, and shards of at most `shard_bytes` (or one tensor) with an index.

    Returns:
      bytes of all tensors.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(hf))
    byte_tokenizer(max(300, hf["vocab_size"])).save(folder)
    config: ModelConfig = config_from_hf(hf)
    size = np.dtype(dtype).itemsize
    shards: list[list[str]] = [[]]
    filled = 0
    shapes = tensor_shapes(config)
    for name, shape in shapes.items():
        need = math.prod(shape) * size
        if shards[-1] and filled + need > shard_bytes:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += need
    rng = np.random.default_rng(seed)
    weight_map = {}
    for i, names in enumerate(shards):
        file = f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        save_file({name: random_tensor(rng, name, shapes[name], dtype) for name in names}, folder / file)
        weight_map |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return sum(math.prod(shape) for shape in shapes.values()) * size


def random_tensor(rng: np.random.Generator, name: str, shape: tuple[int, ...], dtype) -> np.ndarray:
    out = np.empty(shape, dtype)
    rows = out.reshape(-1, shape[-1])
    for start in range(0, len(rows), 4096):
        part = rows[start : start + 4096]
        values = rng.standard_normal(part.shape, np.float32) * shape[-1] ** -0.5
        part[:] = 1 + values if "norm" in name else values
    return out
