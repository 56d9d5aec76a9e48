"""Schedules and optimizers: what a config asks for is what optax does."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ttt_jax.config import OptimizerConfig
from ttt_jax.muon import muon_for_layers, orthogonalise
from ttt_jax.update import make_optimizer, make_schedule


def tree(seed):
    rng = np.random.default_rng(seed)
    layer = {
        "attn": {"q": {"kernel": (8, 8)}, "o": {"kernel": (8, 8)}},
        "mlp": {"up": {"kernel": (8, 12)}},
        "norm": {"scale": (8,)},
    }
    shapes = {"embed": {"embedding": (16, 8)}, "head": {"kernel": (8, 16)}, **{f"layers_{i}": layer for i in range(3)}}
    return jax.tree.map(
        lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32), shapes, is_leaf=lambda s: isinstance(s, tuple)
    )


def test_muon_on_stacked_matrices_is_optax_muon_on_each():
    rate, adam_rate = optax.constant_schedule(0.02), optax.constant_schedule(0.01)
    ours = muon_for_layers(rate, adam_rate, b1=0.9, b2=0.99, weight_decay=0.1, dtype=jnp.float32)

    def dimensions(params):
        def of(path, leaf):
            inside = any(str(getattr(key, "key", "")).startswith("layers_") for key in path)
            return optax.contrib.MuonDimensionNumbers() if inside and leaf.ndim == 2 else None

        return jax.tree_util.tree_map_with_path(of, params)

    plain = optax.contrib.muon(
        0.02, adam_learning_rate=0.01, adam_b1=0.9, adam_b2=0.99, weight_decay=0.1,
        weight_decay_mask=lambda p: jax.tree.map(lambda x: x.ndim >= 2, p), consistent_rms=0.2,
        muon_weight_dimension_numbers=dimensions,
    )  # fmt: skip
    params, other = tree(0), tree(0)
    state, other_state = ours.init(params), plain.init(other)
    step, other_step = jax.jit(ours.update), jax.jit(plain.update)
    for i in range(3):
        updates, state = step(tree(i + 1), state, params)
        other_updates, other_state = other_step(tree(i + 1), other_state, other)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), updates, other_updates)
        params, other = optax.apply_updates(params, updates), optax.apply_updates(other, other_updates)
    text = step.lower(tree(1), state, params).as_text()
    assert text.count("stablehlo.dot_general") <= 2 * 5 * 3, "one product per shape and Newton-Schulz term"


@pytest.mark.parametrize("shape", [(3, 24, 40), (2, 40, 24)])
def test_orthogonalised_matrices_keep_their_directions_and_have_singular_values_near_one(shape):
    x = jax.random.normal(jax.random.key(0), shape)
    u, _, vt = jnp.linalg.svd(x, full_matrices=False)
    for dtype in (jnp.float32, jnp.bfloat16):
        values = jnp.einsum("nik,nij,nkj->nk", u, orthogonalise(x, dtype), vt)
        assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def test_muon_moves_matrices_by_its_own_rate_and_norms_by_adams():
    config = OptimizerConfig(name="muon", learning_rate=1e-3, muon_learning_rate=0.0, clip_norm=None)
    tx = make_optimizer(config, 10)
    params = tree(0)
    updates, _ = tx.update(tree(1), tx.init(params), params)
    assert float(jnp.abs(updates["layers_0"]["attn"]["q"]["kernel"]).max()) == 0
    assert float(jnp.abs(updates["layers_0"]["norm"]["scale"]).min()) > 0
    assert float(jnp.abs(updates["head"]["kernel"]).min()) > 0


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("constant", [0.5, 1, 1, 1, 1, 1, 1, 1]),
        ("linear", [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]),
        ("sqrt", [0.5, 1, 1, 1, 1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5]),
        ("cosine", [0.5, 1, 1, 1, 1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2]),
    ],
)
def test_schedules_warm_up_hold_and_decay(schedule, expected):
    config = OptimizerConfig(learning_rate=2.0, schedule=schedule, warmup_steps=2, decay_fraction=0.5)
    rates = [float(make_schedule(config, 8)(step)) / 2 for step in range(8)]
    np.testing.assert_allclose(rates, expected, atol=1e-6)


def test_weight_decay_leaves_norms_alone():
    tx = make_optimizer(OptimizerConfig(learning_rate=0.1, weight_decay=0.5, schedule="constant"), 10)
    params = tree(0)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    np.testing.assert_allclose(updates["head"]["kernel"], -0.05 * params["head"]["kernel"], rtol=1e-5)
    assert float(jnp.abs(updates["layers_0"]["norm"]["scale"]).max()) == 0


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"optimizer\.name 'adan'"):
        make_optimizer(OptimizerConfig(name="adan"), 1)
    with pytest.raises(ValueError, match="no_such_module"):
        make_optimizer(OptimizerConfig(name="no_such_module:f"), 1)
