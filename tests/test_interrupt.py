"""SIGTERM and Ctrl-C: the first asks, the second kills."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from ttt_jax.runtime.interrupt import Interrupt

PROGRAM = """
import sys, time
from ttt_jax.runtime.interrupt import Interrupt
with Interrupt() as interrupt:
    print("ready", flush=True)
    while not interrupt.requested:
        time.sleep(0.01)
    print("asked", flush=True)
    for _ in range(500 if sys.argv[1] == "slow" else 1):   # the chunk in hand
        time.sleep(0.02)
print("saved", flush=True)
sys.exit(interrupt.exit_status)
"""


def start(speed: str) -> subprocess.Popen:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, speed], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert program.stdout is not None and program.stdout.readline() == "ready\n"
    return program


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_first_signal_lets_the_chunk_finish_and_save(number, status):
    program = start("fast")
    program.send_signal(number)
    out, err = program.communicate(timeout=20)
    assert out == "asked\nsaved\n" and program.returncode == status
    assert "finishing the chunk in hand" in err and "Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_kills_at_once(number):
    program = start("slow")
    program.send_signal(number)
    assert program.stdout is not None and program.stdout.readline() == "asked\n"
    program.send_signal(number)
    out, _ = program.communicate(timeout=5)
    assert "saved" not in out and program.returncode == -number


def test_without_a_signal_nothing_is_asked_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Interrupt() as interrupt:
        assert not interrupt.requested
    assert interrupt.exit_status == 0
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_the_flag_stays_after_the_block(capfd):
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGTERM)
    assert interrupt.requested and interrupt.exit_status == 143
