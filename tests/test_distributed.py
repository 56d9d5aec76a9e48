"""Many hosts, one run: shares, result files on disks and in object stores, a host that dies and comes back."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_jax.config import HostsConfig, RunConfig
from ttt_jax.run import share_of
from ttt_jax.runtime.distributed import Host, HostRun, Results, gather
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.runtime.run_dir import RunDir, RunDirError
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task

ROOT = Path(__file__).resolve().parent.parent


@given(st.lists(st.tuples(st.text("abc", min_size=1, max_size=4), st.integers(1, 99))), st.integers(1, 5))
def test_shares_are_everything_once_and_keep_keys_together(items, count) -> None:
    def key(item):
        return item[0][0]

    shares = [Host(index, count).share(items, key, lambda item: item[1]) for index in range(count)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    for name in {key(item) for item in items}:
        assert sum(any(key(item) == name for item in share) for share in shares) == 1


@given(st.lists(st.integers(1, 99), min_size=1), st.integers(1, 5))
def test_shares_cost_alike_and_neighbours_in_cost_stay_together(costs, count) -> None:
    items = list(enumerate(costs))
    shares = [Host(i, count).share(items, lambda x: f"{x[0]:03}", lambda x: x[1]) for i in range(count)]
    for share in shares:
        assert sum(cost for _, cost in share) <= sum(costs) / count + max(costs)
    ranges = [[cost for _, cost in share] for share in shares if share]
    assert all(max(shorter) <= min(longer) for shorter, longer in itertools.pairwise(ranges))


def test_hosts_meet_few_lengths_of_prompts() -> None:
    domain = get_domain("arc")
    grids = [np.zeros((side, side), np.int8) for side in range(1, 25)]
    tasks = [Task(f"{i * 7 % 24:02}", ((grid, grid),), (grid,), None) for i, grid in enumerate(grids)]
    shares = [share_of(Host(i, 3), tasks, domain, by_family=False) for i in range(3)]
    sides = [[task.queries[0].shape[0] for task in share] for share in shares]
    assert sides == [sorted(of) for of in sides] and [side for of in sides for side in of] == list(range(1, 25))
    assert len(sides[0]) > len(sides[1]) > len(sides[2]) > 1
    assert share_of(Host(), tasks, domain, by_family=False) == tasks


@pytest.fixture(params=["disk", "object store"])
def url(request, tmp_path) -> str:
    return str(tmp_path / "results") if request.param == "disk" else f"memory://{tmp_path.name}/results"


def save(results: Results, task: str) -> None:
    results.save(
        {"task": task, "status": "ok"},
        candidates={"adapted": [{"tokens": (1, 2)}]},
        curves={"loss": [0.5]},
        adapter=lambda path: path.write_bytes(b"factors"),
    )


def test_hosts_leave_whole_files_that_the_first_one_merges(url, tmp_path) -> None:
    config = RunConfig()
    for task in ("t1", "t2"):
        save(Results.open(url, config), task)
    results = Results.open(url, config)
    assert HostRun(results).finished().keys() == {"t1", "t2"}
    with RunDir.open(tmp_path / "run", config, "test") as run_dir:
        run_dir.save({"task": "t0", "status": "ok"})
        gather(results, ["t0", "t1", "t2"], run_dir, poll=0.0)
        assert run_dir.finished().keys() == {"t0", "t1", "t2"}
        gather(results, ["t0", "t1", "t2"], run_dir, poll=0.0)  # what is there is passed over
    files = tmp_path / "run"
    assert json.loads((files / "candidates" / "t1.json").read_text()) == {"adapted": [{"tokens": [1, 2]}]}
    assert json.loads((files / "curves" / "t2.json").read_text()) == {"loss": [0.5]}
    assert (files / "adapters" / "t2.safetensors").read_bytes() == b"factors"


def test_the_first_host_merges_what_has_come_when_it_is_asked_to_leave(url, tmp_path) -> None:
    results = Results.open(url, RunConfig())
    save(results, "t1")
    with RunDir.open(tmp_path / "run", RunConfig(), "test") as run_dir:
        with pytest.raises(Interrupted):
            gather(results, ["t1", "t2"], run_dir, interrupted=lambda: True, poll=0.0)
        assert run_dir.finished().keys() == {"t1"}


def test_results_of_another_config_are_refused(url) -> None:
    Results.open(url, RunConfig(seed=1, hosts=HostsConfig(count=2, index=0)))
    Results.open(url, RunConfig(seed=1, run_dir="elsewhere", hosts=HostsConfig(count=3, index=2)))
    with pytest.raises(RunDirError, match="seed: 1 != 2"):
        Results.open(url, RunConfig(seed=2))


def test_a_task_that_cannot_name_a_file_is_refused(url) -> None:
    for task in ("", "../up", ".hidden"):
        with pytest.raises(ValueError, match="file name"):
            Results(url).save({"task": task})


@pytest.mark.parametrize(
    "place, fault",
    [
        ({"count": 2}, "go together"),
        ({"coordinator": "a:1"}, "both are needed"),
        ({"count": 2, "index": 2}, "index: 2"),
    ],
)
def test_an_incomplete_place_is_refused(place, fault) -> None:
    with pytest.raises(ValueError, match=fault):
        HostsConfig(**place)


def start(folder: Path, port: int, index: int, *more: str) -> subprocess.Popen:
    arguments = [str(folder), f"localhost:{port}", "2", str(index), "6", *more]
    command = [sys.executable, str(ROOT / "tests" / "host_process.py"), *arguments]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT
    )


@pytest.mark.slow
def test_a_host_that_dies_and_comes_back_goes_on_where_it_was(tmp_path) -> None:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    first, second = start(tmp_path, port, 0), start(tmp_path, port, 1, "1")
    said = second.communicate(timeout=300)[0]
    assert second.returncode == 1, said
    assert "finished task3" in said and "finished task4" not in said
    second = start(tmp_path, port, 1)
    said = second.communicate(timeout=300)[0]
    assert second.returncode == 0, said
    assert "finished task3" not in said and "finished task4" in said
    said = first.communicate(timeout=300)[0]
    assert first.returncode == 0, said
    records = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert {record["task"]: record["host"] for record in records} == {f"task{i}": i // 3 for i in range(6)}
