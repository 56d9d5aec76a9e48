"""A measurement runs what a claim needs, in order, within its budget, and quotes what the runs wrote."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from synthetic_run import make_run

from ttt_jax.config import DecodeConfig, HostsConfig, RunConfig, SelectConfig
from ttt_jax.evaluate import runs
from ttt_jax.evaluate.measurement import equal_seconds, measure
from ttt_jax.evaluate.tables import results_table
from ttt_jax.select.rank import METHODS
from ttt_jax.tasks.task import Task


def metrics(arms, solved):
    def number(value):
        return {"value": value, "low": 0.0, "high": 1.0, "n": 4}

    seconds = {"in_context": {"adapt": 0.0, "decode": 8.0, "select": 0.0}}
    seconds["adapted"] = {"adapt": 12.0, "decode": 8.0, "select": 0.0}
    return {
        "benchmark": "b", "tasks": 4, "model": "m", "device": {}, "versions": {}, "compilations": 7,
        "seconds": {"compile": 3.0},
        "seconds_by_arm": {arm: seconds[arm] for arm in arms},
        "arms": {arm: dict.fromkeys(("pass@1", "pass@2", "coverage"), number(solved[arm] / 4)) for arm in arms},
        "per_task": {str(i): {arm: [1 if i < solved[arm] else None] for arm in arms} for i in range(4)},
    }  # fmt: skip


@pytest.fixture
def calls(tmp_path):
    made: list[RunConfig] = []

    def run(config, command):
        made.append(config)
        path = Path(config.run_dir)
        path.mkdir(parents=True)
        solved = {"in_context": 1, "adapted": 3 - config.seed}
        (path / "metrics.json").write_text(json.dumps(metrics(config.arms, solved)))
        return 0

    return made, run


def test_equal_seconds_gives_in_context_as_many_more_views_as_adapting_took_time():
    config = RunConfig(decode=DecodeConfig(views=16, slots=24))
    more = equal_seconds(config, metrics(("in_context", "adapted"), {"in_context": 1, "adapted": 3}))
    assert more.arms == ("in_context",)
    assert more.decode.views == 40  # 20 seconds against 8
    assert more.decode.views * more.decode.slots <= 16 * 24
    # The first arm also loaded kernels: what a view costs is seen in the other one.
    loaded = metrics(("in_context", "adapted"), {"in_context": 1, "adapted": 3})
    loaded["seconds_by_arm"]["in_context"]["decode"] = 13.0
    assert equal_seconds(config, loaded).decode.views == 40


def test_a_measurement_holds_both_arms_equal_seconds_and_the_seeds(calls, tmp_path):
    made, run = calls
    out = tmp_path / "out.json"
    assert measure(RunConfig(run_dir=str(tmp_path / "r")), run, out, 3, 1e9, "the command") == 0
    assert [(c.seed, c.arms) for c in made] == [
        (0, ("in_context", "adapted")), (0, ("in_context",)), (1, ("adapted",)), (2, ("adapted",)),
    ]  # fmt: skip
    found = json.loads(out.read_text())
    assert found["adaptation_seeds"]["pass@2"]["values"] == [0.75, 0.5, 0.25]
    assert found["comparisons"]["adapted - in_context"]["difference"] == pytest.approx(0.5)
    assert found["comparisons"]["adapted - in_context at equal seconds"]["difference"] == pytest.approx(0.5)
    assert found["seconds_per_task"]["adapted, first"] == {"adapt": 3.0, "decode": 2.0, "select": 0.0}
    assert found["command"] == "the command" and set(found["runs"]) == {"first", "equal_seconds", "seed1", "seed2"}


def clock(monkeypatch, step: float) -> None:
    """Every look at the clock of `finish_runs` finds it `step` seconds on."""
    ticks = iter(range(1000))
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: step * next(ticks)))


def test_a_spent_budget_leaves_out_the_last_runs_and_keeps_the_first(calls, tmp_path, capsys, monkeypatch):
    made, run = calls
    out = tmp_path / "out.json"
    clock(monkeypatch, 1000.0)
    assert measure(RunConfig(run_dir=str(tmp_path / "r")), run, out, 3, 1500.0, "c") == 0
    assert len(made) == 1 and set(json.loads(out.read_text())["runs"]) == {"first"}
    assert "left out: equal_seconds, seed1, seed2" in capsys.readouterr().out


def test_a_spent_budget_loses_nothing_that_later_runs_have_in_the_file(calls, tmp_path, monkeypatch):
    made, run = calls
    out = tmp_path / "out.json"
    measure(RunConfig(run_dir=str(tmp_path / "r")), run, out, 3, 1e9, "c")
    before = json.loads(out.read_text())["runs"]
    changed = json.loads(out.read_text())
    del changed["runs"]["equal_seconds"]
    out.write_text(json.dumps(changed))
    clock(monkeypatch, 1000.0)
    assert measure(RunConfig(run_dir=str(tmp_path / "q")), run, out, 3, 500.0, "c") == 0
    assert len(made) == 4
    after = json.loads(out.read_text())["runs"]
    assert after == {name: of for name, of in before.items() if name != "equal_seconds"}


def test_a_budget_too_short_to_load_says_so(capfd):
    with pytest.raises(SystemExit) as left, runs.stopped_after(0.05):
        time.sleep(5)
    assert left.value.code == 143 and "before the run began" in capfd.readouterr().err


def test_it_goes_on_with_the_file_alone_and_makes_no_run_twice(calls, tmp_path, monkeypatch):
    made, run = calls
    out, config = tmp_path / "out.json", RunConfig(run_dir=str(tmp_path / "r"))
    clock(monkeypatch, 1000.0)
    measure(config, run, out, 3, 2500.0, "c")
    assert len(made) == 2
    elsewhere = RunConfig(run_dir=str(tmp_path / "another machine"))
    assert measure(elsewhere, run, out, 3, 1e9, "c") == 0
    assert [c.seed for c in made] == [0, 0, 1, 2]
    before = json.loads(out.read_text())
    assert measure(elsewhere, run, out, 3, 1e9, "c") == 0
    assert len(made) == 4 and json.loads(out.read_text()) == before
    # Other options are other runs.
    assert measure(RunConfig(run_dir=str(tmp_path / "x"), decode=DecodeConfig(views=2)), run, out, 1, 1e9, "c") == 0
    assert len(made) == 6


def test_the_candidates_of_all_seeds_together_are_an_arm_of_their_own(tmp_path):
    rng = np.random.default_rng(0)
    grids = [rng.integers(0, 10, (3, 4)).astype(np.int8) for _ in range(6)]
    tasks = [Task(f"task{i}", ((grid, grid),) * 2, (grid,), (grid,)) for i, grid in enumerate(grids)]

    def run(config, command):
        make_run(Path(config.run_dir), tasks, config=config)
        return 0

    config = RunConfig(run_dir=str(tmp_path / "r"), select=SelectConfig(method="product_of_experts"))
    out = tmp_path / "out.json"
    assert measure(config, run, out, 2, 1e9, "c") == 0
    found = json.loads(out.read_text())
    together = "adapted, 2 seeds together"
    # The truth is the likeliest in these runs, wherever it is.
    assert found["arms"][together]["pass@1"] == found["arms"][together]["coverage"]
    assert found["comparisons"][f"{together} - adapted"]["tasks"] == 6
    alone = found["seconds_per_task"]["adapted, first"]
    assert found["seconds_per_task"][f"{together}, first"] == pytest.approx({k: 2 * v for k, v in alone.items()})
    assert set(found["selection"]["adapted"]) == set(METHODS)
    table = results_table(out)
    best = 100 * found["selection"]["adapted"]["product_of_experts"]["pass@2"]["value"]
    assert "the same adapted candidates, ranked by: vote " in table and f"product of experts {best:.1f} (" in table
    assert f"| {together} |" in table and f"{together} - adapted: " in table


def test_a_run_that_came_to_its_end_on_many_hosts_is_taken_from_its_directory(tmp_path):
    grid = np.zeros((3, 4), np.int8)
    tasks = [Task(f"task{i}", ((grid, grid),) * 2, (grid,), (grid,)) for i in range(3)]
    config = RunConfig(run_dir=str(tmp_path / "r"))
    make_run(tmp_path / "r", tasks, config=replace(config, hosts=HostsConfig(count=4, index=0)))

    def never(config, command):
        raise AssertionError("the run was made again")

    out = tmp_path / "out.json"
    assert measure(config, never, out, 1, 0.0, "c") == 0
    first = json.loads(out.read_text())["runs"]["first"]
    assert first["per_task"] == json.loads((tmp_path / "r" / "metrics.json").read_text())["per_task"]
    # Other options are another run, which that directory is not.
    with pytest.raises(AssertionError, match="made again"):
        measure(replace(config, seed=1), never, tmp_path / "other.json", 1, 1e9, "c")


def test_metrics_of_an_earlier_run_are_not_taken_for_those_of_one_that_was_refused(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "metrics.json").write_text(json.dumps(metrics(("adapted",), {"adapted": 3})))
    out = tmp_path / "out.json"
    assert measure(RunConfig(run_dir=str(tmp_path / "r")), lambda config, command: 2, out, 3, 1e9, "c") == 2
    assert not out.exists()


def test_a_run_that_was_stopped_ends_the_measurement_with_its_status(tmp_path):
    out = tmp_path / "out.json"
    assert measure(RunConfig(run_dir=str(tmp_path / "r")), lambda config, command: 143, out, 3, 1e9, "c") == 143
    assert not out.exists()
