"""Dropout of adapters: what the same masks give in numpy, nothing where nothing trains, and masks of their own."""

from __future__ import annotations

import itertools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests import test_schedule as schedule
from ttt_jax.adapt.adapt import Adapter
from ttt_jax.adapt.loop import MASKS, init_state, init_trainable, make_adapt_chunk
from ttt_jax.adapt.partial import PartialFolder
from ttt_jax.config import AdaptConfig, LoraConfig, OptimizerConfig
from ttt_jax.losses import next_token
from ttt_jax.model import linear
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.dropout import Dropout, dropouts
from ttt_jax.model.linear import project
from ttt_jax.model.quantize import quantize_kernel
from ttt_jax.model.tree import flatten
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.update import make_optimizer

RATE, SCALE = 0.3, 0.7
MODEL = Decoder(ModelConfig(32, 16, 24, 1, 2, 1, 8))
BASE = MODEL.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
LORA = LoraConfig(rank=3, dropout=RATE)
TASKS, STEPS = 3, 4


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def seed(number: int) -> jax.Array:
    return jax.random.bits(jax.random.key(number), (2,))


@pytest.mark.parametrize("quantised", [False, True])
def test_a_layer_and_its_gradients_are_what_numpy_makes_of_the_same_mask(quantised: bool, monkeypatch) -> None:
    """Also where the adapter would be added to the kernel: the base must see what the adapter does not."""
    monkeypatch.setattr(linear, "merging_pays", lambda *shape: True)
    x, w, bias, a, b, dy = (normal(i, *s) for i, s in enumerate([(2, 5, 8), (8, 6), (6,), (8, 3), (3, 6), (2, 5, 6)]))
    kernel = quantize_kernel(w, "int8") if quantised else w
    w = np.asarray(kernel.astype(jnp.float32))
    dropout = Dropout(seed(7), RATE)
    mask = np.asarray(dropout.kept((10, 8))) / np.float32(1 - RATE)
    assert 0 < (mask == 0).sum() < mask.size

    def layer(x, a, b):
        return project(x, {"kernel": kernel, "bias": bias, "a": a, "b": b, "dropout": dropout}, SCALE, jnp.float32)

    y, pull = jax.vjp(layer, x, a, b)
    of_x, of_a, of_b = pull(jnp.asarray(dy))
    flat, d = x.reshape(10, 8), dy.reshape(10, 6)
    read = flat * mask
    np.testing.assert_allclose(y.reshape(10, 6), flat @ w + bias + SCALE * (read @ a) @ b, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_b, SCALE * (read @ a).T @ d, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_a, SCALE * read.T @ (d @ b.T), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(of_x.reshape(10, 8), d @ w.T + SCALE * (d @ b.T @ a.T) * mask, rtol=1e-4, atol=1e-4)


def test_the_mean_stays_and_the_rate_is_that_asked_for() -> None:
    for rate in (0.05, 0.5):
        out = np.asarray(Dropout(seed(1), rate)(jnp.ones((400, 500))))
        assert abs((out == 0).mean() - rate) < 5 * (rate * (1 - rate) / out.size) ** 0.5
        np.testing.assert_allclose(out[out != 0], 1 / (1 - rate), rtol=1e-6)


def test_elements_and_masks_are_independent_of_each_other() -> None:
    """Counts of pairs kept together, of neighbours along both axes and of other seeds, are those of chance."""
    shape, rate = (300, 256), 0.3
    masks = [np.asarray(Dropout(s, rate).kept(shape)) for s in jax.random.bits(jax.random.key(2), (12, 2))]
    # Seeds that differ in one bit, of either word, are as good.
    masks += [np.asarray(Dropout(jnp.array(s, jnp.uint32), rate).kept(shape)) for s in ((0, 0), (1, 0), (0, 1))]
    pairs = [(m[a], m[b]) for m in masks for a, b in SHIFTS]
    pairs += [(m, n) for i, m in enumerate(masks) for n in masks[:i]]
    for m, n in pairs:
        assert abs((m & n).mean() - (1 - rate) ** 2) < 5 * (0.25 / m.size) ** 0.5
    assert max(abs(m.mean(axis) - (1 - rate)).max() for m in masks for axis in (0, 1)) < 0.15


SHIFTS = [
    (np.s_[1:], np.s_[:-1]), (np.s_[2:], np.s_[:-2]), (np.s_[:, 1:], np.s_[:, :-1]), (np.s_[:, 8:], np.s_[:, :-8]),
]  # fmt: skip


def adapter_of(seed: int, lora: LoraConfig = LORA):
    keys = jax.random.split(jax.random.key(seed), 1)
    trainable, _ = init_trainable(keys, BASE, MODEL, AdaptConfig(lora=lora))
    # Not zero, so that what is dropped shows.
    return jax.tree.map(lambda x: x[0] + 0.1, trainable["lora"])


def test_every_adapted_layer_has_a_mask_of_its_own_for_every_key() -> None:
    made = [dropouts(jax.random.key(seed), adapter_of(0), RATE) for seed in (0, 1)]
    masks = [np.asarray(leaf.kept((6, 16))).tobytes() for tree in made for leaf in flatten(tree).values()]
    assert len(masks) == 2 * 7 == len(set(masks))


def test_a_layer_that_is_computed_again_drops_what_it_dropped_before() -> None:
    """The gradients under rematerialisation are those without."""
    adapter, tokens = adapter_of(0), np.arange(24, dtype=np.int32).reshape(2, 12)
    masks = dropouts(jax.random.key(3), adapter, RATE)

    def loss(lora, model, collections):
        return jnp.sum(model.apply({"params": BASE, "lora": lora, **collections}, tokens)[..., :5] ** 2)

    grad = partial(jax.jit(jax.grad(loss), static_argnums=1), adapter)
    kept = grad(MODEL, {"dropout": masks})
    again = grad(MODEL.clone(remat="full"), {"dropout": masks})
    without = grad(MODEL, {})
    for one, two, three in zip(*map(jax.tree.leaves, (kept, again, without)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4)
        assert np.abs(one - three).max() > 1e-3


RATE_OF_LEARNING = 0.1
TX = make_optimizer(OptimizerConfig("sgd", RATE_OF_LEARNING, "constant", b1=0.0, clip_norm=None), STEPS)
CHUNKS = {rate: make_adapt_chunk(next_token, TX, MODEL, rate) for rate in (0.0, RATE)}
FEW = LoraConfig(rank=3, dropout=RATE, targets=("v", "down"))


def batches(tasks: int = TASKS) -> dict[str, np.ndarray]:
    shape = (tasks, STEPS, 2, 10)
    return {
        "tokens": np.random.default_rng(0).integers(0, 32, shape).astype(np.int32),
        "positions": np.broadcast_to(np.arange(10, dtype=np.int32)[:, None], (*shape, 1)),
        "weights": np.ones(shape, np.float32),
    }


def adapted(seeds, data, sizes=(STEPS,), rate: float = RATE):
    """The adapters of tasks after all steps, made in chunks of `sizes`; all of them begin as the same adapter."""
    trainable = {"lora": jax.tree.map(lambda x: jnp.stack([x] * len(seeds)), adapter_of(0, FEW))}
    state, begun = init_state(trainable, TX, jnp.full(len(seeds), STEPS), jnp.asarray(seeds, jnp.uint32)), 0
    for size in sizes:
        state, _ = CHUNKS[rate](state, {"params": BASE}, {n: of[:, begun : begun + size] for n, of in data.items()})
        begun += size
    return jax.device_get(state.train.trainable["lora"])


def take(tree, index: int):
    return jax.tree.map(lambda x: x[index], tree)


def differ(a, b) -> bool:
    return any(np.abs(x - y).max() > 1e-3 for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def test_masks_belong_to_a_task_and_its_step_whatever_the_chunks_and_the_neighbours() -> None:
    data = batches()
    whole = adapted([5, 6, 7], data)
    jax.tree.map(np.testing.assert_array_equal, whole, adapted([5, 6, 7], data, (2, 2)))
    order = [2, 0, 1]
    moved = adapted([7, 5, 6], {name: of[order] for name, of in data.items()})
    jax.tree.map(np.testing.assert_array_equal, take(whole, 0), take(moved, 1))

    same = {name: np.broadcast_to(of[:1], of.shape) for name, of in data.items()}
    one, other, again = (take(adapted([5, 6, 5], same), i) for i in range(3))
    assert differ(one, other)
    jax.tree.map(np.testing.assert_array_equal, one, again)
    without = adapted([5, 6, 5], same, rate=0.0)
    assert differ(one, take(without, 0)) and not differ(take(without, 0), take(without, 1))


def test_a_step_descends_the_loss_under_the_masks_of_its_seed_and_number() -> None:
    """A plain loop over one task, whose masks are keyed by (seed, step) alone, gives the same adapter."""
    data, expected = batches(), adapter_of(0, FEW)
    grad = jax.jit(jax.grad(next_token, has_aux=True), static_argnums=3)
    for step in range(STEPS):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(9), MASKS), step)
        frozen = {"params": BASE, "dropout": dropouts(key, expected, RATE)}
        grads, _ = grad({"lora": expected}, frozen, {name: of[1, step] for name, of in data.items()}, MODEL)
        expected = jax.tree.map(lambda p, g: p - RATE_OF_LEARNING * g, expected, grads["lora"])
    actual = take(adapted([5, 9, 6], data), 1)
    assert differ(actual, adapter_of(0, FEW))
    for one, other in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_nothing_is_dropped_where_nothing_trains() -> None:
    """The model that decodes, and the check of a held-out answer, do not know of the rate."""
    dropping, plain = (Adapter(MODEL, BASE, AdaptConfig(lora=lora), 0, 0) for lora in (LORA, LoraConfig(rank=3)))
    assert dropping.model == plain.model
    state = dropping.initial_state(["a"])
    assert state.train.trainable.keys() == {"lora"} and dropping.frozen.keys() == {"params"}
    batch = {name: of[:, 0, 0] for name, of in batches(1).items()}
    checks: list[Any] = [dropping.check, plain.check]
    texts = [check.lower(state.train.trainable, dropping.frozen, batch).as_text() for check in checks]
    assert texts[0] == texts[1]


def test_a_run_that_is_left_goes_on_with_the_masks_it_would_have_had(tmp_path) -> None:
    own = schedule.adapter(lora=LoraConfig(rank=2, targets=("v", "down"), dropout=RATE))
    names = ("n1", "e1", "n2", "n3")
    whole = schedule.by_id(own.adapt([schedule.pool(names)]))
    folder, asked = PartialFolder(tmp_path / "partial"), itertools.count(1)
    with pytest.raises(Interrupted):
        list(own.adapt([schedule.pool(names)], partial=folder, leave=lambda: next(asked) == 2))
    resumed = schedule.by_id(own.adapt([schedule.pool(reversed(names))], partial=folder))
    for name in names:
        schedule.assert_same(whole[name], resumed[name])


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: LoraConfig(dropout=1.0), "dropout: 1.0"),
        (lambda: LoraConfig(dropout=-0.1), "dropout: -0.1"),
        (lambda: AdaptConfig(trainable="full", lora=LORA), "trainable to lora"),
        (lambda: AdaptConfig(lora=LoraConfig(dropout=0.1, targets=("q", "head"))), "leave head out of targets"),
    ],
)
def test_a_dropout_that_could_not_be_is_refused(make, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()
