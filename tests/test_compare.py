"""The paired difference of two arms, and its command."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ttt_jax.evaluate.compare import compare

SCRIPT = Path(__file__).parents[1] / "scripts" / "compare.py"


def metrics(**solved: Mapping[str, Sequence[int | None]]) -> dict[str, Any]:
    """metrics.json of arms given as {task: place of each right answer}."""
    tasks = dict.fromkeys(task for of in solved.values() for task in of)
    return {
        "arms": {arm: {} for arm in solved},
        "per_task": {task: {arm: of[task] for arm, of in solved.items() if task in of} for task in tasks},
    }


A = metrics(in_context={"t1": [1], "t2": [2], "t3": [None], "t4": [3], "t5": [1, None]})
B = metrics(adapted={"t1": [None], "t2": [1], "t3": [1], "t4": [2], "t5": [1, 2], "t6": [1]})


def test_by_hand():
    result = compare(A, "in_context", B, "adapted")
    assert (result.tasks, result.a, result.b) == (5, 2 / 5, 4 / 5)
    assert result.difference == pytest.approx(2 / 5)
    assert result.gained == ("t3", "t4", "t5") and result.lost == ("t1",)
    assert result.missing == ("t6",)
    assert result.p_value == pytest.approx(2 * (1 + 4) / 16)
    assert result.low < result.difference < result.high


def test_fewer_attempts_count_fewer():
    result = compare(A, "in_context", B, "adapted", attempts=1)
    assert (result.a, result.b) == (1 / 5, 2 / 5)


def test_an_arm_against_itself_differs_in_nothing():
    result = compare(B, "adapted", B, "adapted")
    assert (result.difference, result.low, result.high, result.p_value) == (0, 0, 0, 1)
    assert result.gained == result.lost == result.missing == ()


def test_swapping_the_two_swaps_the_sign():
    ab, ba = compare(A, "in_context", B, "adapted"), compare(B, "adapted", A, "in_context")
    assert ab.difference == -ba.difference and ab.gained == ba.lost and ab.p_value == ba.p_value


def test_pairing_is_sharper_than_two_separate_intervals():
    rng = np.random.default_rng(0)
    ids = [f"t{i}" for i in range(200)]
    hard = rng.random(200) < 0.5
    a = {t: [None] if h else [1] for t, h in zip(ids, hard, strict=True)}
    b = {t: [None] if h and i % 10 else [1] for i, (t, h) in enumerate(zip(ids, hard, strict=True))}
    result = compare(metrics(adapted=a), "adapted", metrics(adapted=b), "adapted")
    assert result.low > 0 and result.high - result.low < 0.1


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match=r"no arm is called 'adaptd'.*in_context"):
        compare(A, "adaptd", B, "adapted")
    with pytest.raises(ValueError, match="no task with known answers"):
        compare(metrics(adapted={"x": [1]}), "adapted", B, "adapted")


def run(monkeypatch: pytest.MonkeyPatch, *argv: object) -> None:
    monkeypatch.setattr(sys, "argv", ["compare.py", *map(str, argv)])
    runpy.run_path(str(SCRIPT), run_name="__main__")


def test_the_command_reads_run_directories_and_files(tmp_path, monkeypatch, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(A))
    (tmp_path / "b.json").write_text(json.dumps(B))
    run(monkeypatch, tmp_path / "run", tmp_path / "b.json", "--arm", "in_context", "--arm", "adapted")
    out = capsys.readouterr().out
    assert "+40.0 points" in out and "t3 t4 t5" in out and "p = 0.62" in out
    both = metrics(in_context={"t": [None]}, adapted={"t": [1]})
    (tmp_path / "b.json").write_text(json.dumps(both))
    run(monkeypatch, tmp_path / "b.json", "--arm", "in_context", "--arm", "adapted")
    assert "+100.0 points" in capsys.readouterr().out


@pytest.mark.parametrize("content", [None, "{", "{}", "[]"])
def test_the_command_refuses_what_is_no_metrics_by_name(tmp_path, monkeypatch, content):
    if content is not None:
        (tmp_path / "metrics.json").write_text(content)
    with pytest.raises(SystemExit, match=r"compare\.py: .*metrics\.json"):
        run(monkeypatch, tmp_path)


def test_the_command_compares_runs_within_files_of_several(tmp_path, monkeypatch, capsys):
    file = tmp_path / "several.json"
    both = metrics(in_context={"t": [None]}, adapted={"t": [1]})
    file.write_text(json.dumps({"runs": {"first": both, "8 steps, 2 views": both}}))
    run(monkeypatch, f"{file}:first", f"{file}:8 steps, 2 views", "--arm", "in_context", "--arm", "adapted")
    assert "+100.0 points" in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"several\.json: holds several runs; give several\.json:first"):
        run(monkeypatch, file)
    with pytest.raises(SystemExit, match=r"holds several runs; give several\.json:first"):
        run(monkeypatch, f"{file}:second")
    (tmp_path / "one.json").write_text(json.dumps(both))
    with pytest.raises(SystemExit, match=r"one\.json: holds one run"):
        run(monkeypatch, f"{tmp_path / 'one.json'}:first")
