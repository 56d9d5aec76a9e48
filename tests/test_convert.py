"""scripts/convert_checkpoint.py: every layout to every other, adapters merged or written alone, faults in one line."""

from __future__ import annotations

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.flax import save_file

from scripts.convert_checkpoint import main
from tests.random_checkpoint import LLAMA, write_checkpoint
from tests.test_model_fixtures import FIXTURES, read
from ttt_jax.config import AdaptConfig, LoraConfig, RunConfig
from ttt_jax.config_loader import to_yaml
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.hf import config_from_hf, params_from_hf
from ttt_jax.model.hf_export import config_to_hf, export_hf
from ttt_jax.model.io import ModelError, load_config, load_model
from ttt_jax.model.lora import init_adapter
from ttt_jax.model.peft_io import load_adapter, save_adapter
from ttt_jax.model.tree import flatten

TOKENS = np.arange(20, dtype=np.int32).reshape(2, 10)
LORA = LoraConfig(rank=3, alpha=5.0, rslora=True, targets=("q", "down", "head"))


@pytest.fixture(scope="module")
def tied(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tied")
    write_checkpoint(folder, {**LLAMA, "tie_word_embeddings": True})
    return folder


def random_adapter(config: ModelConfig, lora: LoraConfig = LORA) -> dict:
    rng = np.random.default_rng(1)
    fresh = init_adapter(jax.random.key(0), config, lora)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(0, 0.1, leaf.shape), jnp.float32), fresh)


def logits(path: Path, adapter=None, scale: float = 1.0) -> np.ndarray:
    model, params, _ = load_model(path)
    collections = {"params": params} if adapter is None else {"params": params, "lora": adapter}
    return np.asarray(model.clone(lora_scale=scale).apply(collections, TOKENS))


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_every_family_is_exported_as_a_config_that_reads_the_same(path: Path, tmp_path: Path) -> None:
    hf, tensors, _, _ = read(path)
    config = config_from_hf(hf)
    assert config_to_hf(config)["model_type"] == hf["model_type"]
    export_hf(tmp_path, config, params_from_hf(tensors, config), dtype=jnp.float32, shard_bytes=10_000)
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert load_config(tmp_path) == (config, "text")


def test_a_grid_model_has_no_counterpart() -> None:
    rope = RopeConfig(theta=(1e4, 1e2, 1e2), pairs=(2, 1, 1))
    with pytest.raises(ModelError, match="3 position axes"):
        config_to_hf(ModelConfig(16, 8, 8, 1, 1, 1, 8, rope=rope))


def test_all_pairs_of_the_one_axis_are_the_same_said_or_not() -> None:
    shape = ModelConfig(16, 8, 8, 1, 1, 1, 8, rope=RopeConfig((1e4,), (4,)))
    assert config_to_hf(shape) == config_to_hf(ModelConfig(16, 8, 8, 1, 1, 1, 8))


def test_a_model_goes_to_our_layout_and_back_unchanged(tied: Path, tmp_path: Path, capsys) -> None:
    ours, back = tmp_path / "ours", tmp_path / "back"
    assert main(["--model", str(tied), "--output", str(ours), "--format", "ttt_jax"]) == 0
    assert main(["--model", str(ours), "--output", str(back)]) == 0
    assert "huggingface layout" in capsys.readouterr().out
    _, expected, tokenizer = load_model(tied)
    _, actual, again = load_model(back)
    jax.tree.map(np.testing.assert_array_equal, actual, expected)
    assert again.encode("the end") == tokenizer.encode("the end")


def test_an_adapter_on_a_tied_head_is_merged_into_a_head_of_its_own(tied: Path, tmp_path: Path) -> None:
    adapter = random_adapter(load_config(tied)[0])
    save_adapter(tmp_path / "peft", adapter, LORA)
    arguments = ["--model", str(tied), "--adapter", str(tmp_path / "peft"), "--dtype", "float32"]
    assert main([*arguments, "--output", str(tmp_path / "merged")]) == 0
    assert not load_config(tmp_path / "merged")[0].tie_embeddings
    expected = logits(tied, adapter, LORA.scale)
    assert np.abs(expected - logits(tied)).max() > 0.05
    np.testing.assert_allclose(logits(tmp_path / "merged"), expected, atol=1e-4)


def test_an_adapter_of_a_run_is_written_for_peft_with_the_scale_of_its_run(tied: Path, tmp_path: Path) -> None:
    config, _ = load_config(tied)
    adapter, run = random_adapter(config), tmp_path / "run"
    (run / "adapters").mkdir(parents=True)
    (run / "config.yaml").write_text(to_yaml(RunConfig(adapt=AdaptConfig(lora=LORA))))
    save_file(flatten({"lora": adapter}), run / "adapters" / "task.safetensors")
    arguments = ["--model", str(tied), "--adapter", str(run / "adapters" / "task.safetensors"), "--merge", "false"]
    assert main([*arguments, "--output", str(tmp_path / "peft")]) == 0
    loaded, lora = load_adapter(tmp_path / "peft", config)
    assert lora == LORA
    jax.tree.map(np.testing.assert_array_equal, loaded, adapter)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--model", "no-such-model"], "no-such-model"),
        (["--model", "arc-small", "--output", "{tmp}/out"], "3 position axes"),
        (["--model", "{tied}", "--output", "{tied}"], "write elsewhere"),
        (["--model", "{tied}", "--adapter", "{tmp}", "--output", "{tmp}/out"], "neither a directory with"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_converted_is_said_in_one_line(arguments, complaint, tied, tmp_path, capsys) -> None:
    filled = [argument.format(tmp=tmp_path, tied=tied) for argument in arguments]
    assert main(filled) == 2
    said = capsys.readouterr().err
    assert complaint in said and said.startswith("error: ") and said.count("\n") == 1


def test_a_decoder_of_a_fixture_has_logits_after_export(tmp_path: Path) -> None:
    hf, tensors, tokens, expected = read(FIXTURES[-1])
    config = config_from_hf(hf)
    export_hf(tmp_path, config, params_from_hf(tensors, config), dtype=jnp.float32)
    from ttt_jax.model.io import load_params

    actual = Decoder(config).apply({"params": load_params(tmp_path, config, jnp.float32)}, tokens)
    np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0)
