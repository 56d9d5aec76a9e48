"""New rules made of old parts."""

from __future__ import annotations

from collections import Counter
from random import Random

import numpy as np
import pytest

from ttt_jax.tasks.rearc import held_out_ids, sample_pair, training_ids
from ttt_jax.train import rules
from ttt_jax.train.config import ReArcConfig
from ttt_jax.train.rules import Rule, draw_change, draw_rule

IDENTITY_OF = training_ids()[3]


def pairs_of(rule: Rule, count: int = 5, seed: int = 0) -> list:
    rng, failures = Random(seed), Counter()
    found = (rule.sample(rng, (0.0, 0.3), 5.0, failures) for _ in range(40))
    return [pair for pair in found if pair is not None][:count]


def test_a_rule_of_its_own_is_the_generator_itself():
    own = sample_pair(IDENTITY_OF, Random(0), (0.0, 0.3))
    drawn = Rule(IDENTITY_OF).sample(Random(0), (0.0, 0.3), 5.0, Counter())
    assert own is not None and drawn is not None
    for a, b in zip(own, drawn, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_crossed_rule_keeps_the_inputs_and_takes_the_other_program():
    # 67a3c6ac: the grid mirrored left to right.
    mirror = "67a3c6ac"
    for x, y in pairs_of(Rule(IDENTITY_OF, program_id=mirror)):
        np.testing.assert_array_equal(y, x[:, ::-1])
    own = pairs_of(Rule(IDENTITY_OF))
    chained = pairs_of(Rule(IDENTITY_OF, program_id=mirror, program_reads="output"))
    for (x, y), (crossed_x, crossed_y) in zip(own, chained, strict=True):
        np.testing.assert_array_equal(x, crossed_x)
        np.testing.assert_array_equal(y[:, ::-1], crossed_y)


@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)])
def test_a_change_touches_its_sides_of_every_pair_alike(sides):
    change = rules._recolour(np.random.default_rng(1))
    own = pairs_of(Rule(IDENTITY_OF))
    changed = pairs_of(Rule(IDENTITY_OF, change=change, changed_sides=sides))
    for before, after in zip(own, changed, strict=True):
        for side in (0, 1):
            np.testing.assert_array_equal(change(before[side]) if side in sides else before[side], after[side])


def test_cells_fall_to_one_side_and_none_is_lost():
    grid = np.array([[0, 3, 0], [2, 0, 0], [0, 0, 0], [0, 5, 0]], np.int8)
    seen = set()
    for seed in range(40):
        fallen = rules._fall(np.random.default_rng(seed))(grid)
        assert fallen.shape == grid.shape
        np.testing.assert_array_equal(np.sort(fallen.ravel()), np.sort(grid.ravel()))
        seen.add(fallen.tobytes())
    down = np.array([[0, 0, 0], [0, 0, 0], [0, 3, 0], [2, 5, 0]], np.int8)
    right = np.array([[0, 0, 3], [0, 0, 2], [0, 0, 0], [0, 0, 5]], np.int8)
    assert {down.tobytes(), right.tobytes()} <= seen and len(seen) == 4


def test_changes_give_legal_grids_of_colours_and_are_fixed_once_drawn():
    rng = np.random.default_rng(0)
    for _ in range(300):
        change = draw_change(rng)
        grid = rng.integers(0, 10, rng.integers(1, 11, 2)).astype(np.int8)
        changed = change(grid)
        assert changed.dtype == np.int8 and changed.ndim == 2 and changed.size
        assert changed.min() >= 0 and changed.max() <= 9
        np.testing.assert_array_equal(changed, change(grid))


def test_grids_that_grow_too_large_are_thrown_away_and_counted():
    failures: Counter[str] = Counter()
    rule = Rule(IDENTITY_OF, change=lambda grid: np.zeros((31, 2), np.int8))
    assert rule.sample(Random(0), (0.0, 0.3), 5.0, failures) is None
    assert failures == {"grew beyond 30 x 30": 1}


def test_made_up_rules_must_show_in_their_pairs():
    rng = np.random.default_rng(0)
    grids = [rng.integers(0, 10, (4, 4)).astype(np.int8) for _ in range(4)]
    crossed = Rule(IDENTITY_OF, program_id=IDENTITY_OF)
    assert crossed.shows_in([(g, g.T) for g in grids])
    assert not crossed.shows_in([(g, g) for g in grids])
    assert not crossed.shows_in([(g, np.zeros((3, 3), np.int8)) for g in grids])
    assert not crossed.shows_in([(g, grids[0]) for g in grids])


def test_rules_are_made_up_in_the_shares_asked_for_and_of_the_ids_given():
    ids = training_ids()
    config = ReArcConfig(crossed=0.4, altered=0.3)
    drawn = [draw_rule(config, ids, np.random.default_rng(seed)) for seed in range(600)]
    assert abs(np.mean([r.program_id is not None for r in drawn]) - 0.4) < 0.08
    assert abs(np.mean([r.change is not None for r in drawn]) - 0.3) < 0.08
    used = {r.generator_id for r in drawn} | {r.program_id for r in drawn if r.program_id}
    assert not used & set(held_out_ids())
    plain = [draw_rule(ReArcConfig(), ids, np.random.default_rng(seed)) for seed in range(50)]
    assert all(r.program_id is None and r.change is None for r in plain)


def test_an_invented_rule_needs_no_generator_and_is_a_function_of_its_draw(monkeypatch):
    monkeypatch.setattr(rules, "sample_pair", None)  # calling it would raise
    config, failures = ReArcConfig(invented=1.0, crossed=0.5, altered=0.3), Counter()
    drawn = [draw_rule(config, training_ids(), np.random.default_rng(seed)) for seed in (5, 5)]
    pairs = [[rule.sample(Random(7 + i), (0.0, 0.5), 5.0, failures) for i in range(20)] for rule in drawn]
    found = [pair for pair in pairs[0] if pair is not None]
    assert len(found) >= 5
    for one, other in zip(*pairs, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
            assert all(g.dtype == np.int8 and max(g.shape) <= 30 and g.min() >= 0 and g.max() <= 9 for g in one)
    assert failures.total() == sum(pair is None for pair in [*pairs[0], *pairs[1]])


def test_shares_of_invented_and_crossed_rules_are_those_asked_for():
    config = ReArcConfig(invented=0.4, crossed=0.5)
    drawn = [draw_rule(config, training_ids(), np.random.default_rng(seed)) for seed in range(400)]
    invented = sum(rule.invented is not None for rule in drawn)
    crossed = sum(rule.program_id is not None for rule in drawn)
    assert not any(rule.invented and rule.program_id for rule in drawn)
    assert 120 <= invented <= 200 and 80 <= crossed <= 160


@pytest.mark.parametrize("where", ["drawing the rule", "drawing a pair"])
def test_a_family_that_raises_or_hangs_costs_a_rule_or_a_pair_and_is_counted(monkeypatch, where):
    def hang(*_):
        while True:
            pass

    def broken(rng):
        if where == "drawing the rule":
            raise ZeroDivisionError
        return hang

    monkeypatch.setattr(rules, "FAMILIES", (broken,))
    monkeypatch.setattr(rules, "_INVENTED_TIMEOUT", 0.05)
    failures = Counter()
    rule = draw_rule(ReArcConfig(invented=1.0), training_ids(), np.random.default_rng(0), failures)
    if where == "drawing the rule":
        assert rule.invented is None and failures == {"invented rule raised ZeroDivisionError": 1}
        assert rule.sample(Random(0), (0.0, 0.3), 5.0, failures) is not None
    else:
        assert rule.sample(Random(0), (0.0, 0.3), 5.0, failures) is None and failures == {"timeout": 1}
