"""Live comparison of logits and greedy decoding with transformers' torch models on random configs."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch

from scripts import make_fixtures as reference
from ttt_jax.decode.generate import Prompts, generate
from ttt_jax.decode.syntax import TextSyntax
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.hf import FAMILIES, config_from_hf, params_from_hf

pytestmark = pytest.mark.parity


SCALINGS = [
    None,
    {"rope_type": "linear", "factor": 2.5},
    {
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 64,
    },
]  # fmt: skip


def of_family(family: str, rng: np.random.Generator) -> dict[str, Any]:
    """Fields that a family has beside those of all."""
    if family == "llama":
        return {"attention_bias": bool(rng.integers(2)), "mlp_bias": bool(rng.integers(2))}
    window = int(rng.integers(1, 20))
    if family == "mistral":
        return {"sliding_window": window if rng.integers(3) else None}
    fields = {"use_sliding_window": bool(rng.integers(2)), "sliding_window": window}
    fields["max_window_layers"] = int(rng.integers(0, 3))
    return fields | ({"attention_bias": bool(rng.integers(2))} if family == "qwen3" else {})


def random_pair(seed: int):
    """(torch model, our model, its parameters) of a config drawn from `seed`."""
    rng = np.random.default_rng(seed)
    family = FAMILIES[seed % len(FAMILIES)]
    kv_heads = int(rng.integers(1, 4))
    heads = kv_heads * int(rng.integers(1, 4))
    model = reference.random_model(
        family=family,
        seed=seed,
        vocab_size=int(rng.integers(20, 400)),
        hidden_size=heads * int(rng.integers(3, 9)),
        intermediate_size=int(rng.integers(8, 64)),
        num_hidden_layers=int(rng.integers(1, 4)),
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=2 * int(rng.integers(2, 14)),
        rope_theta=float(10 ** rng.uniform(3, 6)),
        rms_norm_eps=float(10 ** rng.uniform(-6, -2)),
        tie_word_embeddings=bool(rng.integers(2)),
        rope_scaling=SCALINGS[rng.integers(len(SCALINGS))],
        **of_family(family, rng),
    )
    config = config_from_hf(model.config.to_dict())
    return model, Decoder(config), params_from_hf(reference.tensors(model), config)


@pytest.mark.parametrize("seed", range(24))
def test_logits_equal_those_of_a_random_torch_model(seed: int) -> None:
    torch_model, model, params = random_pair(seed)
    tokens = np.random.default_rng(seed).integers(0, model.config.vocab_size, (3, 31), dtype=np.int32)
    actual = jax.jit(model.apply)({"params": params}, tokens)
    np.testing.assert_allclose(actual, reference.logits(torch_model, tokens), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("seed", range(8))
def test_greedy_decoding_writes_what_transformers_generate_writes(seed: int) -> None:
    torch_model, model, params = random_pair(seed)
    vocab, new_tokens, stop = model.config.vocab_size, 33, 0
    rng = np.random.default_rng(seed)
    lengths = np.array([[5, 17, 1], [9, 2, 12]], np.int32)
    tokens = rng.integers(1, vocab, (*lengths.shape, lengths.max()), dtype=np.int32)
    positions = np.broadcast_to(np.arange(tokens.shape[-1], dtype=np.int32)[:, None], (*tokens.shape, 1))
    ours = generate(
        model,
        params,
        None,
        Prompts(tokens, positions, lengths),
        TextSyntax(),
        stop_token=stop,
        pad_token=stop,
        max_new_tokens=new_tokens,
        chunk=16,
    )
    for index in np.ndindex(lengths.shape):
        prompt = torch.from_numpy(tokens[index][: lengths[index]].astype(np.int64))[None]
        with torch.no_grad():
            theirs = torch_model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                do_sample=False,
                max_new_tokens=new_tokens,
                eos_token_id=stop,
                pad_token_id=stop,
            )[0, lengths[index] :].numpy()
        assert ours.lengths[index] == len(theirs)
        np.testing.assert_array_equal(ours.tokens[index][: len(theirs)], theirs)
