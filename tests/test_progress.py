"""The progress display: it names what is going on, and its time left follows the plan."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from ttt_jax.config import AdaptConfig, RunConfig
from ttt_jax.run import units
from ttt_jax.runtime.progress import Progress, clock_time
from ttt_jax.tasks.task import Task


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Flushed(io.StringIO):
    """Only what was flushed can be seen by somebody who waits."""

    seen = ""

    def flush(self) -> None:
        super().flush()
        self.seen = self.getvalue()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def out() -> Flushed:
    return Flushed()


def lines_of(out: Flushed, total: int, plan, clock: Clock) -> Progress:
    return Progress(total, plan, Console(file=out, width=60), clock)


def test_where_nothing_can_be_redrawn_each_stage_is_one_flushed_line(clock, out):
    with lines_of(out, 2, None, clock) as progress:
        with progress.stage("adapt", "20 tasks x 64 steps [length 1024], and a detail longer than the console"):
            assert out.seen.count("\n") == 1
            assert "adapt" in out.seen and "[length 1024], and a detail longer than the console" in out.seen
            for _ in range(50):
                progress.advance(1)
        clock.now = 75
        progress.task_done()
        with progress.stage("decode", "20 queries"):
            pass
        progress.log("a line of its own")
    lines = out.seen.splitlines()
    assert len(lines) == 4
    assert lines[1].startswith("[1:15] decode") and "1/2 tasks" in lines[1] and "about 1:15 left" in lines[1]
    assert lines[2].endswith("a line of its own")
    assert "\x1b" not in out.seen


def test_a_long_stage_gives_a_sign_of_life(clock, out):
    with lines_of(out, 1, None, clock) as progress, progress.stage("adapt", units=100):
        for _ in range(10):
            clock.now += 20
            progress.advance(10, "loss 0.25")
    signs = [line for line in out.seen.splitlines() if "loss 0.25" in line]
    assert len(signs) == 5 and "20%" in signs[0] and "100%" in signs[-1]


def test_the_time_left_is_the_plan_at_the_rates_so_far(clock, out):
    progress = lines_of(out, 4, {"adapt": 100, "decode": 10}, clock)
    assert progress.left() is None
    with progress.stage("decode"):
        clock.now += 10
        progress.advance(5)
    assert progress.left() == (10, False)  # adapting has not been measured
    with progress.stage("compile"):
        clock.now += 1000
    assert progress.left() == (10, False)
    with progress.stage("adapt"):
        clock.now += 50
        progress.advance(25)
        assert progress.left() == (150 + 10, True)
        clock.now += 20  # within the next chunk
        assert progress.left() == (130 + 10, True)
        clock.now += 30
        progress.advance(25)
        assert progress.left() == (100 + 10, True)
    with progress.stage("adapt"):
        clock.now += 100
        progress.advance(50)
    assert progress.left() == (10, True)


def test_without_a_plan_the_time_left_is_that_of_the_tasks(clock, out):
    progress = lines_of(out, 3, None, clock)
    clock.now = 30
    progress.task_done(2)
    assert progress.left() == (15, True)


def test_on_a_terminal_the_display_names_stage_note_and_tasks(clock):
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120)
    with Progress(2, {"adapt": 64}, console, clock) as progress, progress.stage("adapt", "2 tasks [x 32]", units=64):
        clock.now += 8
        progress.advance(32, "loss 0.125")
        progress.log("something [to] say")
        progress.task_done()
    text = out.getvalue()
    for part in ("adapt  2 tasks [x 32]", "loss 0.125", "1/2 tasks", "something [to] say"):
        assert part in text


def test_misuse_is_an_error(clock, out):
    progress = lines_of(out, 1, None, clock)
    with pytest.raises(RuntimeError, match="no stage is open"):
        progress.advance()


def test_a_stage_within_another_takes_its_own_time_and_the_outer_one_goes_on(clock, out):
    progress = lines_of(out, 2, {"adapt": 100, "decode": 10}, clock)
    with progress.stage("adapt", units=100):
        clock.now += 50
        progress.advance(50)
        with progress.stage("decode", units=10):
            clock.now += 10
            progress.advance(5)
        assert progress.left() == (50 + 10, True)
        clock.now += 50
        progress.advance(50)
    assert progress.left() == (10, True)


def test_a_stage_that_raises_is_closed(clock, out):
    progress = lines_of(out, 1, None, clock)
    with pytest.raises(KeyError), progress.stage("adapt"):
        raise KeyError
    with progress.stage("decode"):
        pass


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (75, "1:15"), (3700, "1:01:40"), (-3, "0:00")]
)
def test_times_are_written_as_on_a_clock(seconds, text):
    assert clock_time(seconds) == text


def test_one_adapter_for_all_tasks_of_a_family_is_adapted_once():
    tasks = [Task(f"t{i}", (), ("a", "b"), family=family) for i, family in enumerate("xxy")]
    each = RunConfig(adapt=AdaptConfig(steps=10))
    shared = replace(each, adapt=replace(each.adapt, shared=True))
    assert units(each, tasks) == {"decode": 12, "adapt": 30}
    assert units(shared, tasks) == {"decode": 12, "adapt": 20}
    assert units(replace(shared, arms=("in_context",)), tasks) == {"decode": 6, "adapt": 0}
