"""Ablations and sweeps: what is removed, what is compared, and that files go on where they were left."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_run import SKILL, make_run

from ttt_jax.config import AdaptConfig, DecodeConfig, ExamplesConfig, RunConfig, SelectConfig
from ttt_jax.evaluate.ablation import PARTS, NotApplicable, ablate, without
from ttt_jax.evaluate.compare import compare
from ttt_jax.evaluate.sweep import frontier, knee, plot_sweep, sweep
from ttt_jax.evaluate.tables import results_table
from ttt_jax.tasks.task import Task

ROOT = Path(__file__).resolve().parent.parent
FULL = RunConfig(
    adapt=AdaptConfig(examples=ExamplesConfig(augmenters=("upscale",)), stop_demo=True),
    decode=DecodeConfig(search_above=0.1),
    select=SelectConfig(method="product_of_experts"),
)
MADE_BY_RUNS = [part for part in PARTS if part not in ("adaptation", "product_of_experts")]


@pytest.mark.parametrize("part", MADE_BY_RUNS)
def test_a_part_is_removed_once_and_nothing_else_changes(part):
    changed = without(part, FULL, 7, "one-axis")
    assert changed != FULL
    restored = {
        "search": lambda c: replace(c, decode=replace(c.decode, search_above=0.1)),
        "views": lambda c: replace(c, decode=replace(c.decode, views=FULL.decode.views)),
        "augmentation": lambda c: replace(c, adapt=replace(c.adapt, examples=FULL.adapt.examples)),
        "layout": lambda c: replace(
            c, adapt=replace(c.adapt, examples=replace(c.adapt.examples, layout="all_outputs"))
        ),
        "demonstrations": lambda c: replace(
            c, adapt=replace(c.adapt, examples=FULL.adapt.examples), decode=replace(c.decode, show_demos=True)
        ),
        "early_stop": lambda c: replace(c, adapt=replace(c.adapt, stop_demo=True)),
        "per_task_adapters": lambda c: replace(
            c, adapt=replace(c.adapt, shared=False, steps=c.adapt.steps // 7, stop_demo=True)
        ),
        "multi_axis_positions": lambda c: replace(c, model=FULL.model),
    }[part](changed)
    assert restored == FULL
    if part != "multi_axis_positions" and part != "layout":
        with pytest.raises(NotApplicable, match=r"is|are"):
            without(part, changed, 7, None)


def test_leave_one_out_is_removed_from_what_has_it():
    has = replace(FULL, adapt=replace(FULL.adapt, examples=ExamplesConfig(layout="leave_one_out")))
    assert without("layout", has, 1, None).adapt.examples.layout == "all_outputs"


def tasks(count: int = 6) -> list[Task]:
    rng = np.random.default_rng(0)
    return [
        Task(f"task{i}", ((grid, grid),) * 2, (grid,), (grid,))
        for i in range(count)
        for grid in [rng.integers(0, 10, (3, 4)).astype(np.int8)]
    ]


class Runs:
    """In place of `ttt_jax.run.run`: leaves a run directory as it does, with made-up candidates."""

    def __init__(self):
        self.made: list[RunConfig] = []

    def __call__(self, config: RunConfig, command: str) -> int:
        self.made.append(config)
        run = make_run(Path(config.run_dir), tasks(), config=config)
        assert run.metrics
        return 0


@pytest.fixture
def plain(tmp_path) -> RunConfig:
    return replace(FULL, run_dir=str(tmp_path / "run"), select=SelectConfig(method="vote"))


def test_an_ablation_compares_every_part_with_the_whole_and_names_what_is_missing(plain, tmp_path):
    run, out = Runs(), tmp_path / "out.json"
    parts = ["adaptation", "product_of_experts", "views", "multi_axis_positions", "layout"]
    assert ablate(plain, run, out, parts, 1e9, "the command") == 0
    found = json.loads(out.read_text())
    assert list(found["rows"]) == ["all", "adaptation", "views", "layout"]
    assert [(c.arms, c.run_dir.rpartition("/")[2]) for c in run.made] == [
        (("in_context", "adapted"), "run"), (("adapted",), "run-without-views"), (("adapted",), "run-without-layout"),
    ]  # fmt: skip
    whole = found["runs"]["all"]
    expected = compare(whole, "adapted", whole, "in_context", 2)
    row = found["rows"]["adaptation"]
    assert row["difference"]["pass@2"]["value"] == pytest.approx(expected.difference)
    assert (row["difference"]["pass@2"]["low"], row["difference"]["pass@2"]["high"]) == (expected.low, expected.high)
    assert row["seconds_per_task"] == pytest.approx(3.26) and found["rows"]["all"]["seconds_per_task"] > 15
    assert "difference" not in found["rows"]["all"]
    assert "select.method is vote" in found["not_measured"]["product_of_experts"]
    assert "--one-axis-model" in found["not_measured"]["multi_axis_positions"]


def test_an_ablation_goes_on_with_its_file_alone(plain, tmp_path):
    out = tmp_path / "out.json"
    ablate(plain, Runs(), out, ["views"], 1e9, "c")
    run = Runs()
    elsewhere = replace(plain, run_dir=str(tmp_path / "elsewhere"))
    ablate(elsewhere, run, out, ["adaptation", "views", "search"], 1e9, "c")
    assert [c.run_dir.rpartition("/")[2] for c in run.made] == ["elsewhere-without-search"]
    assert set(json.loads(out.read_text())["rows"]) == {"all", "adaptation", "views", "search"}


def test_a_stopped_ablation_says_what_was_not_run(plain, tmp_path):
    out = tmp_path / "out.json"
    run = Runs()
    status = ablate(plain, lambda c, command: 143 if run.made else run(c, command), out, ["views", "search"], 1e9, "c")
    assert status == 143
    assert json.loads(out.read_text())["not_measured"] == {"views": "not run yet", "search": "not run yet"}


def test_the_flat_vote_is_compared_over_the_same_candidates(plain, tmp_path, monkeypatch):
    monkeypatch.setitem(SKILL, "adapted", 0.15)  # more truths among the candidates than win the vote
    scored = replace(plain, select=SelectConfig(method="product_of_experts"))
    out = tmp_path / "out.json"
    assert ablate(scored, Runs(), out, ["product_of_experts"], 1e9, "c") == 0
    found = json.loads(out.read_text())
    methods = found["runs"]["all"]["methods"]
    expected = compare(methods["product_of_experts"], "adapted", methods["vote"], "adapted", 1)
    difference = found["rows"]["product_of_experts"]["difference"]["pass@1"]
    assert difference["value"] == pytest.approx(expected.difference) and difference["value"] < 0


def test_wrong_calls_are_refused_by_name(plain, tmp_path):
    with pytest.raises(ValueError, match="no part is called 'viewz'"):
        ablate(plain, Runs(), tmp_path / "x", ["viewz"], 1e9, "c")
    with pytest.raises(ValueError, match="arms: an ablation removes parts of the adapted arm"):
        ablate(replace(plain, arms=("in_context",)), Runs(), tmp_path / "x", ["views"], 1e9, "c")


def test_a_table_of_an_ablation_quotes_its_file(plain, tmp_path):
    out = tmp_path / "out.json"
    ablate(plain, Runs(), out, ["adaptation", "multi_axis_positions"], 1e9, "the command")
    found, table = json.loads(out.read_text()), results_table(out)
    assert f"{100 * found['rows']['all']['pass@2']['value']:.1f}%" in table
    assert f"{100 * found['rows']['adaptation']['difference']['pass@2']['value']:+.1f}" in table
    assert "not measured" in table and "`the command`" in table


def point(steps: int, views: int, seconds: float, value: float) -> dict[str, Any]:
    number = {"value": value, "low": value - 0.05, "high": value + 0.05, "n": 100}
    return {
        "name": f"{steps} steps, {views} views", "steps": steps, "views": views, "search_above": None,
        "seconds_per_task": seconds, "pass@2": number,
    }  # fmt: skip


POINTS = [point(0, 8, 1.0, 0.1), point(64, 8, 3.0, 0.5), point(64, 32, 9.0, 0.505), point(16, 32, 8.0, 0.3)]


def test_the_knee_is_the_cheapest_within_a_point_of_the_best_and_the_frontier_rises():
    assert knee(POINTS) == "64 steps, 8 views"
    assert knee(POINTS, within=0.0) == "64 steps, 32 views"
    assert knee([]) is None
    assert [p["name"] for p in frontier(POINTS)] == ["0 steps, 8 views", "64 steps, 8 views", "64 steps, 32 views"]


def test_a_sweep_runs_every_combination_cheapest_first_and_draws_it(plain, tmp_path):
    run, out = Runs(), tmp_path / "out.json"
    assert sweep(plain, run, out, [0, 64], [2, 8], [None], 1e9, "c") == 0
    assert [(c.arms, c.adapt.steps, c.decode.views, c.decode.slots) for c in run.made] == [
        (("in_context",), 64, 2, 160), (("in_context",), 64, 8, 40),
        (("adapted",), 64, 2, 160), (("adapted",), 64, 8, 40),
    ]  # fmt: skip
    found = json.loads(out.read_text())
    assert [p["name"] for p in found["points"]] == [
        "0 steps, 2 views", "0 steps, 8 views", "64 steps, 2 views", "64 steps, 8 views",
    ]  # fmt: skip
    assert [p["seconds_per_task"] for p in found["points"]] == pytest.approx([3.26, 3.26, 15.76, 15.76])
    plot_sweep(found, tmp_path / "sweep.png")
    assert (tmp_path / "sweep.png").stat().st_size > 10_000


@pytest.mark.parametrize("script", ["ablate", "sweep"])
def test_the_commands_run_resume_and_refuse(script, tmp_path, monkeypatch, capsys):
    main = runpy.run_path(str(ROOT / "scripts" / f"{script}.py"))["main"]
    made = Runs()
    monkeypatch.setattr("ttt_jax.run.run", made)
    monkeypatch.setenv("COLUMNS", "200")
    argv = ["--run-dir", str(tmp_path / "run"), "--out", str(tmp_path / "out.json"), "--tasks.limit", "6"]
    only = {"ablate": ["--without", "adaptation", "views"], "sweep": ["--steps", "0", "8", "--views", "2"]}[script]
    assert main([*argv, *only]) == 0
    assert {c.tasks.limit for c in made.made} == {6} and len(made.made) == 2
    shown = capsys.readouterr().out
    assert {"ablate": "pass@2 - all", "sweep": "the knee: "}[script] in shown
    assert json.loads((tmp_path / "out.json").read_text())["command"].startswith(
        f"python scripts/{script}.py --run-dir"
    )
    assert main([*argv, *only]) == 0 and len(made.made) == 2
    wrong = {"ablate": ["--arms", "in_context"], "sweep": ["--search", "0.1", "often"]}[script]
    assert main([*argv, *wrong]) == 2
    assert capsys.readouterr().err.startswith(f"{script}.py: ")
