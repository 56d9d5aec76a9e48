"""Variants of a configuration: what differs, what is compared, and that processes can share them."""

from __future__ import annotations

import json
import runpy
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from test_ablation import Runs

from ttt_jax.config import RunConfig, SelectConfig
from ttt_jax.config_loader import diff
from ttt_jax.config_values import ConfigError
from ttt_jax.evaluate.compare import compare
from ttt_jax.evaluate.cost_plot import plot_rows
from ttt_jax.evaluate.tables import results_table
from ttt_jax.evaluate.variants import measure_variants, read_changes, varied

ROOT = Path(__file__).resolve().parent.parent
CHANGES = {
    "4 steps": {"adapt": {"steps": 4}},
    "in-context, 32 views": {"arms": ["in_context"], "decode": {"views": 32}},
    "64 views": {"load_adapters": "reference", "decode": {"views": 64}},
}


@pytest.fixture
def plain(tmp_path) -> RunConfig:
    return RunConfig(run_dir=str(tmp_path / "run"))


def test_a_variant_differs_in_what_it_says_and_in_its_folder(plain):
    changed = varied(plain, "64 views", CHANGES["64 views"])
    assert diff(plain, changed) == [
        f"run_dir: {plain.run_dir!r} != {plain.run_dir + '/64-views'!r}",
        "arms: ['in_context', 'adapted'] != ['adapted']",
        f"load_adapters: None != {plain.run_dir + '/reference'!r}",
        "decode.views: 16 != 64",
    ]


@pytest.mark.parametrize("file", ["ideas", "bases"])
def test_every_variant_of_the_shipped_files_is_an_option_and_changes_something(plain, file):
    for name, options in read_changes(ROOT / f"configs/arc/{file}.yaml").items():
        differences = diff(plain, varied(plain, name, options), ignore=["run_dir", "arms"])
        assert differences, name


def test_every_variant_is_compared_with_the_adapted_reference(plain, tmp_path):
    run, out = Runs(), tmp_path / "out.json"
    assert measure_variants(plain, CHANGES, run, out, [], 1e9, "the command") == 0
    found = json.loads(out.read_text())
    assert list(found["rows"]) == ["reference", "in-context", *CHANGES]
    assert [c.run_dir.rpartition("/")[2] for c in run.made] == [
        "reference", "4-steps", "in-context-32-views", "64-views",
    ]  # fmt: skip
    assert [c.save_adapters for c in run.made] == [True, False, False, False]
    both, adapted, in_context = ("in_context", "adapted"), ("adapted",), ("in_context",)
    assert [c.arms for c in run.made] == [both, adapted, in_context, adapted]
    runs = found["runs"]
    for name, arm in (("4 steps", "adapted"), ("in-context, 32 views", "in_context")):
        expected = compare(runs["reference"], "adapted", runs[name], arm, 2)
        assert found["rows"][name]["difference"]["pass@2"]["value"] == pytest.approx(expected.difference)
    assert found["rows"]["in-context"]["difference"]["pass@2"]["value"] < 0
    assert found["rows"]["4 steps"]["options"] == {"adapt": {"steps": "4"}}


def test_lent_adapters_cost_what_making_them_did(plain, tmp_path):
    out = tmp_path / "out.json"
    measure_variants(plain, CHANGES, Runs(), out, [], 1e9, "c")
    found = json.loads(out.read_text())
    own = sum(found["runs"]["64 views"]["seconds_by_arm"]["adapted"].values()) / found["tasks"]
    adapting = found["runs"]["reference"]["seconds_by_arm"]["adapted"]["adapt"] / found["tasks"]
    assert adapting > 0
    assert found["rows"]["64 views"]["seconds_per_task"] == pytest.approx(own + adapting)


def test_processes_share_variants_and_a_last_call_puts_them_together(plain, tmp_path):
    first, second, last = Runs(), Runs(), Runs()
    measure_variants(plain, CHANGES, first, tmp_path / "a.json", ["4 steps"], 1e9, "c")
    assert json.loads((tmp_path / "a.json").read_text())["rows"] == {}  # nothing to compare with yet
    measure_variants(plain, CHANGES, second, tmp_path / "b.json", ["reference"], 1e9, "c")
    measure_variants(plain, CHANGES, last, tmp_path / "c.json", [], 1e9, "c")
    made = [[c.run_dir.rpartition("/")[2] for c in runs.made] for runs in (first, second, last)]
    assert made == [["4-steps"], ["reference"], ["in-context-32-views", "64-views"]]
    assert list(json.loads((tmp_path / "c.json").read_text())["rows"]) == ["reference", "in-context", *CHANGES]


def test_files_of_processes_are_merged_without_their_folders(plain, tmp_path):
    a, b, out, run = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.json", Runs()
    measure_variants(plain, CHANGES, Runs(), a, ["4 steps"], 1e9, "c")
    measure_variants(plain, CHANGES, Runs(), b, ["reference", "64 views"], 1e9, "c")
    elsewhere = replace(plain, run_dir=str(tmp_path / "elsewhere"))
    measure_variants(elsewhere, CHANGES, run, out, ["reference", "4 steps", "64 views"], 0, "c", [a, b])
    assert not run.made
    found = json.loads(out.read_text())
    assert list(found["rows"]) == ["reference", "in-context", "4 steps", "64 views"]
    assert found["runs"]["4 steps"] == json.loads(a.read_text())["runs"]["4 steps"]


def test_a_file_goes_on_in_another_folder_without_the_runs(plain, tmp_path):
    out = tmp_path / "out.json"
    measure_variants(plain, CHANGES, Runs(), out, [], 1e9, "c")
    run = Runs()
    elsewhere = replace(plain, run_dir=str(tmp_path / "elsewhere"))
    measure_variants(elsewhere, {**CHANGES, "8 steps": {"adapt": {"steps": 8}}}, run, out, [], 1e9, "c")
    assert [c.run_dir.rpartition("/")[2] for c in run.made] == ["8-steps"]


def test_a_table_has_a_row_for_every_variant_and_the_selection(plain, tmp_path):
    out = tmp_path / "out.json"
    scored = replace(plain, select=SelectConfig(method="product_of_experts"))
    measure_variants(scored, CHANGES, Runs(), out, [], 1e9, "the command")
    table = results_table(out)
    for name in ("reference", "in-context", *CHANGES):
        assert f"\n| {name} | " in table
    assert "candidates, ranked by: vote" in table and "`the command`" in table


def test_wrong_calls_are_refused_by_name(plain, tmp_path):
    out = tmp_path / "out.json"
    with pytest.raises(ValueError, match="no variant is called '5 steps'"):
        measure_variants(plain, CHANGES, Runs(), out, ["5 steps"], 1e9, "c")
    with pytest.raises(ValueError, match="the reference has both"):
        measure_variants(replace(plain, arms=("adapted",)), CHANGES, Runs(), out, [], 1e9, "c")
    with pytest.raises(ConfigError, match="stepz"):
        measure_variants(plain, {"x": {"adapt": {"stepz": 4}}}, Runs(), out, [], 1e9, "c")
    with pytest.raises(ValueError, match="two variants would be written to"):
        same = {"a b": {"seed": 1}, "a-b": {"seed": 2}}
        measure_variants(plain, same, Runs(), out, [], 1e9, "c")
    bad = tmp_path / "bad.yaml"
    bad.write_text("- a\n- b\n")
    with pytest.raises(ValueError, match=r"bad\.yaml: names of variants"):
        read_changes(bad)
    bad.write_text("reference: {seed: 1}\n")
    with pytest.raises(ValueError, match="is the configuration itself"):
        read_changes(bad)


def test_the_script_refuses_a_missing_file_in_one_line(tmp_path, capsys):
    main = runpy.run_path(str(ROOT / "scripts/variants.py"))["main"]
    missing = str(tmp_path / "missing.yaml")
    assert main(["--variants", missing, "--out", str(tmp_path / "o.json"), "--run-dir", str(tmp_path / "r")]) == 2
    assert "missing.yaml" in capsys.readouterr().err


def test_the_figure_shows_every_row_and_names_what_no_cheaper_one_equals(plain, tmp_path, monkeypatch):
    run, out, figure = Runs(), tmp_path / "out.json", tmp_path / "out.png"
    measure_variants(plain, CHANGES, run, out, [], 1e9, "the command")
    said = []
    annotate = Axes.annotate
    monkeypatch.setattr(
        Axes, "annotate", lambda self, text, *args, **of: (said.append(text), annotate(self, text, *args, **of))
    )
    found = json.loads(out.read_text())
    plot_rows(found, figure)
    assert figure.stat().st_size > 10_000
    named = [text for text in said if text in found["rows"]]
    assert "reference" in named and len(said) == len(found["rows"])
    assert [text for text in said if text not in named] == [str(i + 1) for i in range(len(said) - len(named))]
