"""Invented rules of drawing and movement: legal pairs, drawn without state, and what single rules promise."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ttt_jax.train.invented.masks import flooded, labelled, outside
from ttt_jax.train.invented.movement import (
    FAMILIES,
    completing,
    falling,
    growth,
    lines,
    mazes,
    rooms,
    signals,
    sliding,
    strips,
)
from ttt_jax.train.invented.movement.ground import walk
from ttt_jax.train.invented.movement.guises import _direction_by_key, _ink_by_key
from ttt_jax.train.invented.rule import Family, Pair

KINDS = list(dict.fromkeys(f.__name__ for f in FAMILIES))
BY_NAME = {f.__name__: f for f in FAMILIES}


def pairs_of(family: Family, seed: int, wanted: int = 4, size: float = 0.4, tries: int = 80) -> list[Pair]:
    rng = np.random.default_rng(seed)
    sampler = family(rng)
    drawn = (sampler(rng, size) for _ in range(tries))
    found = []
    for pair in drawn:
        if pair is not None:
            found.append(pair)
            if len(found) == wanted:
                break
    return found


@pytest.mark.parametrize("name", KINDS)
def test_pairs_are_legal_grids_that_change_and_vary(name):
    living = 0
    outputs, inputs = set(), set()
    for seed in range(12):
        pairs = pairs_of(BY_NAME[name], seed, size=(0.1, 0.4, 1.0)[seed % 3])
        living += len(pairs) == 4
        for question, answer in pairs:
            for grid in (question, answer):
                assert grid.dtype == np.int8 and grid.ndim == 2
                assert min(grid.shape) >= 1 and max(grid.shape) <= 30
                assert grid.min() >= 0 and grid.max() <= 9
            assert question.shape != answer.shape or (question != answer).any()
            inputs.add(question.tobytes())
            outputs.add(answer.tobytes())
    assert living >= 9, f"{name}: only {living} of 12 rules have pairs"
    assert len(inputs) > 36 and len(outputs) > 12


@pytest.mark.parametrize("name", KINDS)
def test_the_same_rng_gives_the_same_pair_whatever_was_sampled_before(name):
    sampler, again = (BY_NAME[name](np.random.default_rng(5)) for _ in range(2))
    for seed in range(3):
        again(np.random.default_rng(100 + seed), 0.7)
    for seed in range(4):
        first, second = (s(np.random.default_rng(seed), 0.3) for s in (sampler, again))
        assert (first is None) == (second is None)
        if first is not None and second is not None:
            assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("family", [falling.rigid, falling.sand, sliding.shifted_rows], ids=lambda f: f.__name__)
def test_falling_loses_no_cell_unless_the_rule_recolours(family):
    kept = 0
    for seed in range(30):
        pairs = pairs_of(family, seed)
        counts = [[np.bincount(g.ravel(), minlength=10)[1:] for g in pair] for pair in pairs]
        kept += all(np.array_equal(a, b) for a, b in counts)
    assert kept >= 10


def test_rigid_objects_keep_their_rows_and_only_move_left():
    for seed in range(30):
        for question, answer in pairs_of(falling.rigid, seed):
            assert np.array_equal((question > 0).sum(1), (answer > 0).sum(1))
            columns = np.arange(question.shape[1])
            assert ((answer > 0) @ columns <= (question > 0) @ columns).all()


def test_the_way_through_a_maze_is_one_line_between_two_marks():
    seen = 0
    for seed in range(60):
        for question, answer in pairs_of(mazes.mazes, seed, wanted=2):
            colours, counts = np.unique(question[question > 0], return_counts=True)
            wall = colours[counts.argmax()]
            marks = (question > 0) & (question != wall)
            path = marks | (question != answer)
            if marks.sum() != 2 or (same_neighbours(path)[path] == 0).any():
                continue  # another rule than the way, or a dotted way
            seen += 1
            degree = same_neighbours(path)
            assert labelled(path)[1] == 1
            assert (degree[marks] == 1).all() and (degree[path & ~marks] == 2).all()
    assert seen > 10


def test_a_maze_has_no_cycle_and_one_part():
    rng = np.random.default_rng(0)
    for _ in range(20):
        free, parents = mazes._maze(rng, *(int(n) for n in rng.integers(1, 9, 2)))
        links = (free[1:] & free[:-1]).sum() + (free[:, 1:] & free[:, :-1]).sum()
        assert labelled(free)[1] == 1 and links == free.sum() - 1
        assert free.sum() == 2 * len(parents) + 1


def same_neighbours(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask, 1).astype(int)
    return padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]


def test_sources_colour_what_a_slow_flood_reaches():
    rng = np.random.default_rng(0)
    for _ in range(40):
        free = rng.random(tuple(rng.integers(3, 12, 2))) < 0.6
        seed = tuple(int(rng.integers(n)) for n in free.shape)
        reached = np.zeros_like(free)
        reached[seed] = True
        while True:
            grown = reached | (free & (same_neighbours(reached) > 0))
            if np.array_equal(grown, reached):
                break
            reached = grown
        seeds = np.zeros_like(free)
        seeds[seed] = True
        assert np.array_equal(flooded(free, seeds), reached)


def test_closed_ground_is_ground_that_no_border_cell_reaches():
    grid = np.array([[0, 1, 1, 1], [0, 1, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0]])
    assert not outside(grid == 0)[1, 2]
    assert outside(grid == 0, diagonal=True)[1, 2]
    assert outside(grid == 0).sum() == (grid == 0).sum() - 1


def test_rooms_are_filled_as_wholes():
    """No room is filled in part: cells of one room that were empty stay equal."""
    checked = 0
    for seed in range(30):
        for question, answer in pairs_of(rooms.walled_rooms, seed):
            if question.shape != answer.shape:
                continue
            parts, count = labelled(question == 0)
            for number in range(1, count + 1):
                checked += 1
                assert len(set(answer[parts == number].tolist())) == 1
    assert checked > 50


def test_elementary_rows_follow_one_table_of_three_neighbours():
    for seed in range(12):
        table: dict[tuple[bool, ...], bool] = {}
        for _, answer in pairs_of(growth.elementary, seed):
            alive = answer > 0
            for above, below in itertools.pairwise(alive):
                for c in range(1, alive.shape[1] - 1):
                    key = tuple(above[c - 1 : c + 2].tolist())
                    assert table.setdefault(key, bool(below[c])) == below[c]


def test_spirals_are_one_line_that_starts_where_it_was_shown():
    for seed in range(25):
        for question, answer in pairs_of(lines.spirals, seed):
            if (answer == 0).sum() == 0:
                continue  # a filled ground
            assert (answer[question > 0] == question[question > 0]).all()
            assert labelled(answer > 0)[1] == 1
            assert (same_neighbours(answer > 0)[answer > 0] <= 2).all()


def test_walk_stops_before_the_first_cell_that_is_not_empty():
    grid = np.zeros((4, 6), np.int8)
    grid[1, 4] = 3
    assert walk(grid, (1, 0), (0, 1)) == ([(1, 1), (1, 2), (1, 3)], (1, 4))
    assert walk(grid, (3, 5), (-1, -1)) == ([(2, 4), (1, 3), (0, 2)], None)


def test_strips_read_every_row_by_itself():
    """A row that occurs twice, in whichever pairs, has one answer."""
    for seed in range(40):
        known: dict[bytes, bytes] = {}
        for question, answer in pairs_of(strips.line_rule, seed, wanted=12, size=0.05, tries=40):
            for row, new in zip(question, answer, strict=True):
                assert known.setdefault(row.tobytes(), new.tobytes()) == new.tobytes()


def test_the_front_layer_is_a_whole_rectangle():
    checked = 0
    for seed in range(60):
        for question, answer in pairs_of(completing.overlapping, seed):
            if answer.shape not in ((1, 1), (2, 2)):
                continue
            boxes = {}
            for colour in set(question[question > 0].tolist()):
                rows, columns = np.nonzero(question == colour)
                boxes[colour] = (np.ptp(rows) + 1) * (np.ptp(columns) + 1) == len(rows)
            if len(boxes) == 2:
                checked += 1
                assert sum(boxes.values()) == 1  # one is whole, so that there is no doubt
    assert checked > 5


def test_a_key_in_the_corner_tells_the_colour_of_what_is_new():
    def plain(rng: np.random.Generator, size: float) -> Pair:
        grid = np.zeros((4, 5), np.int8)
        grid[2, int(rng.integers(1, 4))] = 3
        return grid, np.where(np.roll(grid, 1, 0) == 3, np.int8(7), grid)

    sampler, seen = _ink_by_key(plain), set()
    for seed in range(40):
        pair = sampler(np.random.default_rng(seed), 0.5)
        assert pair is not None
        question, answer = pair
        key = int(question[0, 0])
        seen.add(key)
        assert key not in (0, 3) and answer[0, 0] == key
        assert set(answer[3].tolist()) == {0, key}
    assert len(seen) > 5


def test_the_same_key_always_tells_the_same_direction():
    def fall(rng: np.random.Generator, size: float) -> Pair:
        grid, answer = np.zeros((5, 5), np.int8), np.zeros((5, 5), np.int8)
        grid[2, 2] = answer[2, 4] = 3
        return grid, answer

    for seed in range(20):
        sampler = _direction_by_key(fall, np.random.default_rng(seed))
        told: dict[int, list[tuple[int, int]]] = {}
        for draw in range(12):
            pair = sampler(np.random.default_rng(draw), 0.5)
            assert pair is not None
            question, answer = pair
            answer[0, 0] = 0
            where = np.argwhere(answer)[0].tolist()
            told.setdefault(int(question[0, 0]), []).append((where[0], where[1]))
        assert len(told) in (2, 3)
        assert all(len(set(places)) == 1 for places in told.values())


def test_a_turtle_makes_one_stride_for_each_colour_of_its_program():
    for seed in range(40):
        strides = set()
        for question, answer in pairs_of(signals.turtle, seed, wanted=6):
            path = (answer > 0) & (question == 0)
            start = question[1:] > 0
            assert start.sum() == 1
            assert labelled(path | np.pad(start, ((1, 0), (0, 0))), diagonal=True)[1] == 1 or path.sum() == 1
            strides.add(path.sum() / (question[0] > 0).sum() if path.sum() > 1 else 0)
        assert strides <= {0} or (len(strides) == 1 and strides <= {1, 2})
