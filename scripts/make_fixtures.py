"""Small random models of transformers' torch code, with the logits they give, for tests that have no torch.

    .venv-parity/bin/python scripts/make_fixtures.py        (after `make test-parity`)

Writes one tests/fixtures/NAME.npz per entry of FIXTURES: the Hugging Face
config as JSON, every tensor under `tensor/` (float16 holds them exactly), tokens and float32 logits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "fixtures"
CLASSES = {
    "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM),
    "mistral": (transformers.MistralConfig, transformers.MistralForCausalLM),
    "qwen2": (transformers.Qwen2Config, transformers.Qwen2ForCausalLM),
    "qwen3": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
}
FIXTURES: dict[str, dict[str, Any]] = {
    "llama_grouped_tied": {
        "family": "llama",
        "hidden_size": 24,
        "intermediate_size": 40,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 12,
        "vocab_size": 260,  # past the width where tokens are looked up by a one-hot matmul
        "tie_word_embeddings": True,
    },
    "llama_untied": {
        "family": "llama",
        "hidden_size": 36,
        "intermediate_size": 28,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 20,
        "rope_theta": 500_000.0,
        "rms_norm_eps": 1e-2,
        "tie_word_embeddings": False,
    },
    "qwen3_one_key_head": {
        "family": "qwen3",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 16,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": False,
    },
    "llama3_scaled": {
        "family": "llama",
        "hidden_size": 18,
        "intermediate_size": 22,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 14,
        "attention_bias": True,
        "mlp_bias": True,
        "rope_theta": 300.0,
        # So short a first training that all three kinds of pairs (kept, blended, slowed) turn within the fixture.
        "rope_scaling": {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
        "tie_word_embeddings": True,
    },
    "mistral_windowed": {
        "family": "mistral",
        "hidden_size": 20,
        "intermediate_size": 30,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 6,
        "sliding_window": 7,
        "rope_theta": 2_000.0,
        "tie_word_embeddings": False,
    },
    "qwen2_biased": {
        "family": "qwen2",
        "hidden_size": 32,
        "intermediate_size": 24,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "use_sliding_window": True,
        "sliding_window": 5,
        "max_window_layers": 1,
        "rope_theta": 5_000.0,
        "rope_scaling": {"rope_type": "linear", "factor": 3.0},
        "tie_word_embeddings": True,
    },
}


def random_model(family: str, seed: int, **fields: Any) -> Any:
    """A torch model with every tensor random, the norms included; float32 that float16 can hold.

    Args:
      family: a key of CLASSES.
      seed: of torch's generator.
      fields: of its config; two layers and 40 tokens where not given.
    """
    config_class, model_class = CLASSES[family]
    theta = fields.pop("rope_theta", 10_000.0)
    fields = {"vocab_size": 40, "num_hidden_layers": 2, "max_position_embeddings": 256, **fields}
    scaling = fields.pop("rope_scaling", None) or {"rope_type": "default"}
    fields |= {"rope_parameters": {"rope_theta": theta, **scaling}}
    fields |= {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    torch.manual_seed(seed)
    model = model_class(config_class(**fields, attn_implementation="eager")).float().eval()
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            if "norm" in name:
                value = 1 + 0.3 * torch.randn_like(tensor)
            elif name.endswith("bias"):
                value = 0.5 * torch.randn_like(tensor)
            else:
                # Large enough for attention to be far from uniform.
                value = torch.randn_like(tensor) * (1.0 if "embed" in name else 1.5 * tensor.shape[-1] ** -0.5)
            tensor.copy_(value.half())
    return model


def tensors(model: Any) -> dict[str, np.ndarray]:
    """The checkpoint of a torch model; a tied head is not written twice."""
    state = model.state_dict()
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    return {name: tensor.detach().float().numpy() for name, tensor in state.items()}


def logits(model: Any, tokens: np.ndarray) -> np.ndarray:
    """float32[batch, length, vocab] for int32[batch, length]."""
    with torch.no_grad():
        return model(torch.from_numpy(tokens.astype(np.int64)), use_cache=False).logits.float().numpy()


def main() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    for seed, (name, fields) in enumerate(FIXTURES.items()):
        model = random_model(seed=seed, **fields)
        config = {k: v for k, v in model.config.to_diff_dict().items() if k != "transformers_version"}
        tokens = np.random.default_rng(seed).integers(0, model.config.vocab_size, (2, 23), dtype=np.int32)
        arrays = {f"tensor/{key}": value.astype(np.float16) for key, value in tensors(model).items()}
        path = FOLDER / f"{name}.npz"
        np.savez_compressed(
            path, config=json.dumps(config, sort_keys=True), tokens=tokens, logits=logits(model, tokens), **arrays
        )
        print(f"{path.name}: {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
