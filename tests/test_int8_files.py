"""A model stored in 8 bits: half the bytes, nearly the same numbers, and refused where its scales are wrong."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.convert import ConvertConfig, convert
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.errors import ModelError
from ttt_jax.model.io import load_model, save_model
from ttt_jax.model.tree import flatten

SHAPE = ModelConfig(
    vocab_size=16, hidden_size=64, intermediate_size=96, num_layers=2, num_heads=2, num_kv_heads=2, head_dim=32,
    rope=RopeConfig(theta=(10_000.0, 100.0, 100.0), pairs=(8, 4, 4)), qk_norm=True, tie_embeddings=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def params():
    params = Decoder(SHAPE).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    params["layers_0"]["mlp"]["up"]["kernel"] = params["layers_0"]["mlp"]["up"]["kernel"].at[:, 3].set(0)
    return params


@pytest.fixture
def stored(params, tmp_path):
    save_model(tmp_path / "int8", SHAPE, params, dtype=jnp.int8)
    return tmp_path / "int8"


def test_every_weight_is_within_half_a_step_of_its_channel(params, stored):
    _, loaded, _ = load_model(stored)
    for name, leaf in flatten(params).items():
        found = np.asarray(flatten(loaded)[name])
        assert found.dtype == np.float32
        if name.startswith("layers_") and name.endswith("kernel"):
            step = np.abs(leaf).max(axis=0, keepdims=True) / 127
            assert np.all(np.abs(found - leaf) <= 0.5 * step + 1e-7)
        else:
            np.testing.assert_array_equal(found, leaf)


def test_the_file_takes_little_more_than_a_byte_a_weight(params, stored):
    kernels = sum(leaf.size for name, leaf in flatten(params).items() if name.startswith("layers_"))
    tensors = load_file(stored / "model.safetensors")
    assert sum(t.nbytes for t in tensors.values()) < 1.25 * kernels
    save_model(stored.parent / "bf16", SHAPE, params)
    size = [(stored.parent / kind / "model.safetensors").stat().st_size for kind in ("int8", "bf16")]
    assert size[0] < 0.65 * size[1]


def test_storing_again_changes_nothing(stored):
    _, loaded, _ = load_model(stored)
    save_model(stored.parent / "again", SHAPE, loaded, dtype=jnp.int8)
    first, again = (load_file(stored.parent / name / "model.safetensors") for name in ("int8", "again"))
    for name, values in first.items():
        if values.dtype == np.int8:
            np.testing.assert_array_equal(values, again[name])


def test_it_loads_in_bf16_and_quantised_too(stored):
    model, loaded, _ = load_model(stored, jnp.bfloat16, quantize="int8")
    tensors = load_file(stored / "model.safetensors")
    kernel = loaded["layers_1"]["attn"]["q"]["kernel"]
    np.testing.assert_array_equal(kernel.values, tensors["layers_1.attn.q.kernel"])
    assert np.all(np.isfinite(model.apply({"params": loaded}, jnp.zeros((1, 4), jnp.int32))))


@pytest.mark.parametrize("fault", ["missing", "misshapen"])
def test_kernels_without_their_scales_are_refused(stored, fault):
    file, name = stored / "model.safetensors", "layers_0.attn.q.kernel_scales"
    tensors = load_file(file)
    if fault == "missing":
        del tensors[name]
    else:
        tensors[name] = tensors[name][:, :5].copy()
    save_file(tensors, file)
    with pytest.raises(ModelError, match=r"layers_0\.attn\.q\.kernel"):
        load_model(stored)


def test_the_conversion_stores_int8_in_our_own_layout_alone(params, tmp_path):
    save_model(tmp_path / "full", SHAPE, params, dtype=jnp.float32)
    options = dict(model=str(tmp_path / "full"), output=str(tmp_path / "out"), dtype="int8")
    with pytest.raises(ModelError, match="ttt_jax"):
        convert(ConvertConfig(**options))
    assert "int8" in convert(ConvertConfig(**options, format="ttt_jax"))
    save_model(tmp_path / "direct", SHAPE, params, dtype=jnp.int8)
    found, direct = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "direct"))
    assert found.keys() == direct.keys()
    assert all(np.array_equal(found[name], direct[name]) for name in found)
