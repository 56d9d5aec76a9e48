"""What is written here, transformers and peft load with equal logits; and what peft writes loads here."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch
import transformers

from scripts import make_fixtures as reference
from tests.parity.test_peft_adapters import LORAS, random_adapter, random_pair
from tests.parity.test_torch_models import random_pair as random_of_family
from tests.random_checkpoint import byte_tokenizer
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.hf import FAMILIES
from ttt_jax.model.hf_export import export_hf
from ttt_jax.model.io import load_model
from ttt_jax.model.lora import merge_adapter
from ttt_jax.model.peft_io import load_adapter, save_adapter

pytestmark = pytest.mark.parity
TOKENS = np.random.default_rng(0).integers(0, 20, (2, 23), dtype=np.int32)


def torch_model(path):
    model = transformers.AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32, attn_implementation="eager")
    return model.eval()


@pytest.mark.parametrize("seed", range(12))
def test_transformers_load_an_export_of_every_family_with_equal_logits(seed: int, tmp_path) -> None:
    original, model, params = random_of_family(seed)
    export_hf(tmp_path, model.config, params, dtype=jnp.float32, shard_bytes=8_000)
    loaded = torch_model(tmp_path)
    assert loaded.config.model_type in FAMILIES
    np.testing.assert_allclose(reference.logits(loaded, TOKENS), reference.logits(original, TOKENS), atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed", range(6))
def test_what_transformers_save_loads_here_with_equal_logits(seed: int, tmp_path) -> None:
    original, _, _ = random_of_family(seed)
    original.save_pretrained(tmp_path, max_shard_size="20KB")
    byte_tokenizer().save(tmp_path)
    model, params, _ = load_model(tmp_path)
    logits = jax.jit(model.apply)({"params": params}, TOKENS)
    np.testing.assert_allclose(logits, reference.logits(original, TOKENS), atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize("lora", LORAS, ids=lambda lora: f"rank{lora.rank}")
def test_transformers_load_a_merged_export_with_the_logits_of_peft(lora, tmp_path) -> None:
    peft_model, model, base, adapter = random_pair(lora)
    export_hf(tmp_path, model.config, merge_adapter(base, adapter, lora.scale), dtype=jnp.float32)
    expected = reference.logits(peft_model, TOKENS)
    np.testing.assert_allclose(reference.logits(torch_model(tmp_path), TOKENS), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("lora", LORAS, ids=lambda lora: f"rank{lora.rank}")
def test_peft_loads_an_adapter_saved_here_with_equal_logits(lora, tmp_path) -> None:
    _, model, base, _ = random_pair(lora)
    adapter = random_adapter(model.config, lora, seed=7)
    export_hf(tmp_path / "base", model.config, base, dtype=jnp.float32)
    save_adapter(tmp_path / "adapter", adapter, lora, base=str(tmp_path / "base"))
    loaded = peft.PeftModel.from_pretrained(torch_model(tmp_path / "base"), tmp_path / "adapter").eval()
    expected = model.apply({"params": base, "lora": adapter}, TOKENS)
    assert np.abs(expected - model.apply({"params": base}, TOKENS)).max() > 0.1, "the adapter does nothing"
    np.testing.assert_allclose(reference.logits(loaded, TOKENS), expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("lora", LORAS, ids=lambda lora: f"rank{lora.rank}")
def test_an_adapter_that_peft_saves_loads_here_with_equal_logits(lora, tmp_path) -> None:
    peft_model, model, base, adapter = random_pair(lora)
    peft_model.save_pretrained(tmp_path)
    loaded, settings = load_adapter(tmp_path, model.config)
    assert (settings.rank, settings.alpha, settings.rslora) == (lora.rank, lora.alpha, lora.rslora)
    assert set(settings.targets) == set(lora.targets)
    jax.tree.map(np.testing.assert_array_equal, loaded, adapter)
    ours = Decoder(model.config, lora_scale=settings.scale).apply({"params": base, "lora": loaded}, TOKENS)
    np.testing.assert_allclose(ours, reference.logits(peft_model, TOKENS), atol=1e-4, rtol=0)


def test_an_adapter_of_some_layers_alone_loads_on_those_layers(tmp_path) -> None:
    original, model, base = random_of_family(4)
    assert model.config.num_layers > 1
    settings = peft.LoraConfig(
        r=3, lora_alpha=5, target_modules=["q_proj", "down_proj"], layers_to_transform=[1], init_lora_weights=False
    )
    peft_model = peft.get_peft_model(original, settings).eval()
    peft_model.save_pretrained(tmp_path)
    adapter, lora = load_adapter(tmp_path, model.config)
    assert list(adapter) == ["layers_1"]
    ours = Decoder(model.config, lora_scale=lora.scale).apply({"params": base, "lora": adapter}, TOKENS)
    np.testing.assert_allclose(ours, reference.logits(peft_model, TOKENS), atol=1e-4, rtol=0)


def test_transformers_tokenizer_reads_what_is_saved_here_and_chats_the_same(tmp_path) -> None:
    ours = byte_tokenizer()
    ours.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text, chat = "In the end, thé <eos> thing", [{"role": "user", "content": " Hi <b> & 'you' "}]
    assert theirs(text)["input_ids"] == ours.encode(text)
    assert theirs.decode(ours.encode(text), skip_special_tokens=True) == ours.decode(ours.encode(text))
    assert theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == ours.render_chat(chat)
    assert (theirs.bos_token_id, theirs.eos_token_id) == (ours.bos_token, ours.eos_token)


def test_smollm2_from_gguf_equals_transformers_own_reading_of_it() -> None:
    from ttt_jax.model.io import resolve

    file = resolve("smollm2-135m-instruct")
    original = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    theirs = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model, params, tokenizer = load_model(file)
    text = "Grids as text: 330\n055\n, and l'été à 12:45 — 日本 🙂"
    tokens = np.array([tokenizer.encode(text)], np.int32)
    assert theirs(text)["input_ids"] == tokens[0].tolist()
    logits = jax.jit(model.apply)({"params": params}, tokens)
    np.testing.assert_allclose(logits, reference.logits(original.eval(), tokens), atol=1e-3, rtol=0)
    chat = [{"role": "user", "content": "Hi"}]
    assert theirs.apply_chat_template(chat, tokenize=False, add_generation_prompt=True) == tokenizer.render_chat(chat)
