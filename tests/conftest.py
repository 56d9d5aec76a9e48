"""What every test shares: the CPU, strict broadcasting, and a decoder small enough to compile in a second."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Most of the tests' time is LLVM's, on programs that run for milliseconds; subprocesses inherit it.
os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=0")

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def tiny_config() -> ModelConfig:
    """A grid decoder of two layers: 16 tokens, three position axes, two query heads a key head."""
    return ModelConfig(
        vocab_size=16,
        hidden_size=32,
        intermediate_size=64,
        num_layers=2,
        num_heads=4,
        num_kv_heads=2,
        head_dim=12,
        rope=RopeConfig(theta=(10_000.0, 100.0, 100.0), pairs=(2, 2, 2)),
    )


@pytest.fixture(scope="session")
def tiny_model(tiny_config: ModelConfig) -> tuple[Decoder, dict]:
    """(model, random base parameters) of `tiny_config`, in float32."""
    model = Decoder(tiny_config)
    tokens = jax.numpy.zeros((1, 4), jax.numpy.int32)
    return model, model.init(jax.random.key(0), tokens)["params"]


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
    """A folder of compiled programs, for this process (`shared_programs`) and those that it starts."""
    return tmp_path_factory.mktemp("programs")


@pytest.fixture(scope="module")
def shared_programs(programs):
    """Runs of one shape share their compiled programs through jax's cache on disk."""
    options = {
        "jax_compilation_cache_dir": str(programs),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    for name, value in options.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    compilation_cache.reset_cache()
