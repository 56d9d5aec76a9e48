"""Adapters in PEFT's layout: saved and loaded they are the same; what is more than plain LoRA is refused."""

from __future__ import annotations

import json
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.test_convert import random_adapter
from ttt_jax.config import LoraConfig
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.io import ModelError
from ttt_jax.model.peft_io import load_adapter, save_adapter

CONFIG = ModelConfig(
    vocab_size=20, hidden_size=12, intermediate_size=16, num_layers=2, num_heads=2, num_kv_heads=1, head_dim=6
)
Q = "base_model.model.model.layers.1.self_attn.q_proj.lora_A.weight"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    lora = LoraConfig(rank=2, alpha=3.0, targets=("q", "v", "up"))
    save_adapter(tmp_path, random_adapter(CONFIG, lora), lora, base="some/model")
    return tmp_path


@pytest.mark.parametrize("rslora", [True, False])
@pytest.mark.parametrize("targets", [("q", "k", "v", "o", "gate", "up", "down", "head"), ("up",), ("head",)])
def test_saved_and_loaded_it_is_the_same(rslora: bool, targets: tuple[str, ...], tmp_path: Path) -> None:
    lora = LoraConfig(rank=5, alpha=2.5, rslora=rslora, targets=targets, dropout=0.25)
    adapter = random_adapter(CONFIG, lora)
    save_adapter(tmp_path, adapter, lora)
    loaded, settings = load_adapter(tmp_path, CONFIG)
    assert settings == lora
    jax.tree.map(np.testing.assert_array_equal, loaded, adapter)


def test_tensors_have_the_names_and_layout_of_peft(saved: Path) -> None:
    tensors = load_file(saved / "adapter_model.safetensors")
    assert tensors[Q].shape == (2, 12)
    assert tensors["base_model.model.model.layers.0.mlp.up_proj.lora_B.weight"].shape == (16, 2)
    settings = json.loads((saved / "adapter_config.json").read_text())
    assert settings["target_modules"] == ["q_proj", "v_proj", "up_proj"]
    assert (settings["r"], settings["lora_alpha"], settings["base_model_name_or_path"]) == (2, 3.0, "some/model")


@pytest.mark.parametrize(
    "change",
    [
        {"use_dora": True}, {"bias": "all"}, {"peft_type": "IA3"}, {"alpha_pattern": {"q_proj": 4}},
        {"rank_pattern": {"q_proj": 4}}, {"modules_to_save": ["lm_head"]}, {"fan_in_fan_out": True},
    ],
    ids=str,
)  # fmt: skip
def test_more_than_plain_lora_is_refused_by_name(change: dict, saved: Path) -> None:
    file = saved / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=f"adapter_config.json: {next(iter(change))}"):
        load_adapter(saved, CONFIG)


@pytest.mark.parametrize(
    ("name", "tensor", "complaint"),
    [
        (Q, None, "without the other factor"),
        (Q, np.zeros((2, 13), np.float32), r"expected \(2, 12\)"),
        (Q.replace(".1.", ".2."), np.zeros((2, 12), np.float32), "no such layer"),
        (Q.replace("q_proj", "qkv"), np.zeros((2, 12), np.float32), "no such layer"),
        ("base_model.model.lm_head.lora_magnitude", np.zeros(2, np.float32), "unexpected"),
    ],
)
def test_factors_that_do_not_fit_are_named(name: str, tensor, complaint: str, saved: Path) -> None:
    file = saved / "adapter_model.safetensors"
    tensors = load_file(file)
    if tensor is None:
        del tensors[name]
    else:
        tensors[name] = tensor
    save_file(tensors, file)
    with pytest.raises(ModelError, match=complaint):
        load_adapter(saved, CONFIG)


def test_a_stack_of_adapters_is_not_one_adapter(tmp_path: Path) -> None:
    lora = LoraConfig(rank=2, alpha=2.0)
    stacked = jax.tree.map(lambda leaf: leaf[None], random_adapter(CONFIG, lora))
    with pytest.raises(ModelError, match="not of one task"):
        save_adapter(tmp_path, stacked, lora)


@pytest.mark.parametrize("text", ["", "[]", '{"r": 2}'])
def test_settings_that_cannot_be_read_are_refused(text: str, saved: Path) -> None:
    (saved / "adapter_config.json").write_text(text)
    with pytest.raises(ModelError, match=r"adapter_config\.json: cannot be read"):
        load_adapter(saved, CONFIG)
