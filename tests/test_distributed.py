"""Many hosts, one run: shares, result files on disks and in object stores, a host that dies and comes back."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ttt_jax.config import HostsConfig, RunConfig
from ttt_jax.runtime.distributed import Host, HostRun, Results, gather
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.runtime.run_dir import RunDir, RunDirError

ROOT = Path(__file__).resolve().parent.parent


@given(st.lists(st.text("abc", min_size=1, max_size=4)), st.integers(1, 5))
def test_shares_are_everything_once_and_keep_keys_together(items, count) -> None:
    shares = [Host(index, count).share(items, lambda item: item[0]) for index in range(count)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    for key in {item[0] for item in items}:
        assert sum(any(item[0] == key for item in share) for share in shares) == 1
    keys = [len({item[0] for item in share}) for share in shares]
    assert max(keys) - min(keys) <= 1


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
    assert "finished task1" in said and "finished task3" not in said
    second = start(tmp_path, port, 1)
    said = second.communicate(timeout=300)[0]
    assert second.returncode == 0, said
    assert "finished task1" not in said and "finished task3" in said
    said = first.communicate(timeout=300)[0]
    assert first.returncode == 0, said
    records = [json.loads(line) for line in (tmp_path / "journal.jsonl").read_text().splitlines()]
    assert {record["task"]: record["host"] for record in records} == {f"task{i}": i % 2 for i in range(6)}
