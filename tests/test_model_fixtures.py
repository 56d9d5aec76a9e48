"""Checkpoints of transformers' torch models give the same logits here, and bad ones are refused by name."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import jax
import numpy as np
import pytest

from ttt_jax.model.cache import Cache
from ttt_jax.model.config import BIASED, ModelConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.hf import FAMILIES, config_from_hf, params_from_hf, tensor_shapes

FIXTURES = sorted((Path(__file__).parent / "fixtures").glob("*.npz"))
PLAIN = Path(__file__).parent / "fixtures" / "llama_grouped_tied.npz"


def read(path: Path) -> tuple[dict, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """(Hugging Face config, tensors, tokens, logits) of one fixture."""
    with np.load(path) as file:
        tensors = {n.removeprefix("tensor/"): file[n].astype(np.float32) for n in file.files if n.startswith("tensor/")}
        return json.loads(str(file["config"])), tensors, file["tokens"], file["logits"]


@pytest.fixture
def checkpoint() -> tuple[dict, dict[str, np.ndarray]]:
    config, tensors, _, _ = read(PLAIN)
    return config, tensors


def test_fixtures_cover_every_feature_of_every_family() -> None:
    configs = [config_from_hf(read(path)[0]) for path in FIXTURES]
    assert {read(path)[0]["model_type"] for path in FIXTURES} == set(FAMILIES)
    assert {c.tie_embeddings for c in configs} == {True, False}
    assert {c.qk_norm for c in configs} == {True, False}
    assert {c.num_heads // c.num_kv_heads for c in configs} >= {1, 2, 3}
    assert len({c.rope.theta for c in configs}) == len(configs)
    assert {c.biases for c in configs} == {(), ("q", "k", "v"), BIASED}
    assert {c.rope.scaling and c.rope.scaling.by_wavelength for c in configs} == {None, False, True}
    assert {c.windowed_layers for c in configs if c.sliding_window} == {None, (1,)}


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


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_both_spellings_of_rope_settings_read_the_same(path: Path) -> None:
    new = read(path)[0]
    old = {name: value for name, value in new.items() if name != "rope_parameters"}
    rope = dict(new["rope_parameters"])
    old["rope_theta"], kind = rope.pop("rope_theta"), rope.pop("rope_type")
    assert config_from_hf({**old, "rope_scaling": rope and {"rope_type": kind, **rope}}) == config_from_hf(new)
    assert config_from_hf({**old, "rope_scaling": rope and {"type": kind, **rope}}) == config_from_hf(new)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_a_config_of_ours_survives_json(path: Path) -> None:
    config = config_from_hf(read(path)[0])
    assert ModelConfig.from_dict(json.loads(json.dumps(asdict(config)))) == config


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_decoding_with_a_cache_gives_the_same_logits(path: Path) -> None:
    """Prompts of two lengths, right-padded, then token by token past the window; padding is no distance."""
    hf, tensors, tokens, expected = read(path)
    config = config_from_hf(hf)
    model, params = Decoder(config), {"params": params_from_hf(tensors, config)}
    lengths, end = np.array([11, 4]), tokens.shape[1]
    cache = Cache.empty(config, 2, end + 8, np.float32)
    rows = np.arange(2)

    @jax.jit
    def read_on(tokens, positions, cache):
        hidden, cache = model.apply(params, tokens, positions, None, cache, method="hidden")
        return model.apply(params, hidden, method="logits"), cache

    prompt = np.where(np.arange(11) < lengths[:, None], tokens[:, :11], 0)
    positions = np.broadcast_to(np.arange(11)[None, :, None], (2, 11, 1))
    hidden, cache = model.apply(params, prompt, positions, None, cache, method="hidden")
    logits = model.apply(params, hidden, method="logits")
    cache = cache.with_prompt_lengths(lengths)
    np.testing.assert_allclose(logits[rows, lengths - 1], expected[rows, lengths - 1], atol=1e-4, rtol=0)
    for step in range(end - lengths.max()):
        at = lengths + step
        logits, cache = read_on(tokens[rows, at][:, None], at[:, None, None], cache)
        np.testing.assert_allclose(logits[:, 0], expected[rows, at], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2'"),
        ({"model_type": "gemma3_text", "hidden_activation": "gelu_pytorch_tanh"}, "model_type 'gemma3_text'"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"sliding_window": 128, "use_sliding_window": True}, "sliding_window 128"),
        ({"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0}}, "has no low_freq_factor"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4, "factor": 8.0}}, "rope_parameters .*yarn"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "no rope_theta"),
        ({"rope_parameters": None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_scaling .*dynamic"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "both rope_parameters and rope_scaling"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ({"layer_types": ["full_attention", "linear_attention"]}, "layer_types"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor 0.5"),
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
