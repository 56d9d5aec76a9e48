from collections import Counter

import numpy as np
import pytest
from grid_strategies import grids, query_grids, same_tasks, small_task, tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.tasks import transforms as tr
from ttt_jax.tasks.arc import ArcDomain
from ttt_jax.tasks.task import keyed_rng

ALL = ("symmetries", "colours_all", "order", "translate")
kinds = st.lists(st.sampled_from(tr.KINDS), unique=True).map(tuple)
seeds = st.integers(0, 2**31)


@given(tasks(max_side=8), kinds, seeds)
@settings(max_examples=150, deadline=None)
def test_inverting_a_transform_gives_back_queries_and_answers(task, kinds, seed):
    transform = tr.transform_task(kinds, task, keyed_rng(seed))
    changed = transform.apply(task)
    for before, after in zip(query_grids(task), query_grids(changed), strict=True):
        back = transform.invert(after)
        np.testing.assert_array_equal(back, before)
        assert back.dtype == np.int8
        np.testing.assert_array_equal(transform.apply_grid(transform.invert(before)), before)


@given(tasks(max_side=8), kinds, seeds)
@settings(max_examples=50, deadline=None)
def test_demos_stay_paired_and_are_only_reordered(task, kinds, seed):
    transform = tr.transform_task(kinds, task, keyed_rng(seed))
    back = [(transform.invert(x), transform.invert(y)) for x, y in transform.apply(task).demos]
    as_bytes = lambda pairs: [(x.shape, y.shape, x.tobytes(), y.tobytes()) for x, y in pairs]  # noqa: E731
    assert Counter(as_bytes(back)) == Counter(as_bytes(task.demos))
    if "order" not in kinds:
        assert as_bytes(back) == as_bytes(task.demos)


@given(grids(max_side=6))
@settings(max_examples=20, deadline=None)
def test_the_symmetries_are_numpys(grid):
    expected = {
        "identity": grid,
        "transpose": grid.T,
        "flip0": np.flip(grid, 0),
        "flip1": np.flip(grid, 1),
        "rotate90": np.rot90(grid),
        "rotate180": np.rot90(grid, 2),
        "rotate270": np.rot90(grid, 3),
        "antitranspose": np.rot90(grid, 2).T,
    }
    for i, name in enumerate(tr.SYMMETRIES):
        np.testing.assert_array_equal(tr.GridTransform(i).apply_grid(grid), expected[name])
        assert tr.GridTransform(i).group == name


def test_the_symmetries_are_eight_different_ones():
    grid = np.arange(9, dtype=np.int8).reshape(3, 3)
    assert len({tr.GridTransform(i).apply_grid(grid).tobytes() for i in range(8)}) == 8


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_colours_leave_the_background_where_it_is_and_colours_all_does_not(seed):
    rng = keyed_rng(seed)
    draws = [tr.random_transform(("colours",), 3, rng) for _ in range(20)]
    assert all(d.colours[0] == 0 and sorted(d.colours) == list(range(10)) for d in draws)
    draws = [tr.random_transform(("colours_all",), 3, rng) for _ in range(200)]
    assert {d.colours[0] for d in draws} == set(range(10))


@given(tasks(max_side=5), kinds, st.integers(1, 40), seeds)
@settings(max_examples=100, deadline=None)
def test_views_start_with_the_identity_and_go_round_the_symmetries(task, kinds, count, seed):
    views = tr.make_views(kinds, task, count, keyed_rng(seed))
    assert len(views) == count
    assert views[0].name == views[0].group == "identity"
    assert same_tasks(views[0].apply(task), task)
    allowed = tr.SYMMETRIES if "symmetries" in kinds else {"identity", *kinds} & set(tr.SYMMETRIES)
    groups = Counter(view.group for view in views)
    assert set(groups) <= set(allowed)
    assert max(groups.values()) - min(groups[name] for name in allowed) <= 1


def test_views_repeat_only_once_no_new_ones_are_left():
    task = small_task(demos=2, side=1)
    rng = keyed_rng(0)
    for kinds, distinct in ((("symmetries",), 8), (("order",), 2), (("symmetries", "order"), 16), (("transpose",), 2)):
        views = tr.make_views(kinds, task, distinct + 3, rng)
        assert len({v.name for v in views[:distinct]}) == len({v.name for v in views}) == distinct
    views = tr.make_views(("symmetries", "colours", "order"), task, 200, rng)
    assert len({v.name for v in views}) == 200


@given(tasks(max_side=5), seeds)
@settings(max_examples=25, deadline=None)
def test_views_depend_on_the_key_alone(task, seed):
    once, again = (tr.make_views(ALL, task, 9, keyed_rng(seed, "views")) for _ in range(2))
    assert once == again
    assert once != tr.make_views(ALL, task, 9, keyed_rng(seed + 1, "views"))


def test_names_are_readable_and_tell_transforms_apart():
    transform = tr.GridTransform(4, (0, 3, 1, 2, 4, 5, 6, 7, 8, 9), (2, 0, 1))
    assert transform.name == "rotate90+colours(0,3,1,2,4,5,6,7,8,9)+order(2,0,1)"
    assert tr.GridTransform(shift=(1, 2)).name == "shift(1,2)"
    task, rng = small_task(), keyed_rng(0)
    draws = {tr.transform_task(ALL, task, rng) for _ in range(300)}
    assert len({d.name for d in draws}) == len(draws)


def test_only_what_can_be_undone_makes_a_view():
    task, rng = small_task(), keyed_rng(0)
    with pytest.raises(ValueError, match=r"Repeat\(0, 2\).*cannot be undone.*symmetries"):
        ArcDomain().views(("symmetries", "Repeat(0, 2)"), task, 4, rng)
    with pytest.raises(ValueError, match=r"symetries.*did you mean 'symmetries'"):
        ArcDomain().views(("symetries",), task, 4, rng)
    with pytest.raises(ValueError, match=r"colors.*did you mean 'colours'"):
        ArcDomain().transform(("colors",), task, rng)
