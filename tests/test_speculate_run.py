"""Decoding by drafts in whole runs: the same answers, what is counted of it, and what may not go with it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from e2e_tools import journal, read_json, results, small_run, write_tasks

from ttt_jax.bench.speculation import SpeculationBenchConfig, bench_speculation
from ttt_jax.config import DecodeConfig
from ttt_jax.decode.speculate import Speculated, speculates
from ttt_jax.evaluate.summary import drafted
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import save_model
from ttt_jax.pipeline import Solver
from ttt_jax.programs import Programs
from ttt_jax.run import load, planned, run
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.progress import Progress

COMMAND = "python scripts/ttt.py"
IDS = [f"task{i}" for i in range(4)]
GREEDY = {"decode__samples": 1, "decode__temperature": 0.0, "decode__views": 4, "decode__chunk": 4}
pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """Random weights, a head of its own: some of its greedy answers are grids."""
    config = ModelConfig(16, 32, 48, 1, 2, 2, 12, RopeConfig((1e4, 1e2, 1e2), (2, 2, 2)), tie_embeddings=False)
    shapes = jax.eval_shape(Decoder(config).init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    rng = np.random.default_rng(4)
    params = jax.tree.map(
        lambda x: (
            (2 * x.shape[-2] ** -0.5 * rng.normal(size=x.shape)).astype(np.float32)
            if x.ndim > 1
            else np.ones(x.shape, np.float32)
        ),
        shapes,
    )
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, config, params)
    return folder


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"), IDS)


def speculative_run(folder: Path, model: Path, tasks: Path, **changes: Any) -> Any:
    options = {**GREEDY, "decode__speculate": True, "select__method": "product_of_experts", **changes}
    return small_run(folder, model, tasks, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model, tasks) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "speculative"
    assert run(speculative_run(folder, model, tasks), COMMAND) == 0
    return folder


def test_a_run_by_drafts_finds_what_a_plain_one_finds(tmp_path, model, tasks, finished):
    plain = tmp_path / "plain"
    assert run(speculative_run(plain, model, tasks, decode__speculate=False), COMMAND) == 0
    for id_ in IDS:
        expected, found = (read_json(folder / "candidates" / f"{id_}.json") for folder in (plain, finished))
        for arm in ("in_context", "adapted"):
            assert [c["tokens"] for c in found[arm]] == [c["tokens"] for c in expected[arm]]
            for a, b in zip(found[arm], expected[arm], strict=True):
                assert a["logprob"] == pytest.approx(b["logprob"], rel=1e-5, abs=1e-5)
        for arm, of_arm in journal(finished)[id_]["arms"].items():
            same = journal(plain)[id_]["arms"][arm]
            assert of_arm["ranked"][0] and [r["answer"] for r in of_arm["ranked"][0]] == [
                r["answer"] for r in same["ranked"][0]
            ]
            assert of_arm["tokens"] == same["tokens"] and "speculation" not in same
    assert "speculation" not in read_json(plain / "metrics.json")
    assert read_json(plain / "submission.json") == read_json(finished / "submission.json")


def test_what_drafts_did_is_counted_by_arm(finished):
    metrics, lines = read_json(finished / "metrics.json"), journal(finished)
    assert metrics["speculation"].keys() == {"in_context", "adapted"}
    for arm, counts in metrics["speculation"].items():
        own = [line["arms"][arm]["speculation"] for line in lines.values()]
        assert all(counts[name] == round(sum(of[name] for of in own)) for name in counts)
        assert 0 < counts["accepted"] < counts["offered"] and 3 * len(IDS) >= counts["drafts"] > counts["whole"]
        # The first view of each group of two, then the others: up to twice the steps where they disagree.
        assert counts["steps"] == pytest.approx(sum(of["steps"] for of in own)) and counts["plain_steps"] > 0
        assert counts["steps"] <= 2 * counts["plain_steps"]
    assert all(0 <= share < 1 for share in metrics["padding"].values())
    assert f"in-context: {metrics['speculation']['in_context']['accepted']} of" in drafted(metrics)[0]
    assert drafted({"arms": {}}) == []


def test_killed_within_a_group_the_run_ends_like_one_that_never_was(tmp_path, model, tasks, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for name in ("metrics.json", "submission.json", "report.html"):
        (folder / name).unlink()
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:3]) + lines[3][:100])
    (folder / "candidates" / f"{json.loads(lines[3])['task']}.json").unlink()
    assert run(speculative_run(folder, model, tasks), COMMAND) == 0
    assert results(folder) == results(finished)


def test_a_run_by_drafts_compiles_nothing_that_its_plan_does_not_name(tmp_path, model, tasks, capsys):
    config = speculative_run(tmp_path / "run", model, tasks, arms=("in_context",))
    base_model, base, domain, loaded = load(config)
    with CompileLog() as log:
        solver = Solver(base_model, base, domain, config, log, Progress(0))
        programs = Programs(solver.adapter, domain, config)
        plan = planned(programs, loaded.tasks)
        programs.compile(programs.of_plan(plan))
        before = log.programs.copy()
        answers = [one for _, arms, _ in solver.answers(plan) for one in arms["in_context"]]
    assert "drafts of 144 tokens" in capsys.readouterr().out, "no draft needed the larger room"
    assert max(len(c.tokens) for of in answers for of_query in of.candidates for c in of_query) > 8
    assert (log.programs - before).keys() <= {"cast"}


def test_the_benchmark_runs_the_same_tasks_both_ways(tmp_path, model, tasks, finished, capsys):
    config = speculative_run(tmp_path / "unused", model, tasks)
    options: dict[str, Any] = {f.name: getattr(config, f.name) for f in dataclasses.fields(config)} | {
        "load_adapters": str(finished)
    }
    out = tmp_path / "bench.json"
    record = bench_speculation(SpeculationBenchConfig(**options, out=str(out), rounds=2))
    assert read_json(out) == json.loads(json.dumps(record))
    assert record["tasks"] == len(IDS) and record["dtype"] == "float32" and record["views"] == 4
    counted = read_json(finished / "metrics.json")["speculation"]
    for arm, of in record["arms"].items():
        # The same tasks over the same adapters: what drafts did in the run, they do here.
        assert {name: of[name] for name in counted[arm]} == counted[arm]
        assert of["rows_equal"] == of["rows"] == 4 * len(IDS) and of["acceptance"] == of["accepted"] / of["offered"]
        assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in of["seconds"].values())
    said = capsys.readouterr().out
    assert "in-context: " in said and "adapted: " in said and "answers are the same tokens" in said
    with pytest.raises(ValueError, match="load_adapters: name a run directory"):
        SpeculationBenchConfig(**options | {"load_adapters": None})
    with pytest.raises(ValueError, match=r"decode\.views: 1 leaves no view"):
        SpeculationBenchConfig(**options | {"decode": dataclasses.replace(config.decode, views=1)})


def test_steps_are_those_of_the_longest_answers():
    how = Speculated(
        room=8, first=np.array([5, 3]), offered=np.array([[5, 5], [0, 3]]), accepted=np.array([[5, 1], [0, 3]]),
        after=np.array([[0, 4], [6, 0]]),
    )  # fmt: skip
    first, second = how.counts()
    # Five tokens, then six: of each, reading gives the first. Decoded at once the longest has six.
    assert first["steps"] + second["steps"] == 4 + 5 and first["plain_steps"] + second["plain_steps"] == 5
    assert {k: v for k, v in first.items() if "steps" not in k} == {
        "drafts": 2, "offered": 10, "accepted": 6, "whole": 1,
    }  # fmt: skip
    assert {k: v for k, v in second.items() if "steps" not in k} == {
        "drafts": 1, "offered": 3, "accepted": 3, "whole": 1,
    }  # fmt: skip


def test_drafts_are_for_greedy_answers_and_for_more_than_one_view():
    with pytest.raises(ValueError, match=r"speculate: .*temperature"):
        DecodeConfig(speculate=True, temperature=0.5)
    with pytest.raises(ValueError, match=r"speculate: .*temperature"):
        DecodeConfig(speculate=True, temperature=0.5, samples=2)
    config = DecodeConfig(speculate=True, views=2)
    assert speculates(config) and not speculates(dataclasses.replace(config, views=1))
    assert not speculates(DecodeConfig())
