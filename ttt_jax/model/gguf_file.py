"""GGUF files of the Llama family: their metadata as a config, their tensors under Hugging Face's names.

Source: the GGUF specification and the `gguf` package of ggml-org/llama.cpp, which reads and dequantises.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ttt_jax.model.checkpoint_stream import Index
from ttt_jax.model.config import ModelConfig, RopeConfig, RopeScaling
from ttt_jax.model.errors import ModelError
from ttt_jax.model.rope import scale_rates

# Whether the rows of q and k are in the order of interleaved rope: pair i turns (x[2i], x[2i + 1]).
INTERLEAVED = {"llama": True, "qwen2": False, "qwen3": False}

_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_BIASES = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
_BIASES |= {"gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
# Rope scaling of Llama 3.1 and later; a GGUF file holds the divisors that follow from it instead.
_LLAMA3: dict[str, Any] = dict(low_freq_factor=1.0, high_freq_factor=4.0, original_length=8192)
ROPE_DIVISORS = "rope_freqs.weight"


class GGUFSource:
    """The tensors of a .gguf file as a checkpoint in Hugging Face's names and layout.

    Attributes:
      path: the file.
      metadata: its key-value pairs.
      shapes: `[out, in]` of every tensor that is a parameter.

    Raises:
      ModelError: the file is not GGUF, or of another architecture.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        try:
            status = self.path.stat()
            reader = _open(self.path, status.st_size, status.st_mtime_ns)
        except (OSError, ValueError, IndexError, KeyError) as error:
            raise ModelError(f"{self.path}: not a GGUF file: {error}") from error
        self.fields = reader.fields
        self.architecture = self.get("general.architecture")
        if self.architecture not in INTERLEAVED:
            known = ", ".join(INTERLEAVED)
            raise ModelError(f"{self.path}: general.architecture {self.architecture!r} is not one of {known}")
        self.tensors = {_hf_name(tensor.name): tensor for tensor in reader.tensors}
        self.divisors = self.tensors.pop(ROPE_DIVISORS, None)
        self.shapes = {name: tuple(int(n) for n in t.shape[::-1]) for name, t in self.tensors.items()}

    def get(self, key: str, default: Any = None) -> Any:
        """A metadata value; `{}` in the key stands for the architecture."""
        field = self.fields.get(key.format(getattr(self, "architecture", "")))
        return default if field is None else field.contents()

    def need(self, key: str) -> Any:
        if (value := self.get(key)) is None:
            raise ModelError(f"{self.path}: no {key.format(self.architecture)} in the metadata")
        return value

    @cached_property
    def config(self) -> ModelConfig:
        heads, hidden = self.need("{}.attention.head_count"), self.need("{}.embedding_length")
        head_dim = self.get("{}.attention.key_length", hidden // heads)
        if (turned := self.get("{}.rope.dimension_count", head_dim)) != head_dim:
            raise ModelError(f"{self.path}: rope turns {turned} of {head_dim} head dimensions; only all are supported")
        if "model.embed_tokens.weight" not in self.shapes:
            raise ModelError(f"{self.path}: no token_embd.weight")
        names = {name.removeprefix("model.layers.0.") for name in self.shapes}
        return ModelConfig(
            vocab_size=self.shapes["model.embed_tokens.weight"][0],
            hidden_size=hidden,
            intermediate_size=self.need("{}.feed_forward_length"),
            num_layers=self.need("{}.block_count"),
            num_heads=heads,
            num_kv_heads=self.get("{}.attention.head_count_kv", heads),
            head_dim=head_dim,
            rope=RopeConfig(theta=(float(self.get("{}.rope.freq_base", 10_000.0)),), scaling=self._scaling(head_dim)),
            # Stored in single precision: 1e-5 comes back as 9.99999974e-06.
            norm_eps=float(np.format_float_scientific(np.float32(self.need("{}.attention.layer_norm_rms_epsilon")))),
            qk_norm="self_attn.q_norm.weight" in names,
            tie_embeddings="lm_head.weight" not in self.shapes,
            biases=tuple(ours for ours, theirs in _BIASES.items() if f"{_LAYER[theirs]}.bias" in names),
            sliding_window=self.get("{}.attention.sliding_window"),
        )

    def _scaling(self, head_dim: int) -> RopeScaling | None:
        kind = self.get("{}.rope.scaling.type", "none")
        if self.divisors is not None:
            divisors = np.asarray(self.divisors.data, np.float32)
            scaling = RopeScaling(factor=float(divisors.max()), **_LLAMA3)
            rates = float(self.get("{}.rope.freq_base", 10_000.0)) ** (-np.arange(head_dim // 2) / (head_dim // 2))
            expected = rates / scale_rates(rates, scaling)
            if divisors.shape != expected.shape or not np.allclose(divisors, expected, rtol=1e-3):
                raise ModelError(f"{self.path}: {ROPE_DIVISORS} is not the rope scaling of Llama 3.1")
            return scaling
        if kind == "linear":
            return RopeScaling(factor=float(self.need("{}.rope.scaling.factor")))
        if kind != "none":
            raise ModelError(f"{self.path}: rope scaling {kind!r} is not supported, only linear and that of Llama 3.1")
        return None

    def read(self, name: str, index: Index) -> np.ndarray:
        """A part of a tensor, dequantised."""
        from gguf.quants import dequantize

        tensor, (rows, *columns) = self.tensors[name], index
        data = tensor.data[self._row_order(name)[rows] if self._turned(name) else rows]
        try:
            values = dequantize(data, tensor.tensor_type)
        except NotImplementedError as error:
            kind = tensor.tensor_type.name
            raise ModelError(f"{self.path}: {tensor.name} is {kind}, which gguf does not dequantise") from error
        return values[(slice(None), *columns)]

    def _turned(self, name: str) -> bool:
        return INTERLEAVED[self.architecture] and ("self_attn.q_proj" in name or "self_attn.k_proj" in name)

    def _row_order(self, name: str) -> np.ndarray:
        """Where each row of q or k, in the half-split layout of rope, lies in the interleaved one."""
        rows = np.arange(self.shapes[name][0])
        return rows.reshape(-1, self.config.head_dim // 2, 2).swapaxes(1, 2).reshape(-1)


@lru_cache(maxsize=1)
def _open(path: Path, size: int, modified: int) -> Any:
    """A reader of the file, made once for config, tokenizer and weights: indexing a vocabulary takes seconds."""
    import gguf

    return gguf.GGUFReader(path)


def _hf_name(name: str) -> str:
    """`blk.3.attn_q.weight` -> `model.layers.3.self_attn.q_proj.weight`; unknown names stay as they are."""
    module, _, kind = name.rpartition(".")
    if module in _TOP:
        return f"{_TOP[module]}.{kind}"
    block, _, rest = module.partition(".")
    index, _, part = rest.partition(".")
    return f"model.layers.{index}.{_LAYER[part]}.{kind}" if block == "blk" and part in _LAYER else name
