"""A tiny tokenizer and text model, and a small benchmark in BIG-Bench Hard's format, for tests."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import tokenizers
from tokenizers import decoders, models, pre_tokenizers

from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import save_model
from ttt_jax.tokenizers.text import TextTokenizer

WORDS = (" True", " False", " (A)", " (B)", "Q:", "A:", " not", " and", "\n\n")


def tiny_tokenizer(newline: bool = True) -> TextTokenizer:
    """Bytes, a few merged words, and an end of text; without `newline` no token is a newline alone."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: i for i, symbol in enumerate(alphabet)}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        symbols = [_byte_symbol(byte) for byte in word.encode()]
        made = symbols[0]
        for symbol in symbols[1:]:
            if (made, symbol) not in merges:
                merges.append((made, symbol))
            made += symbol
            vocabulary.setdefault(made, len(vocabulary))
    core = tokenizers.Tokenizer(models.BPE(vocabulary, merges))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=not newline, use_regex=newline)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(["<end>"])
    return TextTokenizer(core, {"eos_token": "<end>"})


def _byte_symbol(byte: int) -> str:
    core = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    if byte < 128:
        return core.pre_tokenize_str(chr(byte))[0][0]
    raise ValueError("only ASCII words")


def tiny_text_config(tokenizer: TextTokenizer) -> ModelConfig:
    return ModelConfig(
        vocab_size=tokenizer.vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=8,
        rope=RopeConfig(theta=(10_000.0,), pairs=(4,)),
    )


def tiny_text_model(folder: Path, tokenizer: TextTokenizer | None = None) -> Path:
    """A directory with random weights and the tokenizer beside them."""
    tokenizer = tokenizer or tiny_tokenizer()
    config = tiny_text_config(tokenizer)
    params = Decoder(config).init(jax.random.key(5), jnp.zeros((1, 2), jnp.int32))["params"]
    save_model(folder, config, params, tokenizer, dtype=jnp.float32)
    return folder


def boolean_examples(count: int) -> list[dict[str, str]]:
    """`not True and False is` and the like, each with its value; distinct."""
    examples = []
    for n in range(count):
        bits = [bool(n >> i & 1) for i in range(3)]
        x = f"{bits[0]} and not {bits[1]} and {bits[2]} is #{n}"
        examples.append({"input": x, "target": str(bits[0] and not bits[1] and bits[2])})
    return examples


def choice_examples(count: int) -> list[dict[str, str]]:
    return [
        {
            "input": f"Which is right?\nOptions:\n(A) {n}\n(B) {n + n % 2}",
            "target": "(B)" if n % 2 else "(A)",
        }
        for n in range(count)
    ]


def write_bbh(folder: Path, files: Mapping[str, Sequence[Mapping[str, str]]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, examples in files.items():
        (folder / f"{name}.json").write_text(json.dumps({"canary": "none", "examples": list(examples)}))
    return folder
