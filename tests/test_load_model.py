"""Checkpoints on disk, in every layout: loaded whole, refused by name, and never twice in memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.random_checkpoint import LLAMA, write_checkpoint
from ttt_jax.model.hf import params_from_hf
from ttt_jax.model.io import ModelError, load_config, load_model, save_model

ROOT = Path(__file__).resolve().parent.parent
TOKENS = np.arange(24, dtype=np.int32).reshape(2, 12)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, LLAMA, shard_bytes=20_000)
    return folder


@pytest.fixture
def copy(checkpoint: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint, tmp_path / "copy"))


def shard_of(folder: Path, tensor: str) -> Path:
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    return folder / index["weight_map"][tensor]


def rewrite(file: Path, change) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as refused:
        load_model(folder)
    return str(refused.value)


def test_a_sharded_checkpoint_loads_as_the_same_tensors_in_memory(checkpoint: Path) -> None:
    shards = sorted(checkpoint.glob("*.safetensors"))
    assert len(shards) > 3
    model, params, tokenizer = load_model(checkpoint)
    tensors = {name: tensor for shard in shards for name, tensor in load_file(shard).items()}
    expected = params_from_hf({name: t.astype(np.float32) for name, t in tensors.items()}, model.config)
    jax.tree.map(np.testing.assert_array_equal, params, expected)
    assert tokenizer.decode(tokenizer.encode("the cat, in 1 hat")) == "the cat, in 1 hat"


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_parameters_have_the_type_that_was_asked_for(checkpoint: Path, dtype) -> None:
    model, params, _ = load_model(checkpoint, dtype)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
    assert model.apply({"params": params}, TOKENS).dtype == jnp.float32


def test_our_own_layout_gives_back_what_was_saved(checkpoint: Path, tmp_path: Path) -> None:
    model, params, tokenizer = load_model(checkpoint)
    save_model(tmp_path, model.config, params, tokenizer, jnp.float32)
    again, loaded, text = load_model(tmp_path)
    assert again.config == model.config
    jax.tree.map(np.testing.assert_array_equal, loaded, params)
    assert text.encode("the end") == tokenizer.encode("the end")


def test_missing_extra_and_misshapen_tensors_are_named_at_once(copy: Path) -> None:
    q, norm = "model.layers.0.self_attn.q_proj.weight", "model.norm.weight"
    index_file = copy / "model.safetensors.index.json"
    index = json.loads(index_file.read_text())
    rewrite(shard_of(copy, q), lambda tensors: tensors.update({"extra.weight": np.zeros(2, np.float32)}))
    index["weight_map"]["extra.weight"] = index["weight_map"][q]
    rewrite(shard_of(copy, norm), lambda tensors: tensors.update({norm: np.zeros(3, np.float32)}))
    rewrite(shard_of(copy, q), lambda tensors: tensors.pop(q))
    del index["weight_map"][q]
    index_file.write_text(json.dumps(index))
    message = refusal(copy)
    assert f"missing {q} (32, 32)" in message
    assert "unexpected extra.weight" in message
    assert f"{norm} has shape (3,), expected (32,)" in message


def test_an_index_that_disagrees_with_its_files_is_refused(copy: Path) -> None:
    q = "model.layers.0.self_attn.q_proj.weight"
    rewrite(shard_of(copy, q), lambda tensors: tensors.pop(q))
    assert f"{q} not in the files that the index names" in refusal(copy)


@pytest.mark.parametrize("weight_map", [{"a": "../model.safetensors"}, {"a": 3}, [], None], ids=str)
def test_a_broken_index_is_refused(copy: Path, weight_map) -> None:
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    assert "weight_map" in refusal(copy)


def test_a_missing_or_cut_shard_is_refused_by_name(copy: Path) -> None:
    shard = sorted(copy.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-5])
    assert f"{shard.name}: cannot be read" in refusal(copy)
    shard.unlink()
    assert f"{shard.name}: cannot be read" in refusal(copy)


def test_pickled_weights_are_never_read(copy: Path) -> None:
    for file in [*copy.glob("*.safetensors"), copy / "model.safetensors.index.json"]:
        file.unlink()
    (copy / "pytorch_model.bin").write_bytes(b"")
    assert "pickled weights are never read" in refusal(copy)


def test_a_copy_of_a_tied_head_must_be_the_embedding(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, {**LLAMA, "tie_word_embeddings": True}, shard_bytes=1 << 30)
    (shard,) = tmp_path.glob("*.safetensors")
    (tmp_path / "model.safetensors.index.json").unlink()
    shard = shard.rename(tmp_path / "model.safetensors")
    head, embedding = "lm_head.weight", "model.embed_tokens.weight"
    rewrite(shard, lambda tensors: tensors.update({head: tensors[embedding]}))
    assert "head" not in load_model(tmp_path)[1]
    rewrite(shard, lambda tensors: tensors.update({head: -tensors[embedding]}))
    assert "lm_head.weight differs" in refusal(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model_type": "gpt2"}', '{"model": {}}', "\xff"], ids=repr)
def test_a_config_that_is_none_is_refused_with_its_file(copy: Path, text: str) -> None:
    (copy / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelError, match=r"config\.json"):
        load_config(copy)


def test_a_name_that_is_no_model_lists_the_shipped_ones() -> None:
    with pytest.raises(ModelError, match="smollm2-135m-instruct"):
        load_model("no-such-model")


def test_each_device_reads_its_own_part_alone(checkpoint: Path) -> None:
    """Eight devices, kernels split over them: no read is of a whole kernel, and the logits stay."""
    code = """
import json, sys, jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec
from ttt_jax.model import checkpoint_stream
from ttt_jax.model.io import load_model
mesh = jax.make_mesh((2, 4), ("fsdp", "tensor"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
def place(name, shape):
    return NamedSharding(mesh, PartitionSpec("fsdp", "tensor") if name.endswith(".kernel") else PartitionSpec())
biggest, read = {}, checkpoint_stream.SafetensorsSource.read
def spy(self, name, index):
    out = read(self, name, index)
    biggest[name] = max(biggest.get(name, 0), out.size)
    return out
checkpoint_stream.SafetensorsSource.read = spy
tokens = np.arange(24).reshape(2, 12)
model, params, _ = load_model(sys.argv[1], place=place)
whole = checkpoint_stream.SafetensorsSource(sys.argv[1]).shapes
for name, size in biggest.items():
    if "_proj" in name or "lm_head" in name:
        assert size * 8 == np.prod(whole[name]), name
q = params["layers_0"]["attn"]["q"]["kernel"]
assert q.sharding.shard_shape(q.shape) == (16, 8), q.sharding
_, whole, _ = load_model(sys.argv[1])
a, b = model.apply({"params": params}, tokens), model.apply({"params": whole}, tokens)
np.testing.assert_allclose(a, b, atol=1e-5)
small = load_model(sys.argv[1], place=place, quantize="int8")[1]["layers_0"]["attn"]["q"]["kernel"]
assert small.values.sharding.shard_shape(small.shape) == (16, 8), small.values.sharding
"""
    run_python(code, checkpoint, XLA_FLAGS="--xla_force_host_platform_device_count=8")


MEASURE = """
import pathlib, re, sys, jax, jax.numpy as jnp
from ttt_jax.model.io import load_config, load_params
import ttt_jax.tokenizers.text
# Not getrusage: its peak survives exec, so a child would begin with the peak of the test process.
peak = lambda: 1024 * int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])
jnp.ones(8).sum().block_until_ready()
config, _ = load_config(sys.argv[1])
before = peak()
params = jax.block_until_ready(load_params(sys.argv[1], config, jnp.bfloat16))
print(peak() - before)
"""


SHARDS = {"many": 50 << 20, "one": 1 << 40}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of a process from /proc")
@pytest.mark.parametrize(
    "widths",
    [
        dict(vocab_size=20_000, hidden_size=512, intermediate_size=2048, num_hidden_layers=20),
        pytest.param(
            dict(vocab_size=60_000, hidden_size=2048, intermediate_size=5632, num_hidden_layers=18),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["200MB", "1B"],
)
@pytest.mark.parametrize("shards", ["many", "one"])
def test_loading_takes_little_more_memory_than_the_parameters(widths, shards: str, tmp_path: Path) -> None:
    hf = {**LLAMA, **widths, "head_dim": 64, "num_attention_heads": widths["hidden_size"] // 64}
    size = write_checkpoint(tmp_path, hf, shard_bytes=SHARDS[shards])
    assert size > 190e6
    grown = int(run_python(MEASURE, tmp_path))
    assert size * 0.95 < grown < size * 1.3, f"{grown / size:.2f} times the size of the checkpoint"


def run_python(code: str, *arguments, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", **environment},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
