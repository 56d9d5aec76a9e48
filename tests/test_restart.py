"""A device that fails: what is finished is kept, and the command begins anew by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import pytest
from e2e_tools import small_run, write_model, write_tasks

import ttt_jax.run
from ttt_jax.config import RunConfig
from ttt_jax.evaluate.runs import finish_runs
from ttt_jax.pipeline import Solver
from ttt_jax.runtime.restart import COUNT, DEVICE_FAILED, RESTARTS, SPENT, again_if_failed

IDS = [f"task{i}" for i in range(4)]
pytestmark = pytest.mark.usefixtures("shared_programs")
CUDA = "INTERNAL: CUDA error: : CUDA_ERROR_INVALID_VALUE: invalid argument [executable_name='jit_copied']"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory) -> Path:
    """Two groups of two."""
    return write_tasks(tmp_path_factory.mktemp("tasks"), IDS)


def test_a_run_whose_device_fails_keeps_what_is_finished_and_goes_on(tmp_path, model, tasks, monkeypatch, capsys):
    config = small_run(tmp_path / "run", model, tasks)

    answers = Solver.answers

    def one_group(solver, plan):
        yield next(answers(solver, plan))
        raise jax.errors.JaxRuntimeError(CUDA)

    monkeypatch.setattr(Solver, "answers", one_group)
    assert ttt_jax.run.run(config, "c") == DEVICE_FAILED
    error = capsys.readouterr().err
    assert "the device failed with 2 tasks finished; the same command goes on" in error and "CUDA_ERROR" in error
    monkeypatch.setattr(Solver, "answers", answers)
    assert ttt_jax.run.run(config, "c") == 0
    assert "2 tasks are finished already" in capsys.readouterr().out
    assert len((tmp_path / "run/journal.jsonl").read_text().splitlines()) == len(IDS)


@pytest.mark.parametrize("error", ["INVALID_ARGUMENT: shapes differ", "RESOURCE_EXHAUSTED: CUDA_ERROR_OUT_OF_MEMORY"])
def test_an_error_that_is_not_the_devices_is_raised(tmp_path, model, tasks, monkeypatch, error):
    def fail(*args):
        raise jax.errors.JaxRuntimeError(error)

    monkeypatch.setattr(ttt_jax.run, "solve", fail)
    with pytest.raises(jax.errors.JaxRuntimeError, match=error):
        ttt_jax.run.run(small_run(tmp_path / "run", model, tasks), "c")


@pytest.mark.parametrize(("fails", "status"), [(0, 0), (1, 0), (RESTARTS, 0), (RESTARTS + 1, DEVICE_FAILED)])
def test_a_script_begins_anew_with_its_arguments_a_few_times(tmp_path, fails, status):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from ttt_jax.runtime.restart import again_if_failed, seconds_spent\n"
        "with open(sys.argv[1], 'a') as log: log.write(f'{sys.argv[2]} {seconds_spent() > 0}\\n')\n"
        "made = len(open(sys.argv[1]).readlines())\n"
        f"sys.exit(again_if_failed({DEVICE_FAILED} if made <= {fails} else 0))\n"
    )
    log = tmp_path / "log"
    before = {name: value for name, value in os.environ.items() if name != COUNT}
    command = [sys.executable, str(script), str(log), "an argument"]
    done = subprocess.run(command, env=before, capture_output=True, text=True, timeout=200)
    assert done.returncode == status, done.stderr
    assert log.read_text().splitlines() == ["an argument False", *["an argument True"] * min(fails, RESTARTS)]
    assert done.stderr.count("starting again") == min(fails, RESTARTS)


def test_a_budget_counts_what_earlier_processes_took(tmp_path, monkeypatch, capsys):
    made = []
    arguments = (["one"], lambda name, found: RunConfig(run_dir=str(tmp_path / name)), lambda *_: made.append(1) or 5)
    monkeypatch.setenv(SPENT, "50.0")
    assert finish_runs(*arguments, tmp_path / "out.json", 40.0, "c", lambda found: {}) == 0
    assert not made and "left out: one" in capsys.readouterr().out
    assert finish_runs(*arguments, tmp_path / "out.json", 60.0, "c", lambda found: {}) == DEVICE_FAILED


def test_adapters_that_are_not_there_are_refused_before_the_run(tmp_path, model, tasks, capsys):
    config = replace(small_run(tmp_path / "run", model, tasks), load_adapters=str(tmp_path / "nowhere"))
    assert ttt_jax.run.run(config, "c") == 2
    assert "nowhere holds no adapters" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_other_statuses_are_left_alone():
    assert [again_if_failed(status) for status in (0, 1, 2, 3, 130, 143)] == [0, 1, 2, 3, 130, 143]
