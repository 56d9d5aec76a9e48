"""The plan of a run: every task in a place that fits it, the fewest padded tokens, and nothing depends on chance."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.adapt.plan import _cut, _merge, bucket, make_plan
from ttt_jax.config import AdaptConfig, DecodeConfig, RunConfig
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task

ARC = get_domain("arc")
CONFIG = RunConfig(adapt=AdaptConfig(slots=3), decode=DecodeConfig(views=2, slots=4))


def make_tasks(count: int = 14) -> list[Task]:
    """Tasks of many lengths; every third has two queries."""
    rng, tasks = np.random.default_rng(0), []
    for i in range(count):
        height, width = rng.integers(1, 9, 2)
        grids = [rng.integers(0, 10, (height, width)).astype(np.int8) for _ in range(5)]
        demos = tuple((g, g) for g in grids[:3])
        tasks.append(Task(f"t{i:02d}", demos, tuple(grids[3 : 4 + (i % 3 == 0)]), None))
    return tasks


TASKS = make_tasks()
PLAN = make_plan(TASKS, ARC, CONFIG)


def shape_of(plan):
    pools = [(p.length, p.slots, [job.id for job in p.jobs]) for p in plan.pools]
    return pools, [(g.prompt_length, g.slots, g.ids) for g in plan.groups]


def test_every_task_has_one_place_to_adapt_and_one_to_decode_and_fits_both():
    assert sorted(job.id for pool in PLAN.pools for job in pool.jobs) == [task.id for task in TASKS]
    assert sorted(id_ for group in PLAN.groups for id_ in group.ids) == [task.id for task in TASKS]
    for pool in PLAN.pools:
        assert pool.slots == 3 and pool.length in CONFIG.lengths
        assert all(job.examples.max_length <= pool.length for job in pool.jobs)
    for group in PLAN.groups:
        assert max(planned.prompt_length for planned in group.tasks) <= group.prompt_length in CONFIG.lengths
        assert sum(len(planned.task.queries) for planned in group.tasks) <= group.slots == 4
    for of in (PLAN.pools, PLAN.groups):
        lengths = [getattr(x, "length", None) or x.prompt_length for x in of]
        assert lengths == sorted(lengths)


def test_automatic_slots_are_no_more_than_there_are_jobs_for_them():
    plan = make_plan(TASKS, ARC, CONFIG, lambda _: 3, lambda _: 4, shards=2)
    fixed = make_plan(TASKS, ARC, CONFIG, shards=2)
    of = [[(pool.length, [job.id for job in pool.jobs]) for pool in each.pools] for each in (plan, fixed)]
    assert of[0] == of[1]
    assert {pool.slots for pool in fixed.pools} == {6} and any(pool.slots < 6 for pool in plan.pools)
    for pool in plan.pools:
        assert pool.slots == min(6, 2 * -(-len(pool.jobs) // 2))


def test_training_sequences_may_have_finer_lengths_than_prompts():
    fine = replace(CONFIG, adapt=replace(CONFIG.adapt, lengths=tuple(range(8, 513, 8))))
    plan = make_plan(TASKS, ARC, fine)
    assert shape_of(plan)[1] == shape_of(PLAN)[1]
    for pool in plan.pools:
        longest = max(job.examples.max_length for job in pool.jobs)
        assert pool.length == -(-longest // 8) * 8

    def computed(plan):
        return sum(p.length * p.slots * -(-len(p.jobs) // p.slots) for p in plan.pools)

    assert computed(plan) < computed(PLAN)


def test_a_task_without_a_bucket_is_too_long_and_says_which_buckets():
    longest = max(job.examples.max_length for pool in PLAN.pools for job in pool.jobs)
    short = (8, longest - 1)
    for config, option in (
        (replace(CONFIG, adapt=replace(CONFIG.adapt, lengths=short)), "adapt.lengths"),
        (replace(CONFIG, lengths=short), "lengths"),
    ):
        left_out = make_plan(TASKS, ARC, config).too_long
        assert left_out and all(f"longest bucket ({option}) holds {longest - 1}" in why for why in left_out.values())
    with pytest.raises(ValueError, match=r"adapt.lengths: \(\), must be"):
        replace(CONFIG, adapt=replace(CONFIG.adapt, lengths=()))


def test_the_plan_does_not_depend_on_the_order_of_the_tasks():
    assert shape_of(make_plan(TASKS[::-1], ARC, CONFIG)) == shape_of(PLAN)


def test_what_is_left_of_a_plan_has_the_shapes_of_the_whole():
    first, second = PLAN.groups[0].ids, PLAN.groups[1].ids
    left = PLAN.without({*first, second[0]})
    assert [group.ids for group in left.groups] == [group.ids for group in PLAN.groups[1:]]
    jobs = {job.id: (pool.length, pool.slots) for pool in PLAN.pools for job in pool.jobs}
    still = {job.id: (pool.length, pool.slots) for pool in left.pools for job in pool.jobs}
    assert still == {id_: shape for id_, shape in jobs.items() if id_ not in first}
    assert not PLAN.without({task.id for task in TASKS}).pools


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=7), st.integers(1, 3))
def test_no_other_way_to_fill_the_slots_computes_fewer_tokens(lengths, slots):
    buckets = (8, 16, 24, 40)
    items = [(length, 1, i) for i, length in enumerate(sorted(lengths))]
    parts = _cut(items, lambda _: slots, buckets)
    assert sorted(i for _, _, of in parts for i in of) == list(range(len(lengths)))
    assert all(len(of) <= slots for _, _, of in parts)

    def cheapest(left: frozenset[int]) -> int:
        if not left:
            return 0
        first = min(left)
        rest = sorted(left - {first})
        options = (
            {first, *others} for size in range(min(slots, len(left))) for others in itertools.combinations(rest, size)
        )
        return min(cost(part) + cheapest(left - part) for part in options)

    def cost(part) -> int:
        return slots * (bucket(max(items[i][0] for i in part), buckets) or 0)

    assert sum(length * size for length, size, _ in parts) == cheapest(frozenset(range(len(lengths))))


def test_where_tasks_may_stop_early_neighbours_share_slots_and_only_equal_lengths_otherwise():
    parts = [(100, 2, ["a", "b"]), (100, 2, ["c", "d"]), (110, 2, ["e", "f"]), (1000, 2, ["g", "h"])]
    assert [(length, of) for length, _, of in _merge(parts, early=False)] == [
        (100, ["a", "b", "c", "d"]), (110, ["e", "f"]), (1000, ["g", "h"]),
    ]  # fmt: skip
    # One pool of six at 110 takes half of 3 rounds and a bit; padding a hundred to a thousand never pays.
    assert [(length, of) for length, _, of in _merge(parts, early=True)] == [
        (110, ["a", "b", "c", "d", "e", "f"]), (1000, ["g", "h"]),
    ]  # fmt: skip


def test_a_held_out_demonstration_is_not_trained_on_and_has_room():
    plan = make_plan(TASKS, ARC, replace(CONFIG, adapt=replace(CONFIG.adapt, stop_demo=True)))
    for pool in plan.pools:
        for job in pool.jobs:
            assert job.held_out is not None and len(job.held_out) <= pool.length
            held = job.held_out.tokens[job.held_out.outputs == 2].tolist()
            shown = job.examples.sequences(0, 1)[0]
            assert int(shown.outputs.max()) == 1 and held


@pytest.mark.slow
def test_padding_of_the_evaluation_set_stays_below_a_fifth():
    from ttt_jax.config_loader import load_config

    whole = ["--tasks.max-prompt-tokens", "none", "--tasks.sample", "none"]
    for name, more in (
        ("eval100", []),
        ("eval100", whole),
        ("eval400", ["--adapt.slots", "20", "--decode.slots", "32"]),
    ):
        config = load_config(RunConfig, ["--config", f"configs/arc/{name}.yaml", *more])
        plan = make_plan(ARC.load(config.tasks).tasks, ARC, config)
        trained = sum(job.examples.max_length for pool in plan.pools for job in pool.jobs)
        computed = sum(p.length * p.slots * -(-len(p.jobs) // p.slots) for p in plan.pools)
        assert 1 - trained / computed < 0.2
        read = sum(len(v.prompt) for g in plan.groups for t in g.tasks for views in t.views for v in views)
        computed = sum(group.slots * group.prompt_length for group in plan.groups) * config.decode.views
        # Padding of prompts costs little: fewer programs are worth more where there are many tasks.
        assert 1 - read / computed < (0.2 if name == "eval100" else 0.33)


def test_answers_that_are_expected_to_be_alike_in_length_go_side_by_side():
    rng = np.random.default_rng(0)

    def task(i, output):
        pair = (rng.integers(0, 10, (4, 4)).astype(np.int8), np.zeros((output, output), np.int8))
        return Task(f"t{i}", (pair, pair), (pair[0],), None)

    # Prompts of one bucket, in an order that says nothing.
    tasks = [task(i, output) for i, output in enumerate([6, 1, 5, 2, 6, 1, 5, 2])]
    config = replace(CONFIG, lengths=(256,), decode=replace(CONFIG.decode, slots=2))
    groups = make_plan(tasks, ARC, config).groups
    assert [{len(t.task.demos[0][1]) for t in group.tasks} for group in groups] == [{1}, {2}, {5}, {6}]
