"""scripts/ttt.py from the outside: stopped and killed runs, bad input, exit statuses, the demo's own path."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from e2e_tools import (
    ROOT,
    command,
    environment,
    journal,
    read_json,
    recolouring,
    results,
    small_run,
    task_json,
    ttt,
    with_options,
    write_model,
    write_tasks,
)

from ttt_jax.config_loader import to_yaml
from ttt_jax.run import run
from ttt_jax.runtime.journal import read_journal
from ttt_jax.tasks.arc_files import MAX_BYTES
from ttt_jax.tasks.task import keyed_rng

IDS = [f"task{i}" for i in range(8)]
COMMAND = "python scripts/ttt.py"
pytestmark = pytest.mark.usefixtures("shared_programs")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    """Eight tasks: four groups of two."""
    return write_tasks(tmp_path_factory.mktemp("tasks"), IDS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, model, tasks) -> Path:
    """The run directory of a run of four groups that was never stopped."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert run(small_run(folder, model, tasks), COMMAND) == 0
    return folder


# -- Stopped and started again -----------------------------------------------------------------------------


def start_and_signal(options: list[str], compiled: Path, run_dir: Path, lines: int, number: int) -> tuple[int, str]:
    """Starts the script and signals it once its journal has so many lines: (exit status, stderr)."""
    process = subprocess.Popen(
        command(*options), env=environment(compiled), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    file = run_dir / "journal.jsonl"
    deadline = time.monotonic() + 200
    while process.poll() is None and time.monotonic() < deadline:
        if file.exists() and file.read_bytes().count(b"\n") >= lines:
            break
        time.sleep(0.005)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=200)
    return process.returncode, stderr


def test_a_run_stopped_then_killed_ends_like_one_that_never_was(tmp_path, model, tasks, programs):
    # Enough steps that a group takes a while, so that signals meet a group in hand.
    config = small_run(tmp_path / "unused", model, tasks, adapt__steps=60)
    file = tmp_path / "config.yaml"
    file.write_text(to_yaml(config))
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    done = ttt("--config", file, "--run-dir", straight, compiled=programs)
    assert done.returncode == 0, done.stderr

    options = ["--config", str(file), "--run-dir", str(stopped)]
    status, stderr = start_and_signal(options, programs, stopped, 1, signal.SIGTERM)
    assert status == 143 and "the same command goes on" in stderr and "Traceback" not in stderr
    after_term = len(read_journal(stopped / "journal.jsonl"))
    assert 1 <= after_term < len(IDS) and not (stopped / "metrics.json").exists()

    status, stderr = start_and_signal(options, programs, stopped, after_term + 1, signal.SIGKILL)
    assert status == -signal.SIGKILL and "Traceback" not in stderr
    after_kill = len(read_journal(stopped / "journal.jsonl"))
    assert after_term < after_kill < len(IDS) and not (stopped / "metrics.json").exists()

    done = ttt(*options, compiled=programs)
    assert done.returncode == 0, done.stderr
    assert f"resuming {stopped}, {after_kill} tasks are finished already" in done.stdout
    assert results(stopped) == results(straight)


def test_killed_within_a_group_the_run_ends_like_one_that_never_was(tmp_path, model, tasks, finished):
    """The journal holds one task of a group and half of the next line; the files of the rest are old or torn."""
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    for name in ("metrics.json", "submission.json", "report.html"):
        (folder / name).unlink()
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    (folder / "journal.jsonl").write_text("".join(lines[:3]) + lines[3][:100])
    torn = json.loads(lines[3])["task"]
    (folder / "candidates" / f"{torn}.json").write_text("{")
    assert run(small_run(folder, model, tasks), COMMAND) == 0
    assert results(folder) == results(finished)
    assert [line["task"] for line in map(json.loads, (folder / "journal.jsonl").open())] == IDS


def test_a_finished_run_started_again_computes_nothing_and_keeps_its_results(tmp_path, model, tasks, finished):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    before = (folder / "journal.jsonl").read_bytes()
    assert run(small_run(folder, model, tasks), COMMAND) == 0
    assert (folder / "journal.jsonl").read_bytes() == before
    assert results(folder) == results(finished)
    assert (
        read_json(folder / "metrics.json")["seconds"]["adapt"]
        == read_json(finished / "metrics.json")["seconds"]["adapt"]
    )


def test_a_run_directory_of_another_config_is_refused_with_what_differs(model, tasks, finished, capsys):
    before = results(finished)
    assert run(small_run(finished, model, tasks, adapt__steps=9, decode__views=5), COMMAND) == 2
    error = capsys.readouterr().err
    assert "adapt.steps: 8 != 9" in error and "decode.views: 3 != 5" in error and "seed" not in error
    assert results(finished) == before


def test_a_run_directory_has_everything_that_is_promised(finished):
    assert {file.name for file in finished.iterdir()} - {".lock"} == {
        "config.yaml", "tasks.json", "journal.jsonl", "candidates", "curves", "adapters",
        "metrics.json", "submission.json", "report.html",
    }  # fmt: skip
    assert (finished / "config.yaml").read_text().startswith(f"# {COMMAND}\n")
    for name in ("candidates", "curves"):
        assert sorted(file.name for file in (finished / name).iterdir()) == [f"{id_}.json" for id_ in IDS]
    assert sorted(read_json(finished / "submission.json")) == IDS
    candidates = read_json(finished / "candidates" / "task0.json")
    assert {arm: len(of) for arm, of in candidates.items()} == {"in_context": 6, "adapted": 6}
    metrics = read_json(finished / "metrics.json")
    assert metrics["compilations"] > 0 and all(metrics["seconds"][name] > 0 for name in ("load", "compile", "adapt"))


# -- Bad input ---------------------------------------------------------------------------------------------


def write_malformed(folder: Path) -> dict[str, str]:
    """A file for everything that can be wrong with a task; file stem -> the field that must be named."""

    def bad(change) -> str:
        content = task_json(recolouring(keyed_rng("bad"), 3))
        change(content)
        return json.dumps(content)

    def put(where: str, index: int, key: str, value):
        return lambda content: content[where][index].__setitem__(key, value)

    big = np.zeros((31, 31), int).tolist()
    files = {
        "missing": ("test", bad(lambda content: content.pop("test"))),
        "no_output": ("train[1].output", bad(lambda content: content["train"][1].pop("output"))),
        "ragged": ("train[0].input", bad(put("train", 0, "input", [[1, 2], [3]]))),
        "colour": ("train[0].output", bad(put("train", 0, "output", [[12]]))),
        "large_grid": ("test[0].input", bad(put("test", 0, "input", big))),
        "no_demos": ("train", bad(lambda content: content.__setitem__("train", []))),
        "empty": ("file", ""),
        "no_json": ("file", '{"train": ['),
        "a_list": ("file", "[1, 2]"),
    }
    for name, (_, content) in files.items():
        (folder / f"{name}.json").write_text(content)
    (folder / "encoding.json").write_bytes('{"train": "\xe9"}'.encode("latin-1"))
    with (folder / "huge.json").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    return {**{name: field for name, (field, _) in files.items()}, "encoding": "file", "huge": "file"}


def test_malformed_tasks_are_named_counted_as_wrong_and_do_not_stop_the_others(tmp_path, model, finished, capsys):
    folder = write_tasks(tmp_path / "tasks", IDS[:2])
    fields = write_malformed(folder)
    config = small_run(tmp_path / "run", model, folder)
    assert run(config, COMMAND) == 3
    error = capsys.readouterr().err
    for name, field in fields.items():
        assert f"refused: {folder / name}.json: task {name}: {field}: " in error
    assert len(error.splitlines()) == len(fields)

    metrics = read_json(tmp_path / "run" / "metrics.json")
    assert metrics["tasks"] == 2 + len(fields) and metrics["failed"] == len(fields)
    assert metrics["statuses"] == {"refused": len(fields), "done": 2}
    for numbers in metrics["arms"].values():
        assert numbers["pass@2"]["n"] == 2 + len(fields)
    assert all(metrics["per_task"][name] == {"in_context": [None], "adapted": [None]} for name in fields)

    # Tasks 0 and 1 are the first group of the run without bad files, too.
    lines, others = results(tmp_path / "run")["journal"], results(finished)["journal"]
    assert {id_: lines[id_] for id_ in IDS[:2]} == {id_: others[id_] for id_ in IDS[:2]}
    assert sorted(read_json(tmp_path / "run" / "submission.json")) == IDS[:2]
    assert run(config, COMMAND) == 3  # started again, it says so again
    assert results(tmp_path / "run")["journal"] == lines


def test_where_no_task_can_be_read_the_run_says_so_and_leaves_nothing(tmp_path, model, capsys):
    (tmp_path / "tasks").mkdir()
    fields = write_malformed(tmp_path / "tasks")
    assert run(small_run(tmp_path / "run", model, tmp_path / "tasks"), COMMAND) == 3
    error = capsys.readouterr().err
    assert error.splitlines()[-1] == f"error: none of the {len(fields)} tasks of tasks could be read"
    assert not (tmp_path / "run").exists()


def test_unreadable_solutions_are_named_and_are_no_task(tmp_path, model, capsys):
    folder = tmp_path / "tasks"
    folder.mkdir()
    challenges = {id_: task_json(recolouring(keyed_rng(id_), 4)) for id_ in IDS[:2]}
    for content in challenges.values():
        del content["test"][0]["output"]
    (folder / "x_challenges.json").write_text(json.dumps(challenges))
    (folder / "x_solutions.json").write_text("[")
    assert run(small_run(tmp_path / "run", model, folder), COMMAND) == 3
    assert "x_solutions.json" in capsys.readouterr().err
    metrics = read_json(tmp_path / "run" / "metrics.json")
    # Without answers nothing is scored; the answers are there to be submitted.
    assert metrics["statuses"] == {"done": 2} and metrics["arms"]["adapted"]["pass@2"] is None
    assert sorted(journal(tmp_path / "run")) == sorted(read_json(tmp_path / "run" / "submission.json")) == IDS[:2]


def test_ids_that_cannot_be_file_names_or_come_twice_are_refused_without_harm(tmp_path, model, capsys):
    folder = write_tasks(tmp_path / "tasks", IDS[:1])
    good = task_json(recolouring(keyed_rng("other"), 4))
    (folder / "more_challenges.json").write_text(json.dumps({"../up": good, "": good, "task0": good, "fine": good}))
    assert run(small_run(tmp_path / "run", model, folder), COMMAND) == 3
    error = capsys.readouterr().err
    assert "'../up' cannot be a file name" in error and "task task0: id: was read from" in error
    # The one read first is answered all the same.
    statuses = {id_: line["status"] for id_, line in journal(tmp_path / "run").items()}
    assert statuses == {"%2E.%2Fup": "refused", "%": "refused", "fine": "done", "task0": "done"}


def test_wrong_options_end_with_status_2_and_one_clear_line(tmp_path, model, tasks, capsys):
    unknown = ttt("--adapt.step", "4")
    assert unknown.returncode == 2 and "unknown option --adapt.step" in unknown.stderr
    assert "--adapt.steps" in unknown.stderr and "Traceback" not in unknown.stderr
    nothing = ttt("--adapt.steps", "0")
    assert nothing.returncode == 2 and "adapt: steps: 0, must be at least 1" in nothing.stderr
    assert "Traceback" not in nothing.stderr
    good = small_run(tmp_path / "run", model, tasks)
    for changes, said in (
        ({"model": "arc-smal"}, "shipped model (arc-small"),
        ({"tasks__path": str(tmp_path / "nowhere")}, "tasks.path"),
        ({"tasks__ids": ("task11",)}, "task1"),
        ({"tasks__domain": "ark"}, "arc"),
        ({"adapt__loss": "no_such_loss"}, "next_token"),
        ({"adapt__loss": "no_such_module:loss"}, "no_such_module"),
        ({"adapt__optimizer__name": "adam"}, "adamw"),
        ({"adapt__optimizer__name": "no_such_module:optimizer"}, "no_such_module"),
        ({"adapt__lora__targets": ("query",)}, "query"),
        ({"adapt__examples__transforms": ("colors",)}, "colours"),
        ({"adapt__examples__augmenters": ("grow",)}, "grow"),
        ({"decode__transforms": ("colors",)}, "colours"),
    ):
        assert run(with_options(good, **changes), COMMAND) == 2, changes
        error = capsys.readouterr().err
        assert error.startswith("error: ") and said in error, (changes, error)
    # A mistyped option leaves no run behind that the right one would be at odds with.
    assert not (tmp_path / "run").exists()


# -- The demo ----------------------------------------------------------------------------------------------


def test_the_demo_runs_on_real_tasks_with_the_shipped_model(tmp_path):
    folder = tmp_path / "demo"
    done = ttt(
        "--config", ROOT / "configs" / "arc" / "quickstart.yaml", "--run-dir", folder, "--tasks.limit", "2",
        "--adapt.slots", "2", "--adapt.steps", "3", "--adapt.chunk", "3", "--decode.slots", "2", "--decode.views", "2",
        "--decode.max-new-tokens", "64",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = journal(folder)
    assert len(lines) == 2 and all(line["status"] == "done" and line["steps"] == 3 for line in lines.values())
    for name in ("config.yaml", "tasks.json", "metrics.json", "submission.json", "report.html"):
        assert (folder / name).stat().st_size > 0
    metrics, report = read_json(folder / "metrics.json"), (folder / "report.html").read_text()
    assert metrics["model"] == "arc-small" and metrics["benchmark"] == "arc-agi-1/evaluation"
    assert set(metrics["arms"]) == {"in_context", "adapted"}
    for id_ in lines:
        assert (folder / "candidates" / f"{id_}.json").exists() and (folder / "curves" / f"{id_}.json").exists()
        assert id_ in report and id_ in done.stdout
    assert "<svg" in report
    # The shipped model has learnt to write grids.
    answers = [c["answer"] for id_ in lines for c in read_json(folder / "candidates" / f"{id_}.json")["in_context"]]
    assert sum(answer is not None for answer in answers) >= len(answers) // 2
