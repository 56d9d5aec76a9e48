"""Tasks side by side in whole runs: what goes wrong with one, what a custom part changes, what must not matter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from e2e_tools import (
    adapters,
    journal,
    read_json,
    recolouring,
    results,
    small_run,
    task_json,
    write_model,
    write_tasks,
)

from ttt_jax.losses import next_token
from ttt_jax.run import run
from ttt_jax.tasks.task import keyed_rng

IDS = [f"task{i}" for i in range(4)]
COMMAND = "python scripts/ttt.py"
pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    return write_tasks(tmp_path_factory.mktemp("tasks"), IDS)


def four_side_by_side(folder: Path, model: Path, tasks: Path, **changes: Any) -> Path:
    """A run whose tasks form one group; its directory."""
    assert run(small_run(folder, model, tasks, **{"adapt__slots": 4, "decode__slots": 4} | changes), COMMAND) == 0
    return folder


@pytest.fixture(scope="module")
def healthy(tmp_path_factory, model, tasks) -> Path:
    return four_side_by_side(tmp_path_factory.mktemp("healthy") / "run", model, tasks)


def assert_same_adapter(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


# -- Tasks that go wrong -----------------------------------------------------------------------------------


def test_tasks_that_diverge_are_failed_and_answered_in_context(tmp_path, model, tasks):
    folder = four_side_by_side(tmp_path / "run", model, tasks, adapt__optimizer__learning_rate=1e30)
    lines = journal(folder)
    assert all(line["status"] == "failed" and "diverged" in line["reason"] for line in lines.values())
    metrics = read_json(folder / "metrics.json")
    assert metrics["failed"] == metrics["fell_back"] == 4
    assert metrics["arms"]["adapted"]["coverage"]["value"] == 0
    submission = read_json(folder / "submission.json")
    for id_, line in lines.items():
        assert line["arms"]["adapted"]["fell_back"] and not line["arms"]["in_context"]["fell_back"]
        ranked = [r["answer"] for r in line["arms"]["in_context"]["ranked"][0]]
        assert line["arms"]["adapted"]["ranked"] == line["arms"]["in_context"]["ranked"]
        assert submission[id_][0]["attempt_1"] == (ranked[0] if ranked else [[0]])
    assert any(line["arms"]["in_context"]["ranked"][0] for line in lines.values())
    assert "diverged" in (folder / "report.html").read_text()


def explodes_for_some(schedule):
    """SGD that in its fourth step ruins every adapter whose first matrix sums to more than a threshold."""

    def update(updates, step, params):
        ruined = (jnp.sum(jax.tree.leaves(params)[0]) > -0.35) & (step >= 3)
        return jax.tree.map(lambda u: jnp.where(ruined, jnp.inf, -schedule(step) * u), updates), step + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)


def test_a_task_that_diverges_does_not_change_its_neighbours(tmp_path, model, tasks):
    optimizer = {
        "adapt__optimizer__name": f"{__name__}:explodes_for_some",
        "adapt__optimizer__learning_rate": 0.1,
    }
    run_dir = four_side_by_side(tmp_path / "run", model, tasks, **optimizer)
    lines = results(run_dir)["journal"]
    failed = {id_ for id_, line in lines.items() if line["status"] == "failed"}
    assert 1 <= len(failed) <= 3, "the seeds of the adapters no longer divide the tasks"
    for id_ in failed:
        assert lines[id_]["steps"] == 3 and "at step 3" in lines[id_]["reason"]
        assert len(read_json(run_dir / "curves" / f"{id_}.json")["loss"]) == 3
    metrics = read_json(run_dir / "metrics.json")
    assert metrics["failed"] == metrics["fell_back"] == len(failed)

    healthy = tuple(id_ for id_ in IDS if id_ not in failed)
    without = four_side_by_side(tmp_path / "without", model, tasks, tasks__ids=healthy, **optimizer)
    for id_ in healthy:
        assert lines[id_]["status"] == "done" and lines[id_] == results(without)["journal"][id_]
        assert_same_adapter(adapters(run_dir)[id_], adapters(without)[id_])


def test_a_task_too_long_for_every_bucket_is_recorded_and_counts_as_wrong(tmp_path, model, healthy):
    folder = write_tasks(tmp_path / "tasks", IDS)
    write_tasks(folder, ["long"], demos=9)
    run_dir = four_side_by_side(tmp_path / "run", model, folder)
    lines = journal(run_dir)
    assert lines["long"]["status"] == "too_long" and "lengths" in lines["long"]["reason"]
    metrics = read_json(run_dir / "metrics.json")
    assert metrics["tasks"] == 5 and metrics["statuses"] == {"too_long": 1, "done": 4}
    assert metrics["arms"]["adapted"]["pass@1"]["n"] == 5 and metrics["per_task"]["long"]["adapted"] == [None]
    assert read_json(run_dir / "submission.json")["long"] == [{"attempt_1": [[0]], "attempt_2": [[0]]}]
    assert "long" in (run_dir / "report.html").read_text()
    found, expected = results(run_dir)["journal"], results(healthy)["journal"]
    assert {id_: found[id_] for id_ in IDS} == expected


def test_a_task_too_long_to_adapt_falls_back_to_its_answer_in_context(tmp_path, model, healthy):
    folder = write_tasks(tmp_path / "tasks", IDS)
    run_dir = four_side_by_side(tmp_path / "run", model, folder, adapt__examples__max_tokens=40)
    lines, expected = journal(run_dir), journal(healthy)
    submission = read_json(run_dir / "submission.json")
    for id_ in IDS:
        line = lines[id_]
        assert line["status"] == "too_long" and "max_tokens" in line["reason"] and line["steps"] == 0
        assert line["arms"]["in_context"]["ranked"] == expected[id_]["arms"]["in_context"]["ranked"]
        assert line["arms"]["adapted"]["fell_back"]
        best = [ranked["answer"] for ranked in line["arms"]["in_context"]["ranked"][0]]
        assert not best or submission[id_][0]["attempt_1"] == best[0]
    metrics = read_json(run_dir / "metrics.json")
    assert metrics["arms"]["adapted"]["pass@2"]["value"] == 0 and metrics["fell_back"] == len(IDS)
    assert not list((run_dir / "adapters").glob("*")) and (run_dir / "report.html").exists()


def test_one_demonstration_and_more_queries_than_slots_are_no_trouble(tmp_path, model):
    folder = write_tasks(tmp_path / "tasks", ["single"], demos=1)
    several = task_json(recolouring(keyed_rng("several"), 6), queries=3)
    (folder / "several.json").write_text(json.dumps(several))
    config = small_run(tmp_path / "run", model, folder, decode__slots=2, adapt__slots=4)
    assert run(config, COMMAND) == 0
    lines = journal(tmp_path / "run")
    assert {id_: line["status"] for id_, line in lines.items()} == {"single": "done", "several": "done"}
    losses = read_json(tmp_path / "run" / "curves" / "single.json")["loss"]
    assert len(losses) == 8 and losses[-1] < losses[0]
    assert all(len(arm["ranked"]) == 3 for arm in lines["several"]["arms"].values())
    assert len(read_json(tmp_path / "run" / "submission.json")["several"]) == 3
    for of_arm in read_json(tmp_path / "run" / "candidates" / "several.json").values():
        assert [c["query"] for c in of_arm] == [q for q in range(3) for _ in range(6)]
    assert read_json(tmp_path / "run" / "metrics.json")["arms"]["adapted"]["outputs@1"]["n"] == 4

    # With room for all queries the two tasks form one group, and every query still meets its own task's adapter.
    together = four_side_by_side(tmp_path / "together", model, folder)
    assert_same_adapter(adapters(together)["several"], adapters(tmp_path / "run")["several"])
    for id_ in lines:
        apart, beside = (read_json(of_run / "candidates" / f"{id_}.json") for of_run in (tmp_path / "run", together))
        for arm in apart:
            assert [c["tokens"] for c in apart[arm]] == [c["tokens"] for c in beside[arm]], (id_, arm)


# -- Parts of one's own ------------------------------------------------------------------------------------


def halved(trainable, frozen, batch, model):
    """A loss that is none of the repository's."""
    loss, metrics = next_token(trainable, frozen, batch, model)
    return 0.5 * loss, {**metrics, "loss": 0.5 * loss}


def test_a_loss_of_ones_own_is_used_by_naming_it(tmp_path, model, tasks, healthy):
    folder = four_side_by_side(tmp_path / "run", model, tasks, adapt__loss=f"{__name__}:halved")
    for id_ in IDS:
        own, shipped = (read_json(run_dir / "curves" / f"{id_}.json")["loss"] for run_dir in (folder, healthy))
        assert own[0] == pytest.approx(0.5 * shipped[0], rel=1e-5)


# -- What must not matter ----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_run_and_another_seed_another(tmp_path, model, tasks, healthy):
    again = four_side_by_side(tmp_path / "again", model, tasks)
    assert results(again) == results(healthy)
    other = four_side_by_side(tmp_path / "other", model, tasks, seed=1)
    for id_ in IDS:
        assert read_json(other / "candidates" / f"{id_}.json") != read_json(healthy / "candidates" / f"{id_}.json")
        assert read_json(other / "curves" / f"{id_}.json") != read_json(healthy / "curves" / f"{id_}.json")


def test_a_task_alone_gets_the_same_adapter_and_answers_as_among_others(tmp_path, model, tasks, healthy):
    alone = four_side_by_side(tmp_path / "run", model, tasks, tasks__ids=("task2",))
    assert list(adapters(alone)) == ["task2"]
    assert_same_adapter(adapters(alone)["task2"], adapters(healthy)["task2"])
    assert (alone / "candidates" / "task2.json").read_bytes() == (healthy / "candidates" / "task2.json").read_bytes()
    assert results(alone)["journal"]["task2"] == results(healthy)["journal"]["task2"]
