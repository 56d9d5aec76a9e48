"""Adaptation side by side: isolation, independence of slots, failure, early stop."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from ttt_jax.adapt.loop import init_state, init_trainable, make_adapt_chunk
from ttt_jax.config import AdaptConfig, LoraConfig, OptimizerConfig
from ttt_jax.losses import next_token
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.update import TrainState, make_optimizer, make_update

CONFIG = ModelConfig(16, 32, 48, 2, 4, 2, 8, RopeConfig((1e4, 1e2, 1e2), (2, 1, 1)), qk_norm=True)
MODEL = Decoder(CONFIG)
BASE = MODEL.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
ADAPT = AdaptConfig(lora=LoraConfig(rank=4))


def batches(tasks: int, steps: int, seed: int = 0, batch: int = 2, length: int = 12):
    rng = np.random.default_rng(seed)
    shape = (tasks, steps, batch, length)
    return {
        "tokens": rng.integers(0, 16, shape).astype(np.int32),
        "positions": np.broadcast_to(np.arange(length)[:, None], (*shape, 3)).astype(np.int32).copy(),
        "weights": np.ones(shape, np.float32),
    }


def fresh_state(tx, seeds, steps=100, config=ADAPT):
    keys = jax.vmap(jax.random.key)(jnp.asarray(seeds, jnp.uint32))
    trainable, frozen = init_trainable(keys, BASE, MODEL, config)
    return init_state(trainable, tx, jnp.full(len(seeds), steps)), frozen


def take(tree, index):
    return jax.tree.map(lambda x: np.asarray(x)[index], tree)


def assert_equal_trees(a, b):
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(np.asarray(x), np.asarray(y)), a, b)


def largest_difference(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(np.asarray(x) - np.asarray(y)).max()), a, b)))


TX = make_optimizer(OptimizerConfig(learning_rate=1e-2, weight_decay=0.01), 64)
CHUNK = make_adapt_chunk(next_token, TX, MODEL)


def run(seeds, data, chunks=4):
    state, frozen = fresh_state(TX, seeds)
    size = data["tokens"].shape[1] // chunks
    for i in range(chunks):
        part = {k: v[:, i * size : (i + 1) * size] for k, v in data.items()}
        state, _ = CHUNK(state, frozen, part)
    return state


def test_adapting_one_task_leaves_its_neighbours_unchanged():
    """Bitwise over 64 steps: changed, permuted and broken neighbours."""
    data = batches(4, 64)
    reference = take(run([0, 1, 2, 3], data).train, 0)

    changed = {k: v.copy() for k, v in data.items()}
    changed["tokens"][1:] = batches(4, 64, seed=9)["tokens"][1:]
    assert_equal_trees(reference, take(run([0, 7, 8, 9], changed).train, 0))

    order = [2, 0, 3, 1]
    permuted = {k: v[order] for k, v in data.items()}
    assert_equal_trees(reference, take(run(order, permuted).train, 1))

    broken = {k: v.copy() for k, v in data.items()}
    broken["weights"][2] = np.nan
    state = run([0, 1, 2, 3], broken)
    assert_equal_trees(reference, take(state.train, 0))
    assert np.asarray(state.failed).tolist() == [False, False, True, False]


def test_one_task_alone_agrees_with_eight_side_by_side():
    """To 1e-5 after 8 steps at the default rate (Adam amplifies rounding in proportion to the rate)."""
    data = batches(8, 8)
    tx = make_optimizer(OptimizerConfig(), 8)
    chunk = make_adapt_chunk(next_token, tx, MODEL)

    def adapters(seeds, data):
        state, frozen = fresh_state(tx, seeds)
        return chunk(state, frozen, data)[0].train.trainable

    together = take(adapters(range(8), data), 3)
    alone = take(adapters([3], {k: v[3:4] for k, v in data.items()}), 0)
    assert largest_difference(together, alone) < 1e-5
    assert largest_difference(together, take(fresh_state(tx, [3])[0].train.trainable, 0)) > 1e-3


def test_chunked_adaptation_equals_a_plain_loop_over_one_task():
    data = batches(2, 6)
    state = run([0, 1], data, chunks=3)
    single, frozen = fresh_state(TX, [1])
    plain = TrainState.create(jax.tree.map(lambda x: x[0], single.train.trainable), TX)
    update = jax.jit(make_update(next_token, TX, MODEL))
    for i in range(6):
        plain, _ = update(plain, frozen, {k: v[1, i] for k, v in data.items()})
    assert largest_difference(take(state.train.trainable, 1), plain.trainable) < 1e-5
    assert np.asarray(state.train.step).tolist() == [6, 6]


def test_adaptation_lowers_the_loss_and_leaves_the_base_bit_identical():
    before = jax.tree.map(np.array, BASE)
    state, frozen = fresh_state(TX, [0, 1])
    data = batches(2, 1)
    repeated = {k: np.repeat(v, 40, axis=1) for k, v in data.items()}
    _, metrics = CHUNK(state, frozen, repeated)
    loss = np.asarray(metrics["loss"])
    assert (loss[:, -1] < loss[:, 0] - 0.3).all()
    assert_equal_trees(before, frozen["params"])


def test_a_diverging_task_is_marked_failed_and_its_neighbours_do_not_change():
    tx = optax.inject_hyperparams(optax.adam)(learning_rate=1e-2)
    chunk = make_adapt_chunk(next_token, tx, MODEL)
    data = batches(3, 8)
    healthy, frozen = fresh_state(tx, [0, 1, 2])
    healthy, _ = chunk(healthy, frozen, data)

    state, _ = fresh_state(tx, [0, 1, 2])
    rates = state.train.opt_state.hyperparams["learning_rate"].at[1].set(jnp.inf)
    state.train.opt_state.hyperparams["learning_rate"] = rates
    before = take(state.train.trainable, 1)
    state, _ = chunk(state, frozen, data)
    assert np.asarray(state.failed).tolist() == [False, True, False]
    for task in (0, 2):
        assert_equal_trees(take(healthy.train.trainable, task), take(state.train.trainable, task))
    assert_equal_trees(before, take(state.train.trainable, 1))


def test_tasks_stop_at_their_own_number_of_steps_and_then_do_not_move():
    data = batches(3, 8)
    state, frozen = fresh_state(TX, [0, 1, 2])
    state = state.replace(max_steps=jnp.asarray([2, 8, 0], jnp.int32), done=jnp.asarray([False, False, True]))
    state, metrics = CHUNK(state, frozen, data)
    assert np.asarray(state.train.step).tolist() == [2, 8, 0]
    assert np.isfinite(np.asarray(metrics["loss"])).sum(axis=1).tolist() == [2, 8, 0]
    short, _ = fresh_state(TX, [0, 1, 2])
    short, _ = CHUNK(short, frozen, {k: v[:, :2] for k, v in data.items()})
    assert largest_difference(take(short.train.trainable, 0), take(state.train.trainable, 0)) < 1e-6


def test_full_weight_adaptation_goes_through_the_same_loop():
    state, frozen = fresh_state(TX, [0, 1], config=AdaptConfig(trainable="full"))
    assert frozen == {}
    data = {k: np.repeat(v, 20, axis=1) for k, v in batches(2, 1).items()}
    state, metrics = CHUNK(state, frozen, data)
    loss = np.asarray(metrics["loss"])
    assert (loss[:, -1] < loss[:, 0] - 0.3).all()
    assert largest_difference(take(state.train.trainable, 0), take(state.train.trainable, 1)) > 0


def test_base_matmuls_carry_no_task_dimension():
    """In the StableHLO no dot that reads a base kernel has a batch dimension."""
    tasks = 3
    state, frozen = fresh_state(TX, range(tasks))
    text = CHUNK.lower(state, frozen, batches(tasks, 2)).as_text()
    dots = [line for line in text.splitlines() if "stablehlo.dot_general" in line]
    batched = [line for line in dots if "batching_dims" in line]
    base_shapes = {f"tensor<{i}x{o}xf32>" for i, o in ((32, 32), (32, 16), (32, 48), (48, 32))}
    of_base = [line for line in dots if any(shape in line for shape in base_shapes)]
    assert len(of_base) >= 2 * 7, "the base's matmuls were not found in the lowered text"
    assert batched, "the adapters' matmuls should be batched over tasks"
    assert not [line for line in of_base if "batching_dims" in line]


@pytest.mark.parametrize("name", ["adamw", "muon", "sgd"])
def test_every_optimizer_runs_per_task(name):
    tx = make_optimizer(OptimizerConfig(name=name, learning_rate=1e-3), 4)
    state, frozen = fresh_state(tx, [0, 1])
    state, metrics = make_adapt_chunk(next_token, tx, MODEL)(state, frozen, batches(2, 4))
    assert np.isfinite(np.asarray(metrics["loss"])).all()
    assert largest_difference(take(state.train.trainable, 0), take(fresh_state(tx, [0, 1])[0].train.trainable, 0)) > 0


def test_gradients_are_clipped_per_task():
    clipped = OptimizerConfig(name="sgd", b1=0.0, learning_rate=1.0, schedule="constant", clip_norm=1e-3)
    tx = make_optimizer(clipped, 1)
    state, frozen = fresh_state(tx, [0, 1])
    data = batches(2, 1)
    _, metrics = make_adapt_chunk(next_token, tx, MODEL)(state, frozen, data)
    np.testing.assert_allclose(np.asarray(metrics["update_norm"]), 1e-3, rtol=1e-4)


def test_an_adapters_weights_depend_on_its_own_key_only():
    make = partial(init_trainable, base=BASE, model=MODEL, config=ADAPT)
    first = make(jax.vmap(jax.random.key)(jnp.asarray([5, 6], jnp.uint32)))[0]
    second = make(jax.vmap(jax.random.key)(jnp.asarray([1, 2, 5], jnp.uint32)))[0]
    assert_equal_trees(take(first, 0), take(second, 2))
