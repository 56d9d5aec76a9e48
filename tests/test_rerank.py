"""Selection replayed from a run directory equals selection in the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import make_run

from ttt_jax.config import RunConfig, SelectConfig
from ttt_jax.evaluate.pooled import PooledRuns
from ttt_jax.evaluate.rerank import rerank
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.select.hierarchical import hierarchical_vote
from ttt_jax.select.rank import METHODS
from ttt_jax.tasks.task import Task

ROOT = Path(__file__).parents[1]


def tasks(count: int = 4) -> list[Task]:
    rng = np.random.default_rng(0)

    def grid():
        return rng.integers(0, 10, (3, 4)).astype(np.int8)

    return [
        Task(f"task{i}", ((grid(), grid()),) * 2, (grid(),) * (1 + i % 2), (grid(),) * (1 + i % 2))
        for i in range(count)
    ]


@pytest.fixture
def run(tmp_path) -> SavedRun:
    return make_run(tmp_path / "run", tasks(), failed={"task2": "the loss is not finite at step 3"})


def script(run: SavedRun, *argv: str) -> subprocess.CompletedProcess[str]:
    """The command with an import of jax made impossible."""
    program = (
        "import sys; sys.modules['jax'] = None; import runpy; sys.argv = ['rerank.py', *sys.argv[1:]]; "
        f"runpy.run_path({str(ROOT / 'scripts' / 'rerank.py')!r}, run_name='__main__')"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}
    command = [sys.executable, "-c", program, str(run.path), *argv]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


def test_the_method_of_the_run_gives_its_metrics_again(run):
    records, metrics = rerank(run, "vote")
    assert metrics.pop("method") == "vote"
    assert metrics == run.metrics
    assert records == run.records


def test_another_method_ranks_by_its_own_rule(run):
    records, _ = rerank(run, "hierarchical_vote")
    assert records != run.records
    for id_, record in records.items():
        for query, ranked in enumerate(record["arms"]["in_context"]["ranked"]):
            of_query = [c for c in run.candidates(id_)["in_context"] if c.query == query]
            expected = hierarchical_vote(of_query, run.domain)
            assert [(e["answer"], e["score"]) for e in ranked] == [(r.answer.tolist(), r.score) for r in expected]


def test_an_arm_that_fell_back_stays_as_recorded(run):
    records, metrics = rerank(run, "hierarchical_vote")
    assert records["task2"]["arms"]["adapted"] == run.records["task2"]["arms"]["adapted"]
    assert metrics["per_task"]["task2"]["adapted"] == [None]


def test_product_of_experts_without_scores_says_what_is_missing(run):
    with pytest.raises(ValueError, match=r"candidates/task0\.json: no scores of arm in_context"):
        rerank(run, "product_of_experts")


def test_product_of_experts_ranks_by_the_saved_scores(run):
    for id_ in run.records:
        file = run.path / "candidates" / f"{id_}.json"
        saved = json.loads(file.read_text())
        truths = [run.domain.key(a) for a in run.tasks[id_].answers or ()]
        saved["scores"] = {
            arm: [
                {run.domain.key(c.answer): [-1.0 - (run.domain.key(c.answer) != truth)]
                 for c in run.candidates(id_)[arm] if c.query == query and c.answer is not None}
                for query, truth in enumerate(truths)
            ]
            for arm in run.candidates(id_)
        }  # fmt: skip
        file.write_text(json.dumps(saved))
    _, metrics = rerank(run, "product_of_experts")
    covered = metrics["arms"]["in_context"]["coverage"]
    assert metrics["arms"]["in_context"]["pass@1"] == covered  # the truth scores best wherever it is


def test_the_command_runs_without_jax_and_leaves_the_run_as_it_was(run):
    before = {f: f.read_bytes() for f in run.path.rglob("*") if f.is_file()}
    done = script(run, "--method", "hierarchical_vote")
    assert done.returncode == 0, done.stderr
    assert "hierarchical vote" in done.stdout and "saved (vote)" in done.stdout
    assert {f: f.read_bytes() for f in before} == before
    new = sorted(f.name for f in set(run.path.rglob("*")) - before.keys() if f.is_file())
    assert new == ["metrics.hierarchical_vote.json", "submission.hierarchical_vote.json"]
    assert json.loads((run.path / new[0]).read_text())["method"] == "hierarchical_vote"


def test_without_a_method_the_command_compares_all_that_the_candidates_allow(run, tmp_path):
    done = script(run)
    assert done.returncode == 0, done.stderr
    found = json.loads((run.path / "methods.json").read_text())
    assert list(found) == ["in_context", "adapted"] and list(found["adapted"]) == ["vote", "hierarchical_vote"]
    assert found["adapted"]["vote"]["pass@1"] == run.metrics["arms"]["adapted"]["pass@1"]
    scored = make_run(tmp_path / "scored", tasks(), config=RunConfig(select=SelectConfig(method="mixture_of_experts")))
    done = script(scored)
    assert done.returncode == 0, done.stderr
    found = json.loads((scored.path / "methods.json").read_text())["in_context"]
    assert list(found) == list(METHODS)
    for method in METHODS:
        assert method.replace("_", " ") in done.stdout
    # The truth is the likeliest wherever it is.
    assert found["product_of_experts"]["pass@1"] == found["product_of_experts"]["coverage"]
    difference = found["product_of_experts"]["difference"]["pass@1"]["value"]
    assert difference == pytest.approx(
        found["product_of_experts"]["pass@1"]["value"] - found["vote"]["pass@1"]["value"]
    )


def logprobs(candidates) -> list[tuple[int, float]]:
    return [(c.query, c.logprob) for c in candidates]


def test_several_runs_are_ranked_by_the_candidates_of_all(run, tmp_path):
    scored = RunConfig(select=SelectConfig(method="product_of_experts"), seed=1)
    one = make_run(tmp_path / "one", tasks(), config=scored)
    two = make_run(tmp_path / "two", tasks(), config=scored)
    pooled = PooledRuns(one.path, (two,))
    for task in one.records:
        for arm, of_arm in pooled.candidates(task).items():
            assert logprobs(of_arm) == logprobs(one.candidates(task)[arm]) + logprobs(two.candidates(task)[arm])
        for a, b in zip(pooled.scores(task)["adapted"], one.scores(task)["adapted"], strict=True):
            assert a == {key: [*nats, *nats] for key, nats in b.items()}
    # The same candidates twice are ranked as they are once, and by twice the votes.
    records, metrics = rerank(pooled, "vote")
    alone, expected = rerank(one, "vote")
    assert metrics["per_task"] == expected["per_task"]
    for id_, record in records.items():
        for a, b in zip(record["arms"]["adapted"]["ranked"], alone[id_]["arms"]["adapted"]["ranked"], strict=True):
            assert [(r["answer"], r["votes"]) for r in a] == [(r["answer"], 2 * r["votes"]) for r in b]
    done = script(one, str(two.path))
    assert done.returncode == 0, done.stderr
    assert list(json.loads((one.path / "methods.pooled.json").read_text())["adapted"]) == list(METHODS)


def test_runs_over_other_tasks_are_not_pooled(run, tmp_path):
    fewer = make_run(tmp_path / "fewer", tasks(3))
    with pytest.raises(ValueError, match="has no task task3"):
        PooledRuns(run.path, (fewer,))


def test_an_adapter_that_failed_leaves_its_part_out(run, tmp_path):
    whole = make_run(tmp_path / "whole", tasks())
    pooled = PooledRuns(whole.path, (run,))  # task2 of `run` was not adapted
    assert logprobs(pooled.candidates("task2")["adapted"]) == logprobs(whole.candidates("task2")["adapted"])
    assert len(pooled.candidates("task2")["in_context"]) == 2 * len(whole.candidates("task2")["in_context"])


def test_the_command_refuses_in_one_line(run, tmp_path):
    done = script(run, "--method", "product_of_experts")
    assert done.returncode == 1 and done.stderr.startswith("rerank.py: ") and "Traceback" not in done.stderr
    (run.path / "journal.jsonl").unlink()
    done = script(run, "--method", "vote")
    assert done.returncode == 1 and "not a run directory" in done.stderr


def test_a_run_that_was_killed_is_replayed_as_far_as_it_came(tmp_path):
    run = make_run(tmp_path / "run", tasks(), finish=False)
    with open(run.path / "journal.jsonl", "ab") as file:
        file.write(b'{"task": "torn')
    _, metrics = rerank(run, "vote")
    assert metrics["tasks"] == 4
