"""Generated puzzles have one solution, need every clue, and are the same from a seed."""

from __future__ import annotations

import time

import numpy as np
import pytest
from zebra_reference import count_by_enumeration, solutions_by_search

from ttt_jax.tasks.zebra.generate import Generated, generate, true_clues
from ttt_jax.tasks.zebra.puzzle import KINDS, Clue, Puzzle, level, search_space
from ttt_jax.tasks.zebra.sets import SIZES, ZebraOptions, make_records, make_tasks, size_splits
from ttt_jax.tasks.zebra.solver import solve
from ttt_jax.tasks.zebra.vocabulary import draw_attributes, vocabularies, vocabulary_splits
from ttt_jax.tasks.zebra.wording import CONVENTIONS, convention_splits, make_convention


def made(houses: int, attributes: int, seed: int) -> Generated:
    rng = np.random.default_rng(seed)
    return generate(draw_attributes("street", houses, attributes, rng), rng)


@pytest.mark.parametrize(("houses", "attributes"), [(2, 2), (2, 6), (3, 2), (3, 3), (4, 2), (4, 3)])
def test_every_assignment_but_the_solution_breaks_a_clue_and_every_clue_is_needed(houses, attributes):
    for seed in range(4):
        puzzle = made(houses, attributes, seed).puzzle
        assert count_by_enumeration(puzzle) == 1
        for i in range(len(puzzle.clues)):
            assert count_by_enumeration(puzzle, without=i) > 1


@pytest.mark.slow
def test_a_4x4_puzzle_agrees_with_all_331776_assignments():
    puzzle = made(4, 4, 0).puzzle
    assert count_by_enumeration(puzzle) == 1
    assert all(count_by_enumeration(puzzle, without=i) > 1 for i in range(len(puzzle.clues)))


@pytest.mark.parametrize(("houses", "attributes"), [(5, 3), (5, 5), (6, 4)])
def test_a_second_solver_finds_larger_puzzles_unique_and_minimal(houses, attributes):
    one = made(houses, attributes, 1)
    assert solutions_by_search(one.puzzle) == [one.solution]
    for i in range(len(one.puzzle.clues)):
        assert len(solutions_by_search(one.puzzle, without=i)) == 2


@pytest.mark.slow
def test_a_second_solver_finds_6x6_puzzles_unique_and_minimal():
    one = made(6, 6, 0)
    assert solutions_by_search(one.puzzle) == [one.solution]
    for i in range(len(one.puzzle.clues)):
        assert len(solutions_by_search(one.puzzle, without=i)) == 2


def test_random_clue_sets_have_as_many_solutions_as_sat_says():
    """Unsatisfiable, ambiguous and unique ones alike."""
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(60):
        attributes = draw_attributes("academy", 3, 3, rng)
        solutions = [tuple(tuple(rng.permutation(3).tolist()) for _ in range(3)) for _ in range(2)]
        clues = [c for s in solutions[: int(rng.integers(1, 3))] for c in true_clues(s, rng)]
        chosen = rng.choice(len(clues), int(rng.integers(2, 9)), replace=False)
        puzzle = Puzzle(attributes, tuple(clues[i] for i in chosen))
        count, solved = count_by_enumeration(puzzle), solve(puzzle)
        assert (solved.solution is not None, solved.unique) == (count > 0, count == 1)
        seen.add(min(count, 2))
    assert seen == {0, 1, 2}


def test_all_nine_clue_types_occur():
    found = {clue.kind for seed in range(30) for clue in made(5, 4, seed).puzzle.clues}
    assert found == set(KINDS)


def test_true_clues_hold_and_name_a_pair_once():
    rng = np.random.default_rng(0)
    solution = tuple(tuple(rng.permutation(5).tolist()) for _ in range(4))
    clues = true_clues(solution, rng)
    assert all(clue.holds(solution) for clue in clues)
    for kinds in (("consecutive", "beside"), ("left_of", "right_of")):
        pairs = [frozenset(c.items) for c in clues if c.kind in kinds]
        assert len(pairs) == len(set(pairs)) > 0


def test_a_6x6_puzzle_takes_less_than_five_seconds():
    start = time.process_time()
    made(6, 6, 3)
    assert time.process_time() - start < 5


def test_difficulty_is_by_the_size_of_the_search_space():
    assert search_space(3, 2) == 36 and search_space(6, 6) == 720**6
    assert [level(n) for n in (999, 1000, 10**6, 10**10 - 1, 10**10)] == ["S", "M", "L", "L", "XL"]
    levels = [level(search_space(*map(int, size.split("x")))) for size in SIZES]
    # The benchmark has 40 puzzles of a size: 320, 280, 200 and 200.
    assert [40 * levels.count(name) for name in ("S", "M", "L", "XL")] == [320, 280, 200, 200]


def test_conflicts_grow_with_the_size():
    means = [np.mean([made(n, n, seed).proof_conflicts for seed in range(6)]) for n in (2, 3, 4, 5)]
    assert means == sorted(means)


@pytest.mark.slow
def test_a_set_is_the_same_whatever_the_number_of_workers():
    one, two = (make_records("test", 5, each=2, sizes=("3x3", "5x2"), workers=n) for n in (1, 2))
    assert [r.to_json() for r in one] == [r.to_json() for r in two]
    assert make_records("test", 6, each=1, sizes=("3x3",))[0].text != one[0].text


def test_a_task_does_not_depend_on_what_else_is_asked_for():
    few = make_tasks(ZebraOptions("development", sizes=("3x2",), each=1, demos=2))
    many = make_tasks(ZebraOptions("development", sizes=("2x2", "3x2"), each=2, demos=2))
    assert few[0] == next(t for t in many if t.id == few[0].id)


def test_splits_share_no_vocabulary_size_or_convention():
    for splits, everything in (
        (vocabulary_splits(), set(vocabularies())),
        (size_splits(), set(SIZES)),
        (convention_splits(), set(CONVENTIONS)),
    ):
        parts = [set(names) for names in splits.values()]
        assert all(parts) and len(parts) == 3
        assert sum(map(len, parts)) == len(everything) and set.union(*parts) == everything
    sentences = {s: {tuple(sorted(make_convention(c).items())) for c in of} for s, of in convention_splits().items()}
    assert not sentences["train"] & (sentences["development"] | sentences["test"])
    texts = {
        split: {str(x) for t in make_tasks(ZebraOptions(split, each=2, demos=2)) for x, _ in t.demos}
        for split in ("train", "development", "test")
    }
    assert not texts["train"] & (texts["development"] | texts["test"])
    with pytest.raises(ValueError, match="held out"):
        ZebraOptions("train", sizes=(size_splits()["test"][0],))


def test_demos_of_a_latent_convention_use_every_renamed_relation_of_the_query():
    for task in make_tasks(ZebraOptions("train", each=1, demos=3, convention="latent")):
        puzzles = [x.problem for x in (*(x for x, _ in task.demos), *task.queries)]
        assert len({p.convention for p in puzzles}) == len({p.size for p in puzzles}) == 1
        renamed = set(make_convention(puzzles[0].convention))
        asked = renamed & {clue.kind for clue in puzzles[-1].clues}
        assert asked and asked <= {clue.kind for p in puzzles[:-1] for clue in p.clues}


def test_a_malformed_clue_is_refused():
    with pytest.raises(ValueError, match="there are found_at"):
        Clue("above", (0, 0), (0, 1))
    with pytest.raises(ValueError, match="takes two values"):
        Clue("beside", (0, 0), house=1)
    with pytest.raises(ValueError, match="sizes=7x2"):
        ZebraOptions("test", sizes=("7x2",))
    with pytest.raises(ValueError, match="needs demos"):
        ZebraOptions("test", convention="latent")
