"""Host work beside the device: in order, its errors surface, and the clock counts what was in flight."""

from __future__ import annotations

import threading

import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.adapt.feed import Feed, Turn
from ttt_jax.adapt.plan import Job
from ttt_jax.config import AdaptConfig
from ttt_jax.runtime.background import Background
from ttt_jax.runtime.device_clock import DeviceClock


def test_pieces_run_in_order_in_another_thread_and_all_of_them_before_it_is_left():
    done, threads = [], set()

    def piece(i):
        threads.add(threading.get_ident())
        done.append(i)

    with Background(waiting=2) as background:
        for i in range(20):
            background.run(lambda i=i: piece(i))
    assert done == list(range(20)) and threads and threading.get_ident() not in threads


def test_an_error_surfaces_and_nothing_runs_after_it():
    done = []

    def fail():
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"), Background() as background:
        background.run(fail)
        background.run(lambda: done.append(1))
        for _ in range(10_000):
            background.run(lambda: done.append(2))
    assert not done
    # An error of the block itself is the one that is seen.
    with pytest.raises(KeyError), Background() as background:
        background.run(fail)
        raise KeyError


class Stream:
    """Sequences that say which they are; counts those that were asked for."""

    max_length = 4

    def __init__(self, name: int):
        self.name, self.made = name, []

    def padding(self, shape, length):
        return {"tokens": np.zeros((*shape, length), np.int32)}

    def fill(self, arrays, step):
        self.made.append(step)
        arrays["tokens"][:, :3] = (self.name, step, 7)


def test_batches_that_were_announced_lie_ready_and_others_are_made():
    streams = [Stream(i) for i in range(1, 4)]
    jobs = [Job(str(s.name), s) for s in streams]
    with Feed(AdaptConfig(chunk=2, batch_size=1), pad_token=0) as feed:
        feed.prepare([Turn(jobs[0], 2), None], 4)
        batches = feed.take([Turn(jobs[0], 2), None], 4)
        tokens = np.asarray(batches.arrays["tokens"])
        assert tokens[:, :, 0, :3].tolist() == [[[1, 2, 7], [1, 3, 7]]] * 2, "an empty slot repeats another"
        assert batches.tokens.tolist() == [[3, 3]] * 2
        assert streams[0].made == [2, 3]
        # Job 2 was expected to go on and stopped: job 3, a spare one, has its place.
        feed.prepare([Turn(jobs[0], 4), Turn(jobs[1], 2)], 4, [Turn(jobs[2], 0)])
        tokens = np.asarray(feed.take([Turn(jobs[0], 4), Turn(jobs[2], 0)], 4).arrays["tokens"])
        assert tokens[:, 0, 0, :2].tolist() == [[1, 4], [3, 0]]
        assert streams[0].made == [2, 3, 4, 5] and streams[2].made == [0, 1], "nothing was made twice"
        # In another shape nothing that lies ready is of use.
        assert feed.take([Turn(jobs[0], 4)], 5).arrays["tokens"].shape == (1, 2, 1, 5)
        assert streams[0].made == [2, 3, 4, 5, 4, 5]


def test_the_clock_counts_what_is_in_flight_once_and_leaves_compilation_out():
    now, compiled = [0.0], [0.0]
    clock = DeviceClock(lambda: compiled[0], lambda: now[0])
    assert clock.idle() is None

    def program():
        now[0] += 5
        compiled[0] += 5
        return jnp.ones(2)

    flight = clock.send("adapt", program)
    now[0] += 3
    with clock.working("decode") as decoding:  # waits for the chunk first
        now[0] += 2
    assert flight.wait() == 3 and decoding() == 2
    assert dict(clock.seconds) == {"adapt": 3, "decode": 2} and clock.idle() == 0
    now[0] += 5
    assert clock.idle() == 0.5
