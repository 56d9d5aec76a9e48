"""Checkpoints of transformers' torch models give the same logits here, and bad ones are refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from ttt_jax.model.config import ModelConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.hf import config_from_hf, params_from_hf, tensor_shapes

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.npz"))


def read(path: Path) -> tuple[dict, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(Hugging Face config, tensors, tokens, logits) of one fixture."""
    with np.load(path) as file:
        tensors = {n.removeprefix("tensor/"): file[n].astype(np.float32) for n in file.files if n.startswith("tensor/")}
        return json.loads(str(file["config"])), tensors, file["tokens"], file["logits"]


@pytest.fixture
def checkpoint() -> tuple[dict, dict[str, np.ndarray]]:
    config, tensors, _, _ = read(FIXTURES[0])
    return config, tensors


def test_fixtures_cover_grouped_heads_both_heads_of_the_vocabulary_and_query_norms() -> None:
    configs = [config_from_hf(read(path)[0]) for path in FIXTURES]
    assert {c.tie_embeddings for c in configs} == {True, False}
    assert {c.qk_norm for c in configs} == {True, False}
    assert {c.num_heads // c.num_kv_heads for c in configs} >= {1, 2, 3}
    assert len({c.rope.theta for c in configs}) == len({c.head_dim for c in configs}) == len(configs)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_logits_equal_those_of_transformers(path: Path) -> None:
    hf, tensors, tokens, expected = read(path)
    config = config_from_hf(hf)
    params = params_from_hf(tensors, config)
    actual = jax.jit(Decoder(config).apply)({"params": params}, tokens)
    np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_params_have_the_tree_and_shapes_of_a_fresh_model(path: Path) -> None:
    hf, tensors, tokens, _ = read(path)
    config = config_from_hf(hf)
    fresh = jax.eval_shape(lambda: Decoder(config).init(jax.random.key(0), tokens))["params"]
    loaded = params_from_hf(tensors, config)
    assert jax.tree.map(np.shape, loaded) == jax.tree.map(lambda leaf: leaf.shape, fresh)


def test_both_spellings_of_rope_settings_read_the_same(checkpoint) -> None:
    new, _ = checkpoint
    old = {**new, "rope_theta": new["rope_parameters"]["rope_theta"], "rope_scaling": None}
    del old["rope_parameters"]
    assert config_from_hf(old) == config_from_hf(new)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'"),
        ({"attention_bias": True}, "attention_bias True"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"sliding_window": 128, "use_sliding_window": True}, "sliding_window 128"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}, "rope_parameters .*llama3"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "no rope_theta"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling .*linear"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
    ],
    ids=str,
)
def test_a_config_that_the_decoder_does_not_compute_is_refused(checkpoint, change, complaint) -> None:
    hf, _ = checkpoint
    with pytest.raises(ValueError, match=complaint):
        config_from_hf({**hf, **change})


def test_a_config_without_a_width_is_refused(checkpoint) -> None:
    hf, _ = checkpoint
    with pytest.raises(ValueError, match="no hidden_size"):
        config_from_hf({name: value for name, value in hf.items() if name != "hidden_size"})


def test_missing_extra_and_misshapen_tensors_are_all_named(checkpoint) -> None:
    hf, tensors = checkpoint
    config = config_from_hf(hf)
    del tensors["model.layers.0.self_attn.k_proj.weight"]
    tensors["model.layers.1.self_attn.q_proj.bias"] = np.zeros(4, np.float32)
    tensors["model.norm.weight"] = np.zeros(7, np.float32)
    with pytest.raises(ValueError) as refusal:
        params_from_hf(tensors, config)
    message = str(refusal.value)
    assert "missing model.layers.0.self_attn.k_proj.weight" in message
    assert "unexpected model.layers.1.self_attn.q_proj.bias" in message
    assert f"model.norm.weight has shape (7,), expected ({config.hidden_size},)" in message


def test_a_tied_head_may_be_written_twice_but_must_be_the_embedding() -> None:
    config = ModelConfig(
        vocab_size=5, hidden_size=4, intermediate_size=3, num_layers=1, num_heads=1, num_kv_heads=1, head_dim=4
    )
    tensors = {name: np.ones(shape, np.float32) for name, shape in tensor_shapes(config).items()}
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    assert "head" not in params_from_hf(tensors, config)
    tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1
    with pytest.raises(ValueError, match=r"lm_head\.weight differs"):
        params_from_hf(tensors, config)
