"""Run directories: resumed, refused, locked; a task in the journal always has its files."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from ttt_jax.config import AdaptConfig, RunConfig
from ttt_jax.config_loader import from_yaml
from ttt_jax.runtime.journal import read_journal
from ttt_jax.runtime.run_dir import RunDir, RunDirError
from ttt_jax.tasks.task import Task

COMMAND = "python scripts/ttt.py --run-dir here"
CONFIG = RunConfig()

WRITER = """
import sys
from ttt_jax.config import RunConfig
from ttt_jax.runtime.run_dir import RunDir
with RunDir.open(sys.argv[1], RunConfig(), "a command") as run:
    print("open", flush=True)
    for i in range(len(run.finished()), 100000):
        run.save({"task": f"t{i}", "arms": {}}, candidates={"adapted": [i] * 2000}, curves={"loss": [1.0] * 2000},
                 adapter=lambda file: file.write_bytes(b"w" * 20000))
        print(i, flush=True)
"""


def record(task: str):
    return {"task": task, "status": "done", "arms": {}}


def test_a_new_directory_holds_the_config_as_resolved_under_its_command(tmp_path):
    config = dataclasses.replace(CONFIG, seed=7, adapt=AdaptConfig(steps=3))
    with RunDir.open(tmp_path / "runs" / "x", config, COMMAND) as run:
        assert not run.resumed and run.finished() == {} and run.command == COMMAND
    file = tmp_path / "runs" / "x" / "config.yaml"
    assert from_yaml(RunConfig, file) == config
    assert file.read_text().startswith(f"# {COMMAND}\n")


def test_a_resumed_directory_knows_what_is_finished_and_its_first_command(tmp_path):
    with RunDir.open(tmp_path, CONFIG, COMMAND) as run:
        run.save(record("a"))
    with RunDir.open(tmp_path, CONFIG, "another command") as run:
        assert run.resumed and list(run.finished()) == ["a"] and run.command == COMMAND
        run.save(record("b"))
    assert list(read_journal(tmp_path / "journal.jsonl")) == ["a", "b"]


def test_a_directory_of_another_config_is_refused_and_left_alone(tmp_path):
    with RunDir.open(tmp_path, CONFIG, COMMAND) as run:
        run.save(record("a"))
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    other = dataclasses.replace(CONFIG, seed=1, adapt=AdaptConfig(steps=65))
    with pytest.raises(RunDirError) as error:
        RunDir.open(tmp_path, other, COMMAND)
    assert "seed: 0 != 1" in str(error.value) and "adapt.steps: 64 != 65" in str(error.value)
    assert "batch_size" not in str(error.value)
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    RunDir.open(tmp_path, CONFIG, COMMAND).close()  # the refused one left no lock


def test_a_moved_directory_is_taken_up(tmp_path):
    with RunDir.open(tmp_path, dataclasses.replace(CONFIG, run_dir="there"), COMMAND):
        pass
    assert RunDir.open(tmp_path, dataclasses.replace(CONFIG, run_dir="here"), COMMAND).resumed


@pytest.mark.parametrize("content", ["no_such_option: 1", "seed: [", "seed: x"])
def test_a_config_that_cannot_be_read_is_refused_by_name(tmp_path, content):
    (tmp_path / "config.yaml").write_text(content)
    with pytest.raises(RunDirError, match=r"config\.yaml"):
        RunDir.open(tmp_path, CONFIG, COMMAND)


def test_what_is_no_run_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError, match="is a file"):
        RunDir.open(tmp_path / "file", CONFIG, COMMAND)
    (tmp_path / "journal.jsonl").write_text("{}\n")
    with pytest.raises(RunDirError, match=r"no config\.yaml"):
        RunDir.open(tmp_path, CONFIG, COMMAND)


def test_two_processes_do_not_write_one_directory(tmp_path):
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stdout.readline() == "open\n"
    try:
        with pytest.raises(RunDirError, match=f"process {writer.pid} is writing"):
            RunDir.open(tmp_path, CONFIG, COMMAND)
    finally:
        writer.kill()
        writer.wait()
    RunDir.open(tmp_path, CONFIG, COMMAND).close()  # a killed process holds no lock


def test_killed_at_any_moment_every_journaled_task_has_its_files_whole(tmp_path):
    for delay in (0.0, 0.03, 0.06):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        writer.stdout.readline()
        writer.stdout.readline()
        time.sleep(delay)
        os.kill(writer.pid, signal.SIGKILL)
        writer.stdout.read()
        writer.wait()
        records = read_journal(tmp_path / "journal.jsonl")
        assert records
        for task in records:
            assert len(json.loads((tmp_path / "candidates" / f"{task}.json").read_text())["adapted"]) == 2000
            assert len(json.loads((tmp_path / "curves" / f"{task}.json").read_text())["loss"]) == 2000
            assert (tmp_path / "adapters" / f"{task}.safetensors").stat().st_size == 20000
    with RunDir.open(tmp_path, CONFIG, COMMAND) as run:
        assert list(run.finished()) == [f"t{i}" for i in range(len(run.finished()))]
    assert not [f for f in tmp_path.rglob("*") if "unfinished" in f.name]


def test_a_task_whose_files_cannot_be_written_is_not_journaled(tmp_path):
    def broken(file):
        file.write_bytes(b"half")
        raise OSError("no space left")

    with RunDir.open(tmp_path, CONFIG, COMMAND) as run:
        with pytest.raises(OSError, match="no space"):
            run.save(record("a"), adapter=broken)
        assert run.finished() == {}
    assert list((tmp_path / "adapters").iterdir()) == []
    assert read_journal(tmp_path / "journal.jsonl") == {}


@pytest.mark.parametrize("id_", ["../a", "/a", "a/b", "..", ".lock", ""])
def test_a_task_id_cannot_lead_out_of_the_directory(tmp_path, id_):
    with RunDir.open(tmp_path / "run", CONFIG, COMMAND) as run:
        with pytest.raises(ValueError, match="must be a file name"):
            run.save(record(id_), curves={})
        assert run.finished() == {}
    assert [f.name for f in tmp_path.iterdir()] == ["run"]


def test_tasks_are_kept_as_plain_json(tmp_path):
    grid = np.array([[1, 2]], np.int8)
    tasks = [Task("b", ((grid, grid),), (grid,), (grid,)), Task("a", (("x", "y"),), ("z",))]
    with RunDir.open(tmp_path, CONFIG, COMMAND) as run:
        run.save_tasks(tasks)
    assert json.loads((tmp_path / "tasks.json").read_text()) == {
        "a": {"demos": [["x", "y"]], "queries": ["z"], "answers": None},
        "b": {"demos": [[[[1, 2]], [[1, 2]]]], "queries": [[[1, 2]]], "answers": [[[1, 2]]]},
    }
