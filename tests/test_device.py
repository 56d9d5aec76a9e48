"""Flags that are set before the device starts."""

import os
import subprocess
import sys

from ttt_jax.runtime.device import launch_without_graphs


def test_the_flag_joins_those_that_are_there_and_gives_way_to_the_users_own(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_use_onednn=false")
    launch_without_graphs()
    launch_without_graphs()
    assert os.environ["XLA_FLAGS"] == "--xla_cpu_use_onednn=false --xla_gpu_enable_command_buffer="
    monkeypatch.setenv("XLA_FLAGS", "--xla_gpu_enable_command_buffer=FUSION")
    launch_without_graphs()
    assert os.environ["XLA_FLAGS"] == "--xla_gpu_enable_command_buffer=FUSION"


def test_xla_knows_the_flag_and_reads_it_after_jax_is_imported():
    script = """
import jax, os
from ttt_jax.runtime.device import launch_without_graphs
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=3"
launch_without_graphs()
assert jax.device_count() == 3
print(float(jax.jit(lambda x: x + 1)(1.0)))
"""
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert out.returncode == 0 and out.stdout.strip() == "2.0", out.stderr
