"""What every test shares: the CPU, strict broadcasting, and a decoder small enough to compile in a second."""

from __future__ import annotations

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import pytest

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
