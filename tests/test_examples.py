import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from grid_strategies import grids, small_task, tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.adapt.examples import ExampleStream, TooLong, loss_weights
from ttt_jax.config import ExamplesConfig
from ttt_jax.tasks import encoding as enc
from ttt_jax.tasks.arc import ArcDomain
from ttt_jax.tasks.augmenters import mit_augmenters
from ttt_jax.tasks.task import Task

DOMAIN = ArcDomain()
FRESH = ExamplesConfig()
PAPER = ExamplesConfig(
    layout="leave_one_out", transforms=("colours", "order"), augmenters=mit_augmenters(), cap=250, max_tokens=8192
)
LEAVE_ONE_OUT = ExamplesConfig(layout="leave_one_out")
PLAIN = replace(PAPER, transforms=(), augmenters=())
configs = st.builds(
    ExamplesConfig,
    layout=st.sampled_from(["all_outputs", "leave_one_out", "direct"]),
    demo_loss=st.booleans(),
    first_output_loss=st.sampled_from([0.0, 0.5]),
    input_loss=st.sampled_from([0.0, 0.1]),
    transforms=st.sampled_from([(), ("order",), ("symmetries", "colours", "order"), ("translate", "transpose")]),
    augmenters=st.sampled_from([(), ("IncreaseResolution(2)", "Repeat(0, 2)")]),
    cap=st.sampled_from([None, 1, 7]),
    max_tokens=st.sampled_from([150, 400, 4096]),
)


def stream(task: Task, config: ExamplesConfig, seed: int = 0) -> ExampleStream:
    return ExampleStream(task.hide_answers(), DOMAIN, config, seed)


def pairs(encoded) -> list[tuple[bytes, bytes]]:
    """The (input, output) grids of a sequence, read back from its tokens."""
    starts = [*np.flatnonzero(encoded.tokens == enc.INPUT), len(encoded)]
    read = []
    for start, stop in pairwise(starts):
        pair = encoded.tokens[start:stop]
        middle = int(np.flatnonzero(pair == enc.OUTPUT)[0])
        x, y = enc.parse_grid(pair[1:middle]), enc.parse_grid(pair[middle + 1 :])
        assert x is not None and y is not None
        read.append((x.tobytes(), y.tobytes()))
    return read


def demo_pairs(task: Task) -> list[tuple[bytes, bytes]]:
    return [(x.tobytes(), y.tobytes()) for x, y in task.demos]


def pool(s: ExampleStream) -> list:
    return s.sequences(0, s.pool_size or 0)


def weights_of(encoded, config: ExamplesConfig) -> np.ndarray:
    """The rule of `loss_weights`, token by token."""
    last = max(encoded.outputs)
    every = config.layout != "leave_one_out" or config.demo_loss
    weights = [
        1.0 if k == last or (k > 0 and every) else (k == 0 and every and config.first_output_loss) or config.input_loss
        for k in encoded.outputs
    ]
    return np.array([0.0, *weights[1:]], np.float32)


@given(tasks(max_side=8), configs, st.integers(0, 2**31), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_batches_are_padded_sequences_of_the_plain_path_with_weight_on_outputs(task, config, seed, step):
    try:
        s = stream(task, config, seed)
    except TooLong:
        return
    assert s.max_length <= config.max_tokens
    length = s.max_length + 3
    batch = s.batch(step, 3, length)
    sequences = s.sequences(step, 3)
    assert batch["tokens"].shape == batch["weights"].shape == (3, length)
    assert batch["positions"].shape == (3, length, 3)
    assert [batch[k].dtype for k in ("tokens", "positions", "weights")] == [np.int32, np.int32, np.float32]
    for row, encoded in enumerate(sequences):
        n = len(encoded)
        assert n <= s.max_length
        np.testing.assert_array_equal(batch["tokens"][row, :n], encoded.tokens)
        np.testing.assert_array_equal(batch["positions"][row, :n], encoded.positions)
        assert (batch["tokens"][row, n:] == enc.PAD).all()
        assert not batch["positions"][row, n:].any()
        np.testing.assert_array_equal(batch["weights"][row, :n], weights_of(encoded, config))
        np.testing.assert_array_equal(batch["weights"][row, :n], loss_weights(encoded.outputs, config))
        assert not batch["weights"][row, n:].any()
        assert batch["weights"][row].any()
        assert (encoded.outputs[batch["weights"][row, :n] == 1] >= 0).all()


@given(tasks(max_side=6), configs, st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_a_batch_depends_on_seed_task_step_and_index_alone(task, config, seed):
    try:
        a, b = stream(task, config, seed), stream(task, config, seed)
    except TooLong:
        return
    b.batch(0, 5, b.max_length)
    for key, value in a.batch(3, 2, a.max_length).items():
        np.testing.assert_array_equal(value, b.batch(3, 2, b.max_length)[key])
    if config.cap is None:  # a sequence does not depend on how many are drawn beside it
        for x, y in zip(a.sequences(3, 2), b.sequences(3, 4), strict=False):
            np.testing.assert_array_equal(x.tokens, y.tokens)


def test_other_seeds_steps_and_tasks_give_other_sequences():
    task = small_task(demos=4)
    drawn = [
        stream(task, FRESH).sequences(0, 1),
        stream(task, FRESH).sequences(1, 1),
        stream(task, FRESH, seed=1).sequences(0, 1),
        stream(replace(task, id="other"), FRESH).sequences(0, 1),
    ]
    assert len({s.tokens.tobytes() for (s,) in drawn}) == 4


@given(grids(max_side=9), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_queries_and_answers_never_reach_a_sequence(other, seed):
    task = small_task(demos=3)
    changed = replace(task, queries=(other, other), answers=(other, other))
    for config in (FRESH, LEAVE_ONE_OUT, PAPER):
        a, b = ExampleStream(task, DOMAIN, config, seed), ExampleStream(changed, DOMAIN, config, seed)
        assert a.max_length == b.max_length
        for x, y in zip(a.sequences(0, 4), b.sequences(0, 4), strict=True):
            np.testing.assert_array_equal(x.tokens, y.tokens)


def test_all_outputs_trains_every_output_from_the_second_on():
    task = small_task(demos=3)
    (encoded,) = stream(task, FRESH).sequences(0, 1)
    weights = loss_weights(encoded.outputs, FRESH)
    np.testing.assert_array_equal(weights == 1, encoded.outputs >= 1)
    assert set(weights) == {0.0, 1.0}


@pytest.mark.parametrize(("demo_loss", "trained"), [(True, {1, 2, 3}), (False, {3})])
def test_leave_one_out_trains_the_last_output_and_on_request_those_before(demo_loss, trained):
    task = small_task(demos=4)
    config = replace(LEAVE_ONE_OUT, demo_loss=demo_loss)
    (encoded,) = stream(task, config).sequences(0, 1)
    weights = loss_weights(encoded.outputs, config)
    assert set(encoded.outputs[weights == 1]) == trained
    np.testing.assert_array_equal(weights == 1, np.isin(encoded.outputs, list(trained)))


def test_input_loss_weighs_the_rest_but_the_first_token():
    config = replace(FRESH, input_loss=0.25)
    (encoded,) = stream(small_task(), config).sequences(0, 1)
    weights = loss_weights(encoded.outputs, config)
    assert weights[0] == 0
    np.testing.assert_array_equal(weights[1:], np.where(encoded.outputs[1:] >= 1, 1.0, 0.25))


@pytest.mark.parametrize("config", [FRESH, LEAVE_ONE_OUT, PAPER, replace(FRESH, cap=3)])
def test_a_task_of_one_demonstration_trains_on_its_only_output(config):
    s = stream(small_task(demos=1), config)
    for encoded in s.sequences(0, 2):
        np.testing.assert_array_equal(loss_weights(encoded.outputs, config) == 1, encoded.outputs == 0)


def test_fresh_leave_one_out_holds_out_every_demonstration():
    task = small_task(demos=3)
    s = stream(task, replace(LEAVE_ONE_OUT, transforms=()))
    last = {pairs(e)[-1] for e in s.sequences(0, 60)}
    assert last == set(demo_pairs(task))
    assert all(sorted(pairs(e)) == sorted(demo_pairs(task)) for e in s.sequences(0, 10))


def test_without_transforms_the_pool_is_leave_one_out_topped_up_by_leave_two_out():
    task = small_task(demos=3)
    s = stream(task, PLAIN)
    demos = demo_pairs(task)
    one_out = [[*(p for p in demos if p != held), held] for held in demos]
    two_out = [[context, held] for held in demos for context in demos if context != held]
    assert sorted(map(pairs, pool(s))) == sorted(one_out + two_out)
    assert sorted(map(pairs, pool(stream(task, replace(PLAIN, cap=3))))) == sorted(one_out)


def test_the_papers_pool_counts_its_augmentations_and_a_copy_of_each():
    # Small grids, all different: nothing is too large and nothing is the same by chance,
    # so leave-one-out gives 2 x 3 x (23 + 1) sequences and leave-two-out tops them up.
    task = small_task(demos=3, side=5)
    assert stream(task, replace(PAPER, cap=10_000)).pool_size == pytest.approx(2 * (3 + 6) * 24, abs=4)
    s = stream(task, PAPER)
    assert s.pool_size == 250
    sequences = pool(s)
    assert len({e.tokens.tobytes() for e in sequences}) == 250
    assert sum(len(pairs(e)) == 3 for e in sequences) == pytest.approx(2 * 3 * 24, abs=4)


def test_more_than_the_cap_is_cut_at_random():
    s = stream(small_task(demos=3), replace(PAPER, cap=20))
    assert s.pool_size == 20
    assert {len(pairs(e)) for e in pool(s)} == {3}
    assert {e.tokens.tobytes() for e in pool(s)} != {
        e.tokens.tobytes() for e in pool(stream(small_task(demos=3), replace(PAPER, cap=20), seed=1))
    }


def test_augmented_grids_beyond_thirty_are_left_out_of_the_pool():
    task = small_task(demos=2, side=16)
    s = stream(task, replace(PAPER, augmenters=("IncreaseResolution(2)", "Rotate(90)")))
    assert s.pool_size == 2 * 2 * 2
    assert s.max_length == max(map(len, pool(s))) == len(DOMAIN.encode(task.demos))


def test_each_sequence_of_a_pool_comes_once_an_epoch():
    s = stream(small_task(demos=4), replace(FRESH, cap=6))
    assert s.pool_size == 6
    epochs = [[e.tokens.tobytes() for step in range(3) for e in s.sequences(3 * n + step, 2)] for n in range(4)]
    assert all(sorted(epoch) == sorted(epochs[0]) and len(set(epoch)) == 6 for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_a_pool_of_few_distinct_sequences_is_smaller_than_its_cap():
    s = stream(small_task(demos=2), replace(FRESH, transforms=("order",), cap=10))
    assert s.pool_size == 2


def test_augmented_sequences_are_mixed_in():
    task = small_task(demos=3, side=3)
    s = stream(task, replace(FRESH, augmenters=("Repeat(2, 2)",), augment_every=3))
    lengths = [len(e) for e in s.sequences(0, 300)]
    plain = len(DOMAIN.encode(task.demos))
    assert set(lengths) == {plain, s.max_length}
    assert s.max_length > plain
    assert 60 < sum(n > plain for n in lengths) < 140
    # An augmentation that would not fit the budget is not used.
    tight = stream(task, replace(FRESH, augmenters=("Repeat(2, 2)",), augment_every=1, max_tokens=plain))
    assert tight.max_length == plain
    assert {len(e) for e in tight.sequences(0, 20)} == {plain}


def test_of_a_task_of_which_turned_copies_are_too_long_the_batches_are_those_of_the_plain_path():
    # 30 cells in a row close with one newline, in a column with 30: as given, two pairs take 131 tokens.
    rng = np.random.default_rng(0)
    wide = lambda: rng.integers(0, 10, (1, 30)).astype(np.int8)  # noqa: E731
    task = Task("wide", tuple((wide(), wide()) for _ in range(2)), (wide(),))
    s = stream(task, ExamplesConfig(max_tokens=150))
    given = s.sequences(0, 40)
    assert {len(e) for e in given} == {s.max_length} == {131}
    batch = s.batch(0, 40, 140)
    for row, encoded in enumerate(given):
        np.testing.assert_array_equal(batch["tokens"][row, :131], encoded.tokens)
    # Those that would be too long are as given, in the order as given.
    plain = DOMAIN.encode(task.demos).tokens.tobytes()
    assert 8 < sum(e.tokens.tobytes() == plain for e in given) < 32


def test_of_a_long_task_each_sequence_has_the_demonstrations_that_fit():
    task = small_task(demos=6, side=8)
    two = len(DOMAIN.encode(task.demos[:2]))
    for layout in ("all_outputs", "leave_one_out"):
        s = stream(task, ExamplesConfig(layout=layout, transforms=(), max_tokens=2 * two))
        sequences = s.sequences(0, 40)
        assert {len(pairs(e)) for e in sequences} == {4}
        assert {p for e in sequences for p in pairs(e)} == set(demo_pairs(task))
        assert max(map(len, sequences)) <= s.max_length <= 2 * two


def test_a_demonstration_too_long_to_be_used_is_left_out():
    task = small_task(demos=4, side=3)
    x = np.zeros((30, 30), np.int8)
    task = replace(task, demos=(*task.demos, (x, x)))
    s = stream(task, ExamplesConfig(transforms=("order",), max_tokens=500))
    assert {p for e in s.sequences(0, 20) for p in pairs(e)} == set(demo_pairs(task)[:4])


@pytest.mark.parametrize("config", [FRESH, LEAVE_ONE_OUT, PAPER, replace(FRESH, cap=4)])
@pytest.mark.parametrize("demos", [1, 2, 5])
def test_a_task_of_which_nothing_fits_is_too_long_and_says_by_how_much(config, demos):
    task = small_task(demos=demos, side=10, id="giant")
    shortest = len(DOMAIN.encode(task.demos[:2]))
    if config is PAPER and demos == 5:
        shortest = len(DOMAIN.encode(task.demos[:4]))
    with pytest.raises(TooLong, match=rf"task giant: .* {shortest} tokens, adapt\.examples\.max_tokens is 100"):
        stream(task, replace(config, max_tokens=100))


def test_wrong_options_are_refused_by_name():
    task = small_task()
    for config, message in (
        (replace(FRESH, cap=0), r"adapt\.examples\.cap"),
        (replace(FRESH, augment_every=0), r"adapt\.examples\.augment_every"),
        (replace(FRESH, transforms=("rotations",)), "'rotations'"),
        (replace(FRESH, augmenters=("Zoom(2)",)), r"'Zoom\(2\)'"),
        (replace(PAPER, augmenters=("Zoom(2)",)), r"'Zoom\(2\)'"),
    ):
        with pytest.raises(ValueError, match=message):
            stream(task, config)
    with pytest.raises(ValueError, match="no demonstrations"):
        stream(replace(task, demos=()), FRESH)
    s = stream(task, FRESH)
    with pytest.raises(ValueError, match="padded to 10"):
        s.batch(0, 1, 10)


def test_a_batch_of_four_thousand_tokens_takes_less_than_a_millisecond_and_a_half():
    task = small_task(demos=4, side=11)
    s = stream(task, FRESH)
    assert 1000 < s.max_length < 1200
    best = float("inf")
    for step in range(20):
        start = time.process_time()
        s.batch(step, 4, 1536)
        best = min(best, time.process_time() - start)
    assert best < 1.5e-3
