"""Invented rules about whole grids."""

from __future__ import annotations

import numpy as np
import pytest

from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.patterns import (
    FAMILIES,
    canvas,
    choices,
    colouring,
    contents,
    geometry,
    local,
    panels,
    rows,
    sequences,
    symmetry,
    tilings,
)
from ttt_jax.train.invented.patterns.guises import guised
from ttt_jax.train.invented.rule import Family, Pair, PairSampler

_NUMBERS = [FAMILIES.index(family) for family in dict.fromkeys(FAMILIES)]


def pairs_of(sampler: PairSampler, seed: int, count: int = 5, size: float = 0.4) -> list[Pair]:
    rng = np.random.default_rng(seed)
    found = (sampler(rng, size) for _ in range(6 * count))
    return [pair for pair in found if pair is not None][:count]


def rules_of(family: Family, count: int = 8) -> list[list[Pair]]:
    """Pairs of that many rules of a family."""
    return [pairs_of(family(np.random.default_rng(seed)), seed) for seed in range(count)]


@pytest.mark.parametrize("number", _NUMBERS)
def test_pairs_are_legal_grids_that_show_something(number: int):
    shown = 0
    for pairs in rules_of(FAMILIES[number]):
        for pair in pairs:
            for grid in pair:
                assert grid.dtype == np.int8 and grid.ndim == 2
                assert min(grid.shape) >= 1 and max(grid.shape) <= 30
                assert grid.min() >= 0 and grid.max() <= 9
        alike = sum(x.shape == y.shape and np.array_equal(x, y) for x, y in pairs)
        answers = {(y.tobytes(), y.shape) for _, y in pairs}
        shown += len(pairs) >= 3 and alike == 0 and len(answers) > 1
    assert shown >= 6, "most rules of a family must show themselves in pairs that differ"


@pytest.mark.parametrize("number", _NUMBERS)
def test_a_rule_is_what_its_seed_draws_and_keeps_no_state(number: int):
    first, again = (FAMILIES[number](np.random.default_rng(3)) for _ in range(2))
    expected = pairs_of(first, 5)
    # The second sampler has drawn other pairs before: they must not matter.
    pairs_of(again, 6)
    for pair, other in zip(expected, pairs_of(again, 5), strict=True):
        for grid, same in zip(pair, other, strict=True):
            np.testing.assert_array_equal(grid, same)


def test_an_answer_follows_from_its_input_alone():
    # Rules with few inputs draw some of them twice: then the answers must agree.
    repeated = 0
    for number, family in enumerate(FAMILIES):
        for seed in range(2):
            sampler, answers = family(np.random.default_rng(seed)), {}
            for x, y in pairs_of(sampler, seed, count=30, size=0.01):
                key = x.tobytes(), x.shape
                repeated += key in answers
                np.testing.assert_array_equal(answers.setdefault(key, y), y, f"family {number}, seed {seed}")
    assert repeated > 50


def test_rules_differ():
    drawn = set()
    for seed in range(40):
        family = FAMILIES[seed % len(FAMILIES)]
        pairs = pairs_of(family(np.random.default_rng(seed)), 0, count=2)
        drawn.add(b"".join(y.tobytes() for _, y in pairs))
    assert len(drawn) > 35


def test_a_repaired_symmetric_grid_is_symmetric():
    for group, symmetries in symmetry.GROUPS.items():
        whole = symmetry.made_symmetric(np.random.default_rng(0).integers(0, 10, (6, 6)).astype(np.int8), group)
        for chosen in symmetries:
            np.testing.assert_array_equal(symmetric(whole, chosen), whole)


def test_a_repaired_tiling_keeps_what_was_not_hidden():
    checked = 0
    for pairs in rules_of(tilings.repaired, 20):
        for x, y in pairs:
            if x.shape == y.shape and y.all():
                changed = x != y
                assert len(set(x[changed].tolist())) == 1, "one colour hides"
                checked += 1
    assert checked > 10


def test_panel_logic_is_a_function_of_the_panels_cells():
    checked = 0
    for pairs in rules_of(panels.logic, 20):
        table: dict[tuple[int, int], int] = {}
        for x, y in pairs:
            width = y.shape[1]
            # Two panels without frame, with or without a line between.
            if x.shape[0] != y.shape[0] or x.shape[1] - 2 * width not in (0, 1):
                continue
            left, right = x[:, :width], x[:, -width:]
            for a, b, c in zip(left.ravel().tolist(), right.ravel().tolist(), y.ravel().tolist(), strict=True):
                assert table.setdefault((a, b), c) == c
                checked += 1
    assert checked > 100


def test_sorted_panels_are_listed_by_their_number_of_cells():
    checked = 0
    for pairs in rules_of(choices.sorted_panels, 30):
        rising = set()
        for x, y in pairs:
            if y.shape[0] == 1 and x.shape[0] > 1:
                steps = np.diff([np.count_nonzero(x == colour) for colour in y[0]])
                assert (steps > 0).all() or (steps < 0).all()
                rising.add(bool(steps[0] > 0))
                checked += 1
        assert len(rising) <= 1, "the direction is the rule's"
    assert checked > 10


def test_substitution_gives_one_tile_for_each_colour():
    checked = 0
    for pairs in rules_of(local.substituted, 20):
        tiles: dict[int, bytes] = {}
        for x, y in pairs:
            factor = y.shape[0] // x.shape[0]
            if factor < 2 or y.shape[0] % x.shape[0]:
                continue
            for (i, j), shade in np.ndenumerate(x):
                tile = y[i * factor : (i + 1) * factor, j * factor : (j + 1) * factor].tobytes()
                assert tiles.setdefault(int(shade), tile) == tile
                checked += 1
    assert checked > 50


def test_stairs_change_by_the_same_number_of_cells_in_each_row():
    for pairs in rules_of(sequences.stairs, 10):
        for _, y in pairs:
            lengths = np.count_nonzero(y, 1)
            inner = (lengths > 0) & (lengths < y.shape[1])
            steps = np.diff(lengths)[inner[1:] & inner[:-1]]
            assert len(set(steps.tolist())) <= 1


def test_filling_forward_agrees_with_a_walk_along_each_row():
    grid = canvas.speckle(np.random.default_rng(1), (7, 9), [1, 2, 3], 0.3)
    expected = grid.copy()
    for row in expected:
        for column in range(1, len(row)):
            row[column] = row[column] or row[column - 1]
    np.testing.assert_array_equal(rows.filled_forward(grid), expected)


def test_actions_leave_their_argument_alone():
    kinds = (*geometry.KINDS, *colouring.KINDS, *rows.KINDS, *contents.KINDS)
    rng = np.random.default_rng(0)
    for kind in kinds:
        grid = canvas.speckle(rng, (4, 4), [1, 2, 3], 0.5)
        before = grid.copy()
        kind.make(rng, [1, 2, 3])(grid)
        np.testing.assert_array_equal(grid, before, kind.make.__name__)


def test_a_guise_turns_and_recolours_input_and_output_alike():
    def doubled(rng: np.random.Generator) -> PairSampler:
        del rng

        def sample(rng: np.random.Generator, size: float) -> Pair:
            grid = canvas.speckle(rng, (3, 4), [1, 2], 0.6)
            grid[0, 0] = 1
            return grid, np.repeat(np.repeat(grid, 2, 0), 2, 1)

        return sample

    seen = set()
    for seed in range(40):
        for x, y in pairs_of(guised(doubled, plain=True)(np.random.default_rng(seed)), seed, count=1):
            np.testing.assert_array_equal(np.repeat(np.repeat(x, 2, 0), 2, 1), y)
            seen.add((x.shape, int(np.bincount(x.ravel(), minlength=10)[3:].any())))
    assert seen == {((3, 4), 0), ((4, 3), 0), ((3, 4), 1), ((4, 3), 1)}


def test_nothing_is_finished_that_shows_no_rule():
    grid = np.ones((3, 3), np.int8)
    assert canvas.finished(grid, None) is None
    assert canvas.finished(grid, grid) is None
    assert canvas.finished(grid, np.zeros((2, 2), np.int8)) is None
    assert canvas.finished(grid, np.ones((31, 1), np.int8)) is None
    assert canvas.finished(np.zeros((3, 3), np.int8), grid) is None


def test_enclosed_ground_is_what_a_flood_from_outside_does_not_reach():
    rng = np.random.default_rng(0)
    painted = 0
    for _ in range(30):
        grid = canvas.speckle(rng, (6, 7), [1], 0.6)
        answer = contents.enclosed(np.random.default_rng(1), [1])(grid)
        dry = {(r, c) for r, c in np.ndindex(grid.shape) if grid[r, c] == 0}
        wet = [(r, c) for r, c in dry if r in (0, 5) or c in (0, 6)]
        while wet:
            cell = wet.pop()
            if cell in dry:
                dry.remove(cell)
                wet += [(cell[0] + r, cell[1] + c) for r, c in ((0, 1), (1, 0), (0, -1), (-1, 0))]
        if answer is None:
            assert not dry
            continue
        assert {(int(r), int(c)) for r, c in np.argwhere(answer != grid)} == dry
        painted += 1
    assert painted > 10


@pytest.mark.parametrize("kind", ["snake", "spiral", "diagonals", "reading"])
def test_a_path_visits_every_cell_once_by_neighbours(kind: str):
    for shape in ((4, 5), (5, 4), (1, 3)):
        path = sequences._path(kind, shape)
        assert sorted(path.tolist()) == list(range(shape[0] * shape[1]))
        if kind in ("snake", "spiral"):
            rows, columns = np.unravel_index(path, shape)
            assert (np.abs(np.diff(rows)) + np.abs(np.diff(columns)) == 1).all()


def test_a_single_row_tells_how_many_rows_follow_from_it():
    checked = 0
    for pairs in rules_of(sequences.unrolled, 30):
        heights: dict[tuple[int, int], int] = {}
        for x, y in pairs:
            if len(x) == 1:
                assert heights.setdefault((x.shape[1], int((x != 0).sum())), len(y)) == len(y)
                checked += 1
    assert checked > 20
