"""A grown model computes what it grew from, and all of it can learn."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.grow import can_grow, grow

SMALL = ModelConfig(
    vocab_size=16, hidden_size=32, intermediate_size=48, num_layers=3, num_heads=2, num_kv_heads=2, head_dim=16,
    rope=RopeConfig(theta=(10_000.0, 100.0, 100.0), pairs=(4, 2, 2)), qk_norm=True, tie_embeddings=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def small():
    tokens = jax.random.randint(jax.random.key(0), (2, 12), 0, 16)
    params = Decoder(SMALL).init(jax.random.key(1), tokens)["params"]
    return tokens, params, Decoder(SMALL).apply({"params": params}, tokens)


@pytest.mark.parametrize("layers", [4, 6, 7])
def test_the_grown_model_has_the_logits_of_the_small_one(small, layers):
    tokens, params, logits = small
    large = dataclasses.replace(SMALL, num_layers=layers)
    grown = grow(params, SMALL, large)
    expected = jax.eval_shape(lambda: Decoder(large).init(jax.random.key(0), tokens))["params"]
    assert jax.tree.map(jnp.shape, grown) == jax.tree.map(jnp.shape, expected)
    np.testing.assert_allclose(Decoder(large).apply({"params": grown}, tokens), logits, atol=1e-5)
    pointers = [leaf.unsafe_buffer_pointer() for leaf in jax.tree.leaves(grown)]
    assert len(set(pointers)) == len(pointers)


def test_new_layers_learn_from_the_first_step_on(small):
    tokens, params, _ = small
    large = dataclasses.replace(SMALL, num_layers=6)
    grown = grow(params, SMALL, large)
    loss = jax.jit(lambda p: -jax.nn.log_softmax(Decoder(large).apply({"params": p}, tokens))[..., 3].mean())
    first = jax.grad(loss)(grown)
    stepped = jax.tree.map(lambda p, g: p - 0.1 * g, grown, first)
    assert loss(stepped) < loss(grown)
    silent = first["layers_1"]  # a copy of layer 0: only its output projections have a gradient at first
    assert np.any(silent["attn"]["o"]["kernel"]) and np.any(silent["mlp"]["down"]["kernel"])
    second = jax.grad(loss)(stepped)
    assert all(np.any(leaf) for leaf in jax.tree.leaves(second["layers_1"]))


def test_other_shapes_are_refused(small):
    _, params, _ = small
    wider = dataclasses.replace(SMALL, num_layers=6, intermediate_size=64)
    assert not can_grow(SMALL, wider) and not can_grow(SMALL, SMALL)
    with pytest.raises(ValueError, match="deeper"):
        grow(params, SMALL, wider)
