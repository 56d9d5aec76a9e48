"""Training pairs that evaluation tasks have too are left out, under every symmetry and renaming of colours."""

from __future__ import annotations

import json
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from ttt_jax.tasks.arc import read_source
from ttt_jax.tasks.rearc import training_ids
from ttt_jax.tasks.task import Task
from ttt_jax.tasks.transforms import random_transform
from ttt_jax.train import coinciding, overlap
from ttt_jax.train.config import ReArcConfig
from ttt_jax.train.data import draw_pairs
from ttt_jax.train.overlap import canonical, held

GRID = np.array([[0, 1, 2], [3, 0, 1]], np.int8)
OUT = np.array([[1, 1], [0, 2], [5, 2]], np.int8)


@pytest.mark.parametrize("seed", range(12))
def test_a_pair_and_its_images_have_one_digest(seed: int):
    transform = random_transform(("symmetries", "colours_all"), 1, np.random.default_rng(seed))
    assert canonical(transform.apply_pairs([(GRID, OUT)])[0]) == canonical((GRID, OUT))


def test_other_pairs_have_others():
    other = OUT.copy()
    other[0, 0] = 2
    swapped = np.where(GRID == 1, 2, np.where(GRID == 2, 1, GRID)).astype(np.int8)  # in one grid of the two only
    pairs = [(GRID, OUT), (GRID, other), (OUT, GRID), (swapped, OUT), (GRID.T, OUT), (GRID, OUT.reshape(2, 3))]
    assert len({canonical(pair) for pair in pairs}) == len(pairs)


def test_answers_and_demonstrations_of_a_task_are_held_and_unknown_answers_are_not():
    known = Task("known", ((GRID, OUT),), (OUT,), (GRID,))
    unknown = Task("unknown", ((GRID.T.copy(), OUT.T.copy()),), (OUT,), None)
    found = held([known, unknown])
    assert found == {canonical((GRID, OUT)): {"known", "unknown"}, canonical((OUT, GRID)): {"known"}}


CONFIG = ReArcConfig(lengths=(512,), length_probabilities=(1.0,), difficulties=((0.2, 1.0),), pair_timeout=1.0)


def draw(config: ReArcConfig) -> tuple[list[bytes], Counter[str]]:
    failures: Counter[str] = Counter()
    pairs, _ = draw_pairs(config, training_ids()[:3], 512, np.random.default_rng(0), failures)
    return [canonical(pair) for pair in pairs], failures


def test_training_leaves_out_a_pair_that_a_task_kept_for_evaluation_has(monkeypatch: pytest.MonkeyPatch):
    free, _ = draw(replace(CONFIG, exclude=()))
    tables = {"a": {}, "b": {free[1]: {"a task"}}}
    monkeypatch.setattr(overlap, "held_by", lambda source: tables[source])
    kept, failures = draw(replace(CONFIG, exclude=("a", "b")))
    assert free[1] not in kept and free[0] in kept
    assert failures["pair of a task kept for evaluation"] >= 1


def test_by_default_nothing_of_the_evaluation_and_development_tasks_is_drawn():
    sources = ReArcConfig().exclude
    for source in ("arc-agi-1/evaluation", "arc-agi-2/evaluation", "arc-agi-2/development"):
        task = read_source(source).tasks[0]
        assert source in sources and overlap.is_held(task.demos[0], sources)
        turned = tuple(grid.T.copy() for grid in task.demos[1])
        assert overlap.is_held(turned, sources)
    assert not overlap.is_held((GRID, OUT), sources) and not overlap.is_held(task.demos[0], ())


def test_what_training_would_draw_is_counted_where_a_task_has_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(coinciding, "training_ids", lambda: training_ids()[:3])
    tables: dict[str, overlap.Held] = {"none": {}}
    monkeypatch.setattr(coinciding, "held_by", lambda source: tables[source])
    seen: list[bytes] = []
    monkeypatch.setattr(coinciding, "canonical", lambda pair: seen.append(canonical(pair)) or seen[-1])
    draw = coinciding.Coinciding(CONFIG, ("none",), sequences=3)
    looked, found = draw(0)
    assert looked == len(seen) > 6 and not found["none"]
    tables["none"] = {seen[0]: {"a task"}}
    again, found = draw(0)
    assert again == looked and sum(found["none"].values()) == seen[:looked].count(seen[0])
    assert {task for task, _ in found["none"]} == {"a task"}


def test_the_script_writes_what_it_found(tmp_path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.syspath_prepend("scripts")
    import check_overlap

    config = tmp_path / "config.yaml"
    config.write_text(
        "data: {lengths: [512], length_probabilities: [1.0], difficulties: [[0.2, 1.0]], invented: 1.0}\n"
    )
    out = tmp_path / "out.json"
    monkeypatch.setattr(sys, "argv", ["check_overlap.py"])
    argv = ["--config", str(config), "--pairs", "50", "--workers", "0", "--out", str(out)]
    argv += ["--sources", "arc-agi-1/evaluation"]
    assert check_overlap.main(argv) == 0
    written = json.loads(out.read_text())
    assert written["pairs"] >= 50 and set(written["sources"]) == {"arc-agi-1/evaluation"}
    assert "arc-agi-1/evaluation: " in capsys.readouterr().out
