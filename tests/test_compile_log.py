"""Compilations are counted, by program, and their seconds are wall-clock seconds."""

from __future__ import annotations

import time

import jax
import jax.numpy as jnp
import pytest

from ttt_jax.runtime.compile_log import COMPILE, TRACE, CompileLog
from ttt_jax.runtime.device import compute_dtype, describe_device, versions


def program(scale: float):
    """A function that no other test has compiled."""

    @jax.jit
    def inner(x):
        return jnp.sin(x) * scale

    @jax.jit
    def counted_program(x):
        for _ in range(8):
            x = inner(x) + 1
        return x

    return counted_program


def test_a_program_is_counted_once_for_every_shape():
    run = program(1.5)
    with CompileLog() as log:
        run(jnp.ones(3)).block_until_ready()
        first = log.programs["counted_program"]
        run(jnp.zeros(3)).block_until_ready()
        again = log.programs["counted_program"]
        run(jnp.ones(4)).block_until_ready()
    assert (first, again, log.programs["counted_program"]) == (1, 1, 2)
    assert log.count == log.programs.total()


def test_nothing_is_counted_outside_the_block():
    run = program(2.5)
    with CompileLog() as log:
        pass
    run(jnp.ones(5)).block_until_ready()
    assert log.count == 0 and log.seconds == 0


def test_seconds_are_at_most_those_on_the_wall():
    run, x = program(3.5), jnp.ones(6)
    with CompileLog() as log:
        start = time.time()
        run(x).block_until_ready()
        wall = time.time() - start
    assert 0 < log.seconds <= wall + 0.01


def test_nested_spans_count_once():
    with CompileLog() as log:
        for event, start, end in [(TRACE, 1, 2), (TRACE, 3, 4), (TRACE, 0.5, 5), (COMPILE, 6, 7), ("/other", 0, 100)]:
            jax.monitoring.record_event_time_span(event, start, end)
    assert log.seconds == pytest.approx(4.5 + 1)
    assert log.count == 1


def test_spans_of_several_threads_count_once():
    with CompileLog() as log:
        for start, end in [(0, 4), (1, 5), (6, 7), (4.5, 7.5), (9, 10)]:
            jax.monitoring.record_event_time_span(COMPILE, start, end)
    assert log.seconds == pytest.approx(7.5 + 1) and log.count == 5


def test_thousands_of_spans_are_still_added_up():
    with CompileLog() as log:
        for i in range(5000):
            jax.monitoring.record_event_time_span(COMPILE, 2.0 * i, 2.0 * i + 1)
    assert log.seconds == pytest.approx(5000)


def test_a_program_from_the_persistent_cache_is_counted_beside():
    with CompileLog() as log:
        jax.monitoring.record_event("/jax/compilation_cache/cache_hits")
    assert log.cached == 1


def test_the_device_and_the_versions_are_described():
    device = describe_device()
    assert device["platform"] == jax.devices()[0].platform and device["count"] == len(jax.devices())
    assert device["kind"] and versions()["jax"] == jax.__version__


def test_auto_computes_in_float32_on_a_cpu():
    assert jax.default_backend() == "cpu"
    assert compute_dtype("auto") == jnp.float32
    assert compute_dtype("bfloat16") == jnp.bfloat16
    with pytest.raises(ValueError, match="dtype"):
        compute_dtype("float16")
