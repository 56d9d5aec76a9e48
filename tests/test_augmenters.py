import numpy as np
import pytest
from grid_strategies import query_grids, same_tasks, small_task, tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.tasks.augmenters import AUGMENTERS, CONCAT, Concat, GridAugmenter, make_augmenter, mit_augmenters
from ttt_jax.tasks.task import Task, keyed_rng
from ttt_jax.tasks.transforms import GridTransform

GRID = np.array([[1, 2, 3], [4, 5, 6]], np.int8)


def augmented(name: str, grid: np.ndarray = GRID) -> list:
    task = Task("t", ((grid, grid),), (grid,))
    return make_augmenter(name, task, keyed_rng(0)).apply(task).queries[0].tolist()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Rotate(90)", [[3, 6], [2, 5], [1, 4]]),
        ("Rotate(270)", [[4, 1], [5, 2], [6, 3]]),
        ("Rotate(180)", [[6, 5, 4], [3, 2, 1]]),
        ("Flip(0)", [[4, 5, 6], [1, 2, 3]]),
        ("Flip(1)", [[3, 2, 1], [6, 5, 4]]),
        ("Transpose()", [[1, 4], [2, 5], [3, 6]]),
        ("Reflect(0, reverse=False)", [[1, 2, 3], [4, 5, 6], [4, 5, 6], [1, 2, 3]]),
        ("Reflect(0, reverse=True)", [[4, 5, 6], [1, 2, 3], [1, 2, 3], [4, 5, 6]]),
        ("Reflect(1, reverse=False)", [[1, 2, 3, 3, 2, 1], [4, 5, 6, 6, 5, 4]]),
        ("Reflect(1, reverse=True)", [[3, 2, 1, 1, 2, 3], [6, 5, 4, 4, 5, 6]]),
        ("IncreaseResolution(2)", np.kron(GRID, np.ones((2, 2), int)).tolist()),
        ("IncreaseHeight(2)", [[1, 2, 3], [1, 2, 3], [4, 5, 6], [4, 5, 6]]),
        ("IncreaseWidth(2)", [[1, 1, 2, 2, 3, 3], [4, 4, 5, 5, 6, 6]]),
        ("Repeat(0, 2)", [[1, 2, 3], [4, 5, 6], [1, 2, 3], [4, 5, 6]]),
        ("Repeat(1, 2)", [[1, 2, 3, 1, 2, 3], [4, 5, 6, 4, 5, 6]]),
        ("Repeat(2, 2)", np.tile(GRID, (2, 2)).tolist()),
        ("Chain([Transpose(), IncreaseResolution(2)])", np.kron(GRID.T, np.ones((2, 2), int)).tolist()),
        ("Concat((IdentityAugmenter(), Rotate(180)), axis=0)", [[1, 2, 3], [4, 5, 6], [6, 5, 4], [3, 2, 1]]),
    ],
)
def test_augmenters_do_what_the_paper_says(name, expected):
    assert augmented(name) == expected


def test_the_papers_list_has_twenty_three_names_and_no_concat():
    names = mit_augmenters()
    assert len(set(names)) == 23
    assert not set(names) & set(CONCAT)
    assert set(names) | set(CONCAT) == set(AUGMENTERS)


@given(tasks(max_side=30, max_demos=2), st.sampled_from(sorted(AUGMENTERS)), st.integers(0, 2**31))
@settings(max_examples=150, deadline=None)
def test_an_augmenter_gives_legal_grids_or_raises(task, name, seed):
    augmenter = make_augmenter(name, task, keyed_rng(seed))
    try:
        changed = augmenter.apply(task)
    except ValueError as error:
        assert isinstance(augmenter, GridAugmenter), error
        return
    flat = [g for pair in changed.demos for g in pair] + query_grids(changed)
    for grid in flat:
        assert grid.dtype == np.int8
        assert 1 <= min(grid.shape) <= max(grid.shape) <= 30
        assert 0 <= grid.min() <= grid.max() <= 9
    assert len(changed.demos) == len(task.demos)


@given(tasks(max_side=8), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_one_translation_holds_for_all_grids_of_a_task(task, seed):
    translate = make_augmenter("RandomTranslateXY()", task, keyed_rng(seed))
    assert isinstance(translate, GridTransform)
    changed = translate.apply(task)
    for before, after in zip(query_grids(task), query_grids(changed), strict=True):
        np.testing.assert_array_equal(np.roll(before, translate.shift, (0, 1)), after)
    assert all(0 <= s < 4 for s in translate.shift)


def test_invertible_is_part_of_the_type():
    task = small_task()
    for name in AUGMENTERS:
        augmenter = make_augmenter(name, task, keyed_rng(0))
        if isinstance(augmenter, GridTransform):
            changed = augmenter.apply(task)
            for before, after in zip(query_grids(task), query_grids(changed), strict=True):
                np.testing.assert_array_equal(augmenter.invert(after), before)
        else:
            assert augmenter.name == name
            assert not hasattr(augmenter, "invert") and not hasattr(augmenter, "group")


def test_a_grid_that_grows_beyond_thirty_is_refused():
    with pytest.raises(ValueError, match=r"Repeat\(0, 2\): a grid of 32x3"):
        augmented("Repeat(0, 2)", np.zeros((16, 3), np.int8))
    with pytest.raises(ValueError, match=r"dimension"):
        task = small_task()
        Concat((GridTransform(), GridTransform(1)), 0).apply(Task("t", (), (np.zeros((2, 3), np.int8),), task.answers))


def test_names_may_be_written_without_spaces_and_unknown_ones_name_the_nearest():
    task = small_task()
    assert same_tasks(
        make_augmenter("Reflect(0,reverse=True)", task, keyed_rng(0)).apply(task),
        make_augmenter("Reflect(0, reverse=True)", task, keyed_rng(0)).apply(task),
    )
    assert make_augmenter("Transpose", task, keyed_rng(0)) == GridTransform(1)
    with pytest.raises(ValueError, match=r"no augmenter is called 'IncreaseHight\(2\)', did you mean 'IncreaseHeight"):
        make_augmenter("IncreaseHight(2)", task, keyed_rng(0))
