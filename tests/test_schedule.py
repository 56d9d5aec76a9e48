"""Adapters in turn in a few slots: what must not matter to a task, and what stopping early saves."""

from __future__ import annotations

import dataclasses
import itertools
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.adapt.adapt import Adapter
from ttt_jax.adapt.course import Adapted
from ttt_jax.adapt.examples import ExampleStream, hold_out
from ttt_jax.adapt.loop import make_check
from ttt_jax.adapt.partial import PartialFolder
from ttt_jax.adapt.plan import Job, Pool
from ttt_jax.config import AdaptConfig, ExamplesConfig, LoraConfig, OptimizerConfig
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.runtime.memory import Slots
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task

pytestmark = pytest.mark.usefixtures("shared_programs")

ARC = get_domain("arc")
MODEL = Decoder(ModelConfig(16, 16, 32, 1, 2, 2, 8, RopeConfig((1e4, 1e2, 1e2), (2, 1, 1))))
BASE = MODEL.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
CONFIG = AdaptConfig(
    steps=14,
    chunk=4,
    batch_size=1,
    lora=LoraConfig(rank=2, targets=("v", "down", "head")),
    optimizer=OptimizerConfig(learning_rate=1e-2, schedule="constant"),
    examples=ExamplesConfig(transforms=("symmetries",)),
)
SLOTS, LENGTH = 3, 48


def job(name: str) -> Job:
    """A task of three 2x2 grids; the first letter says whether it is easy, one grid throughout, or noise."""
    rng = np.random.default_rng(list(name.encode()))
    grids = [
        np.full((2, 2), 3, np.int8) if name[0] == "e" else rng.integers(0, 10, (2, 2)).astype(np.int8) for _ in "abc"
    ]
    task = Task(name, tuple((grid, grid) for grid in grids), (grids[0],))
    return Job(name, ExampleStream(task, ARC, CONFIG.examples, 0))


JOBS = {name: job(name) for name in ("n1", "e1", "n2", "n3", "e2", "n4", "e3")}


def adapter(**changes) -> Adapter:
    return Adapter(MODEL, BASE, dataclasses.replace(CONFIG, **changes), 0, ARC.pad_token)


ADAPTER = adapter()


def like_it(**changes) -> Adapter:
    """Another adapter that runs the programs of `ADAPTER`."""
    other = adapter(**changes)
    other.chunk, other.start = ADAPTER.chunk, ADAPTER.start
    return other


def pool(names, slots: int = SLOTS) -> Pool:
    return Pool(LENGTH, slots, tuple(JOBS[name] for name in names))


def by_id(results) -> dict[str, Adapted]:
    return {result.id: result for result in results}


def assert_same(a: Adapted, b: Adapted, steps: int | None = None) -> None:
    """To the bit; where `steps` is given, of the first so many only."""
    if steps is None:
        jax.tree.map(np.testing.assert_array_equal, a.trainable, b.trainable)
        assert (a.steps, a.tokens, a.failed) == (b.steps, b.tokens, b.failed)
    assert {name: of[:steps] for name, of in a.curves.items()} == {name: of[:steps] for name, of in b.curves.items()}


@pytest.fixture(scope="module")
def together() -> dict[str, Adapted]:
    """Seven jobs in three slots."""
    return by_id(ADAPTER.adapt([pool(JOBS)]))


def test_a_job_is_the_same_alone_and_among_others_whenever_and_wherever_it_enters(together):
    for name in JOBS:
        assert_same(together[name], by_id(ADAPTER.adapt([pool([name])]))[name])
    reversed_order = by_id(ADAPTER.adapt([pool(reversed(JOBS))]))
    for name in JOBS:
        assert_same(together[name], reversed_order[name])


def test_every_job_takes_all_its_steps_in_as_few_chunks_as_there_are_slots_for(together):
    assert all(result.steps == 14 and len(result.curves["loss"]) == 14 for result in together.values())
    own, seen = like_it(), []
    list(own.adapt([pool(JOBS)], on_chunk=lambda steps, note: seen.append(steps)))
    assert own.slot_steps == 3 * SLOTS * 16, "seven jobs are three rounds of four chunks of four steps"
    assert sum(seen) == 14 * len(JOBS)
    assert own.padding.real == sum(result.tokens for result in together.values())
    assert own.padding.computed == own.slot_steps * LENGTH


def test_every_sequence_is_drawn_once_and_beside_the_device(monkeypatch):
    drawn, fill = [], ExampleStream.fill

    def watched(self, arrays, step):
        drawn.append((id(self), step, threading.current_thread() is threading.main_thread()))
        fill(self, arrays, step)

    monkeypatch.setattr(ExampleStream, "fill", watched)
    # The first chunk of the first pool, of the next one, and those after jobs took turns.
    list(like_it().adapt([pool(["n1", "n2", "e1", "e2"]), pool(["n3", "n4", "e3"])]))
    assert sorted(drawn) == sorted((id(job.examples), step, False) for job in JOBS.values() for step in range(16))


def test_tasks_that_stop_early_shorten_the_run_and_change_no_other(together):
    early = like_it(stop_loss=1.3)
    stopped = by_id(early.adapt([pool(JOBS)]))
    assert {name for name in JOBS if stopped[name].steps < 14} == {"e1", "e2", "e3"}
    for name, result in stopped.items():
        assert_same(together[name], result, result.steps)
        if result.steps == 14:
            assert_same(together[name], result)
        else:
            assert result.steps % 4 == 0 and np.mean(result.curves["loss"][-4:]) < 1.3
    chunks = sum(-(-result.steps // 4) for result in stopped.values())
    assert chunks * 4 <= early.slot_steps < 3 * SLOTS * 16, "slots of tasks that stopped went to the next"
    # Below the threshold in two chunks in a row takes one chunk more.
    patient = like_it(stop_loss=1.3, stop_chunks=2)
    for name, result in by_id(patient.adapt([pool(["e1", "n1"])])).items():
        assert result.steps == (stopped[name].steps + 4 if name == "e1" else 14)


@pytest.mark.parametrize("chunks", [1, 5])
def test_jobs_left_between_chunks_go_on_to_the_same_adapters(tmp_path, together, chunks):
    folder, asked = PartialFolder(tmp_path / "partial"), itertools.count(1)
    found: dict[str, Adapted] = {}
    with pytest.raises(Interrupted):
        for result in ADAPTER.adapt([pool(JOBS)], partial=folder, leave=lambda: next(asked) == chunks):
            found[result.id] = result
    for name in JOBS:
        if kept := Adapted.of_content(folder.load(name)):
            found[name] = kept
    left = [name for name in JOBS if name not in found]
    assert left and len(left) == len(JOBS) - 3 * (chunks // 4)
    steps = []
    found |= by_id(ADAPTER.adapt([pool(left)], partial=folder, on_chunk=lambda made, note: steps.append(made)))
    assert sum(steps) == 14 * len(left) - 3 * 4, "steps made before were made again"
    for name in JOBS:
        assert_same(together[name], found[name])
        folder.remove(name)
    assert not (tmp_path / "partial").exists()


def test_a_pool_compiles_one_chunk_whatever_enters_and_leaves(together):
    own = adapter(stop_loss=1.3)
    with CompileLog() as log:
        list(own.adapt([pool(JOBS), Pool(LENGTH + 16, SLOTS, (JOBS["n1"], JOBS["e1"]))]))
        first = dict(log.programs)
        list(own.adapt([pool(reversed(JOBS))]))
        assert log.programs["chunk"] == 2, "one a length"
        assert dict(log.programs) == first


def test_on_an_exhausted_device_jobs_begin_anew_in_half_the_slots(monkeypatch):
    few = by_id(ADAPTER.adapt([pool(["n1", "n2"], slots=1)]))
    own, said, calls = like_it(), [], []

    def small(state, frozen, batches):
        calls.append(len(state.done))
        if len(state.done) > 1 and len(calls) > 1:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory while trying to allocate")
        return ADAPTER.chunk(state, frozen, batches)

    monkeypatch.setattr(own, "chunk", small)
    exhausted = by_id(own.adapt([pool(["n1", "n2"])], Slots("adapt.slots", SLOTS, said.append)))
    assert calls[:3] == [3, 3, 1] and "adapt.slots 1" in said[0]
    for name in few:
        assert_same(few[name], exhausted[name])


def test_the_check_asks_whether_every_weighted_token_is_the_likeliest():
    rng = np.random.default_rng(0)
    state = ADAPTER.initial_state(["a", "b", None])
    moved = jax.tree.map(lambda x: x + 0.3 * rng.standard_normal(x.shape).astype(np.float32), state.train.trainable)
    tokens = rng.integers(0, 14, (3, 20)).astype(np.int32)
    positions = np.broadcast_to(np.arange(20, dtype=np.int32)[:, None], (3, 20, 3))
    predict = jax.jit(lambda of_task, t, p: jnp.argmax(ADAPTER.model.apply({"params": BASE, **of_task}, t, p), -1))
    best = np.stack(
        [predict(jax.tree.map(lambda x, t=t: x[t], moved), tokens[t][None], positions[t][None])[0] for t in range(3)]
    )
    right = np.zeros((3, 20), bool)
    right[:, 1:] = best[:, :-1] == tokens[:, 1:]
    assert right.any() and not right[:, 1:].all()
    check = make_check(ADAPTER.model)
    batch = {"tokens": tokens, "positions": positions, "weights": right.astype(np.float32)}
    assert check(moved, ADAPTER.frozen, batch).tolist() == [True] * 3
    wrong = batch["weights"].copy()
    wrong[1, 1 + int(np.argmin(right[1, 1:]))] = 0.5
    assert check(moved, ADAPTER.frozen, {**batch, "weights": wrong}).tolist() == [True, False, True]


def test_a_task_stops_once_a_demonstration_that_it_never_saw_is_right():
    own, asked = like_it(stop_demo=True), []

    def check(trainable, frozen, batch):
        asked.append(batch)
        return jnp.array([len(asked) >= 2, False, True])

    own.check = check
    rng = np.random.default_rng(1)
    demos = tuple((rng.integers(0, 10, (2, 2)).astype(np.int8), np.full((1, 1), i, np.int8)) for i in range(3))
    jobs = []
    for name, of in (("right", demos), ("wrong", demos), ("two", demos[:2])):
        shown, held_out = hold_out(Task(name, of, (demos[0][0],)), ARC, CONFIG.examples, 0)
        assert len(shown.demos) == 2 and (held_out is None) == (name == "two")
        jobs.append(Job(name, ExampleStream(shown, ARC, CONFIG.examples, 0), held_out))
    found = by_id(own.adapt([Pool(LENGTH, 3, tuple(jobs))]))
    assert {name: result.steps for name, result in found.items()} == {"right": 8, "wrong": 14, "two": 14}
    held_out, weights = jobs[0].held_out, asked[0]["weights"]
    assert asked[0]["tokens"][0, weights[0] == 1].tolist() == held_out.tokens[held_out.outputs == 2].tolist()
    assert weights[1].sum() == weights[0].sum() > 0 == weights[2].sum()
