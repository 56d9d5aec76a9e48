"""Measuring BIG-Bench Hard: arms in order, within a budget, resumable by the file; schedules on demonstrations."""

from __future__ import annotations

import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ttt_jax.config import RunConfig, TasksConfig
from ttt_jax.evaluate.bbh_measurement import PUBLISHED, SCHEDULES, agree, choose_schedule, measure_bbh, recorded


def metrics(config: RunConfig, accuracy: float) -> dict:
    def arm(value: float) -> dict:
        tasks = {name: {"accuracy": {"value": value + d}} for name, d in (("snarks", -0.1), ("navigate", 0.1))}
        return {"accuracy": {"value": value, "stderr": 0.01, "n": 2}, "valid": 0.9, "tasks": tasks}

    stages = {"adapt": 4.0, "decode": 2.0, "select": 0.0}
    return {
        "benchmark": "bbh", "tasks": 2, "model": "m", "device": {}, "versions": {}, "compilations": 3,
        "seconds": {"compile": 1.5},
        "arms": {arm: {} for arm in config.arms},
        "per_task": {"snarks@42": {}, "navigate@42": {}},
        "seconds_by_arm": dict.fromkeys(config.arms, stages),
        "measures": {
            **{name: arm(accuracy if name == "adapted" else 0.4) for name in config.arms},
            "majority_label": arm(0.45),
        },
    }  # fmt: skip


class Runs:
    """Stands where `ttt_jax.run.run` would: notes what is asked for, and leaves metrics behind."""

    def __init__(self, accuracies=()):
        self.made: list[RunConfig] = []
        self.accuracies = list(accuracies)

    def __call__(self, config: RunConfig, command: str) -> int:
        accuracy = self.accuracies[len(self.made)] if self.accuracies else 0.5
        self.made.append(config)
        Path(config.run_dir).mkdir(parents=True)
        (Path(config.run_dir) / "metrics.json").write_text(json.dumps(metrics(config, accuracy)))
        return 0


@pytest.fixture
def configs(tmp_path) -> dict[str, RunConfig]:
    both = RunConfig(run_dir=str(tmp_path / "paper"))
    return {"paper": both, "long": replace(both, run_dir=str(tmp_path / "long"), arms=("adapted",), seed=1)}


def test_every_arm_is_run_and_its_gain_is_over_the_first_runs_in_context_arm(configs, tmp_path):
    run, out = Runs((0.5, 0.7)), tmp_path / "out.json"
    assert measure_bbh(configs, run, out, 1e9, "the command") == 0
    assert [Path(c.run_dir).name for c in run.made] == ["paper", "long"]
    found = json.loads(out.read_text())
    assert found["gain"]["paper"] == pytest.approx({"mean": 0.1, "stderr": 0.0, "n": 2})
    assert found["gain"]["long"]["mean"] == pytest.approx(0.3)
    assert found["explained"] == pytest.approx({"paper": 0.5, "long": 0.05 / 0.3})
    assert found["accuracy"]["paper, in_context"]["value"] == 0.4 and found["published"] == PUBLISHED
    assert found["seconds_per_task"]["long, adapted"]["adapt"] == 2.0


def test_the_file_alone_is_enough_to_go_on(configs, tmp_path):
    out, rest = tmp_path / "out.json", {"long": configs["long"]}
    measure_bbh({"paper": configs["paper"]}, Runs(), out, 1e9, "")
    run = Runs()
    elsewhere = {name: replace(c, run_dir=c.run_dir + "-b", tasks=TasksConfig(path="x")) for name, c in configs.items()}
    assert measure_bbh(elsewhere, run, out, 1e9, "") == 0
    assert [c.seed for c in run.made] == [1]
    assert set(json.loads(out.read_text())["runs"]) == {"paper", "long"}
    changed = Runs()
    measure_bbh({"long": replace(rest["long"], seed=2, run_dir=str(tmp_path / "c"))}, changed, out, 1e9, "")
    assert len(changed.made) == 1


def test_options_of_later_versions_do_not_make_a_run_anew(configs):
    now = recorded(configs["paper"])
    earlier = json.loads(json.dumps(now))
    del earlier["decode"]["views"]
    assert agree(earlier, now)
    earlier["decode"]["chunk"] += 1
    assert not agree(earlier, now)


def test_a_used_budget_stops_the_run_under_way_and_begins_no_other(configs, tmp_path, capsys):
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))

    def run(config, command):
        until = time.monotonic() + 5
        while not heard and time.monotonic() < until:
            time.sleep(0.01)
        return 143 if heard else 0

    try:
        assert measure_bbh(configs, run, tmp_path / "out.json", 0.1, "") == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM] and not (tmp_path / "out.json").exists()
    never = Runs()
    assert measure_bbh(configs, never, tmp_path / "out.json", 0.0, "") == 0
    assert not never.made and "paper and what follows were left out" in capsys.readouterr().out


def test_a_schedule_is_chosen_by_answers_to_demonstrations_alone(configs, tmp_path):
    run, out = Runs((0.4, 0.6, 0.6, 0.3)), tmp_path / "choice.json"
    assert choose_schedule(configs["long"], run, out, 1e9, "") == 0
    assert [(c.adapt.steps, c.adapt.optimizer.learning_rate) for c in run.made] == list(SCHEDULES)
    assert all(c.tasks.demos + (c.tasks.queries or 0) == 10 for c in run.made)
    assert [c.arms for c in run.made] == [("in_context", "adapted")] + 3 * [("adapted",)]
    assert json.loads(out.read_text())["chosen"] == "8 steps at 0.001"
