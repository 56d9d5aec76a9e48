"""Training pairs that evaluation tasks have too are found under every symmetry and renaming of colours."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from ttt_jax.tasks.rearc import training_ids
from ttt_jax.tasks.task import Task
from ttt_jax.tasks.transforms import random_transform
from ttt_jax.train import overlap
from ttt_jax.train.config import ReArcConfig
from ttt_jax.train.overlap import Coinciding, canonical, held

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


def test_what_training_draws_is_counted_where_a_task_has_it(monkeypatch: pytest.MonkeyPatch):
    config = ReArcConfig(lengths=(512,), length_probabilities=(1.0,), difficulties=((0.2, 1.0),), pair_timeout=1.0)
    monkeypatch.setattr(overlap, "training_ids", lambda: training_ids()[:3])
    draw = Coinciding(config, ("none",), sequences=3)
    monkeypatch.setitem(overlap._LOADED, ("none",), {"none": {}})
    seen: list[bytes] = []
    spied = canonical
    monkeypatch.setattr(overlap, "canonical", lambda pair: seen.append(spied(pair)) or seen[-1])
    looked, found = draw(0)
    assert looked == len(seen) > 6 and not found["none"]
    monkeypatch.setitem(overlap._LOADED, ("none",), {"none": {seen[0]: {"a task"}}})
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
