"""The leafwise transformations are optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ttt_jax import leafwise

SHAPES = {"a": (6, 3), "b": (3, 6), "again": (6, 3), "norm": (5,), "deep": (2, 4, 3)}


def tree(seed: int, scale: float = 1.0):
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(scale * rng.standard_normal(shape), jnp.float32) for name, shape in SHAPES.items()}


def follow(tx, steps: int, scale: float):
    params = tree(0)
    state = tx.init(params)
    for step in range(steps):
        updates, state = jax.jit(tx.update)(tree(step + 1, scale), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("clip", [None, 0.5])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_a_course_of_updates_is_that_of_optax(clip, weight_decay, scale):
    schedule = optax.linear_schedule(1e-2, 0.0, 12)
    mine = leafwise.adamw(schedule, 0.9, 0.99, 1e-8, weight_decay)
    theirs = optax.adamw(
        schedule, 0.9, 0.99, 1e-8, weight_decay=weight_decay, mask=lambda t: jax.tree.map(lambda p: p.ndim >= 2, t)
    )
    if clip:
        mine = optax.chain(leafwise.clip_by_global_norm(clip), mine)
        theirs = optax.chain(optax.clip_by_global_norm(clip), theirs)
    for x, y in zip(*(jax.tree.leaves(follow(tx, 12, scale)) for tx in (mine, theirs)), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-6, atol=2e-7)


def test_norms_and_sums_are_those_of_optax():
    grads, params = tree(3, 10.0), tree(4)
    np.testing.assert_allclose(leafwise.global_norm(grads), optax.tree.norm(grads), rtol=1e-6)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)
    for base in (params, half):
        mine, theirs = leafwise.apply_updates(base, grads), optax.apply_updates(base, grads)
        for x, y in zip(jax.tree.leaves(mine), jax.tree.leaves(theirs), strict=True):
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


def test_gradients_that_are_not_finite_show_in_the_norm_and_the_update():
    grads = tree(1) | {"b": jnp.full((3, 6), jnp.nan)}
    assert not np.isfinite(leafwise.global_norm(grads))
    clipped, _ = leafwise.clip_by_global_norm(1.0).update(grads, optax.EmptyState())
    assert not np.isfinite(clipped["b"]).any()


def test_mapped_over_tasks_each_has_its_own_norm_and_schedule():
    tx = optax.chain(leafwise.clip_by_global_norm(1.0), leafwise.adamw(optax.constant_schedule(1e-2)))
    stack = lambda *trees: jax.tree.map(lambda *x: jnp.stack(x), *trees)  # noqa: E731
    params, grads = stack(tree(0), tree(1)), stack(tree(2, 100.0), tree(3, 0.01))
    state = jax.vmap(tx.init)(params)
    together, _ = jax.vmap(tx.update)(grads, state, params)
    for i in range(2):
        own_grads, own_params, own = ({k: v[i] for k, v in t.items()} for t in (grads, params, together))
        alone, _ = tx.update(own_grads, tx.init(own_params), own_params)
        for name in SHAPES:
            np.testing.assert_allclose(own[name], alone[name], rtol=1e-6)
