"""Adapts many tasks in a few slots: host side of the loop in loop.py."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import flax.serialization
import jax
import jax.numpy as jnp
import numpy as np

from ttt_jax.adapt.course import CURVES, Adapted, Course, Padding
from ttt_jax.adapt.feed import Batches, Feed, Turn
from ttt_jax.adapt.loop import (
    AdaptChunk,
    AdaptState,
    enter_slots,
    init_state,
    init_trainable,
    make_adapt_chunk,
    make_check,
    take_slot,
)
from ttt_jax.adapt.packed import Layout, Packed, pack_slot
from ttt_jax.adapt.partial import PartialFolder
from ttt_jax.adapt.plan import Job, Pool
from ttt_jax.adapt.saved import load_initial
from ttt_jax.config import AdaptConfig
from ttt_jax.losses import Variables, get_loss
from ttt_jax.runtime.device_clock import DeviceClock, Flight
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.runtime.memory import Slots, out_of_memory
from ttt_jax.runtime.mesh import alone, constrain, put
from ttt_jax.tasks.task import keyed_rng
from ttt_jax.update import make_optimizer, make_schedule


class Leaving(NamedTuple):
    """A job that has left its slot.

    Its variables lie on the device: as a vector, or, on a mesh, as they were.
    """

    course: Course
    failed: str | None
    trainable: Any


class Adapter:
    """Adapts the jobs of pools with one configuration; compiles one chunk a pool.

    Args:
      model: a `Decoder` (its `lora_scale` is set from the config).
      base: its parameters, in the compute type.
      config: how to adapt; the slots are those of the pools.
      seed: with a job's id, the key of its adapter.
      pad_token: fills sequences; only counts of real tokens depend on it.
      clock: measures every chunk.

    Raises:
      ValueError: the adapter of `config.init` cannot be read or is of other shapes.

    Attributes:
      given: what every task starts from: the base, and the adapter of `config.init` or None.
      padding: tokens computed so far.
      slot_steps: steps that went through the device so far, each slot counted.
      layout: of a task's variables as a vector.
    """

    def __init__(
        self, model: Any, base: Any, config: AdaptConfig, seed: int, pad_token: int, clock: DeviceClock | None = None
    ):
        self.config, self.base, self.seed, self.pad_token = config, base, seed, pad_token
        self.clock = clock or DeviceClock()
        self.model = model.clone(lora_scale=config.lora.scale, remat=config.remat)
        self.rates = np.asarray(
            jax.vmap(make_schedule(config.optimizer, config.steps))(jnp.arange(config.steps))
        ).tolist()
        self.tx = make_optimizer(config.optimizer, config.steps)
        self.chunk: AdaptChunk = make_adapt_chunk(get_loss(config.loss), self.tx, self.model, config.lora.dropout)
        self.check = make_check(self.model)
        first = config.init and jax.tree.map(jnp.asarray, load_initial(config.init, model.config, config.lora))
        self.given = (base, first)
        self.start = jax.jit(self._start)
        self.frozen: Variables = {} if config.trainable == "full" else {"params": base}
        self.padding, self.slot_steps = Padding(), 0
        one = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), self.shapes(1).train.trainable)
        self.layout = Layout.of(one)

    def _start(self, given: Any, seeds: jax.Array, max_steps: jax.Array) -> AdaptState:
        base, first = given
        if first is None:
            trainable, _ = init_trainable(jax.vmap(jax.random.key)(seeds), base, self.model, self.config)
        else:
            trainable = {"lora": jax.tree.map(lambda x: jnp.broadcast_to(x, (len(seeds), *x.shape)), first)}
        return constrain(init_state(trainable, self.tx, max_steps, seeds))

    def initial_state(self, ids: Sequence[str | None]) -> AdaptState:
        """The state before the first step, a slot for each id; a slot without one (None) takes no steps."""
        seeds, max_steps = np.zeros(len(ids), np.uint32), np.zeros(len(ids), np.int32)
        for i, id_ in enumerate(ids):
            if id_ is not None:
                seeds[i] = keyed_rng(self.seed, "adapter", id_).integers(2**32, dtype=np.uint32)
                max_steps[i] = self.config.steps
        return self.start(self.given, seeds, max_steps)

    def shapes(self, slots: int) -> AdaptState:
        """The state of so many slots, as abstract arrays."""
        return jax.eval_shape(self.start, self.given, np.zeros(slots, np.uint32), np.zeros(slots, np.int32))

    def adapt(
        self,
        pools: Sequence[Pool],
        slots: Slots | None = None,
        partial: PartialFolder | None = None,
        leave: Callable[[], bool] = lambda: False,
        on_pool: Callable[[int, int], None] = lambda slots, length: None,
        on_chunk: Callable[[int, str], None] = lambda steps, note: None,
    ) -> Iterator[Adapted]:
        """Trains one adapter for each job, in turn in the slots of its pool.

        A job enters a free slot between chunks, and leaves it when it has used
        its steps, has converged or has failed. What it becomes does not depend
        on when and where that is: its random numbers are keyed by its id and
        its step, its shapes are those of its pool.

        A result is handed over while the next chunk is in flight, so that what
        the caller does with it on the host does not keep the device waiting.

        Args:
          pools: one after the other.
          slots: halves the slots of a pool, and of those after it, where the device is too small; the jobs
            in hand begin anew.
          partial: where jobs in hand go when the run is left, and where they are taken up from.
          leave: asked between chunks; where true, `Interrupted` is raised.
          on_pool: told the slots and the length, before a pool's first chunk.
          on_chunk: told the steps that jobs made in a chunk (or are spared), and a few words.

        Yields:
          Each job's result, in the order in which they end.

        Raises:
          Interrupted: `leave` said so.
        """
        slots = slots or Slots("adapt.slots", max((pool.slots for pool in pools), default=1), print)
        leaving: list[Leaving] = []
        with Feed(self.config, self.pad_token) as feed:
            _open(feed, pools[0], slots)
            for pool, following in zip(pools, [*pools[1:], None], strict=True):
                waiting = deque(pool.jobs)
                running: list[Course | None] = [None] * min(pool.slots, slots.count)
                state: AdaptState | None = None
                on_pool(len(running), pool.length)
                while waiting or any(running):
                    try:
                        state = self._fill(state, running, waiting, partial)
                        batches = feed.take(
                            [course and Turn(course.job, course.step) for course in running], pool.length
                        )
                        flight = self._send(state, batches, running, pool.length)
                        state = flight.out[0]
                        self._announce(feed, running, waiting, pool, following, slots)
                        yield from map(self._adapted, leaving)
                        leaving = []
                        seconds = flight.wait()
                        leaving, units, note = self._collect(flight, batches, running, seconds)
                    except jax.errors.JaxRuntimeError as error:
                        if not out_of_memory(error) or len(running) == 1:
                            raise
                    else:
                        on_chunk(units, note)
                        if leave():
                            self._leave(flight.out[0], running, leaving, partial)
                        continue
                    # Outside the handler, so that the traceback no longer holds on to device arrays.
                    waiting.extendleft(course.job for course in reversed(running) if course)
                    state = batches = flight = None
                    slots.halve(len(running))
                    running = [None] * slots.count
                    on_pool(len(running), pool.length)
        yield from map(self._adapted, leaving)

    def _fill(
        self,
        state: AdaptState | None,
        running: list[Course | None],
        waiting: deque[Job],
        partial: PartialFolder | None,
    ) -> AdaptState:
        """Lets waiting jobs into the free slots: fresh, or as they were when the run was left."""
        entering: list[str | None] = [None] * len(running)
        kept: dict[int, Any] = {}
        for slot, course in enumerate(running):
            if course is None and waiting:
                job = waiting.popleft()
                found = partial.load(job.id) if partial else None
                kept |= {slot: found.pop("train")} if found else {}
                running[slot], entering[slot] = Course(job, **(found or {})), job.id
        if state is not None and not any(entering):
            return state
        fresh: Any = self.initial_state(entering)
        for slot, train in kept.items():
            one = flax.serialization.from_state_dict(fresh.train, train)
            fresh = fresh.replace(train=_put(fresh.train, one, np.int32(slot)))
        if state is None:
            return fresh
        return enter_slots(state, fresh, np.array([id_ is not None for id_ in entering]))

    def _send(self, state: AdaptState, batches: Batches, running: Sequence[Course | None], length: int) -> Flight:
        """Sends a chunk, and with `stop_demo` the question after it: (the state after it, what to read of it)."""

        def program() -> tuple[AdaptState, dict[str, Any]]:
            after, metrics = self.chunk(state, self.frozen, batches.arrays)
            # Copies: the state itself is donated to the next chunk.
            answers = {name: metrics[name] for name in CURVES} | copied(
                {"failed": after.failed, "step": after.train.step}
            )
            if self.config.stop_demo:
                answers["right"] = self.check(after.train.trainable, self.frozen, self._questions(running, length))
            return after, answers

        self.slot_steps += len(running) * self.config.chunk
        return self.clock.send("adapt", program, lambda out: out[1])

    def _questions(self, running: Sequence[Course | None], length: int) -> dict[str, Any]:
        """The held-out sequences of the slots, their last output weighing 1; nothing does where there is none."""
        axes = self.model.config.rope.axes
        tokens = np.full((len(running), length), self.pad_token, np.int32)
        positions = np.zeros((len(running), length, axes), np.int32)
        weights = np.zeros((len(running), length), np.float32)
        for slot, course in enumerate(running):
            if course and (held_out := course.job.held_out):
                size = len(held_out)
                tokens[slot, :size], positions[slot, :size] = held_out.tokens, held_out.positions
                weights[slot, :size] = held_out.outputs == held_out.outputs.max()
        return put({"tokens": tokens, "positions": positions, "weights": weights})

    def _announce(
        self,
        feed: Feed,
        running: Sequence[Course | None],
        waiting: Sequence[Job],
        pool: Pool,
        following: Pool | None,
        slots: Slots,
    ) -> None:
        """Has the batches of the next chunk made, as it will be if every job takes all its steps."""
        coming = deque(waiting)
        turns: list[Turn | None] = []
        for course in running:
            if course and course.step + self.config.chunk < self.config.steps:
                turns.append(Turn(course.job, course.step + self.config.chunk))
            else:
                turns.append(Turn(coming.popleft(), 0) if coming else None)
        if any(turns):
            early = self.config.stop_loss is not None or self.config.stop_demo
            feed.prepare(turns, pool.length, [Turn(job, 0) for job in coming][: len(running)] if early else ())
        elif following:
            _open(feed, following, slots)

    def _collect(
        self, flight: Flight, batches: Batches, running: list[Course | None], seconds: float
    ) -> tuple[list[Leaving], int, str]:
        """Adds a chunk to the courses and frees the slots of those that end: these, steps made or spared, a note."""
        state, report = flight.out[0], jax.device_get(flight.out[1])
        steps, active = self.config.steps, sum(course is not None for course in running)
        leaving, losses, units, useful = [], [], 0, 0
        for slot, course in enumerate(running):
            if course is None:
                continue
            made = int(report["step"][slot]) - course.step
            curves = {name: report[name][slot, :made] for name in CURVES}
            course.advance(curves, batches.tokens[slot, :made], seconds / active)
            useful, units, losses = (
                useful + int(batches.tokens[slot, :made].sum()),
                units + made,
                [*losses, *curves["loss"]],
            )
            failed = bool(report["failed"][slot])
            loss = float(np.mean(curves["loss"])) if made else float("nan")
            right = bool(report["right"][slot]) if "right" in report else False
            if failed or course.step >= steps or course.converged(self.config, loss, right):
                reason = f"diverged: loss, gradient or update not finite at step {course.step}" if failed else None
                leave = pack_slot if alone() else take_slot
                leaving.append(Leaving(course, reason, leave(state.train.trainable, np.int32(slot))))
                running[slot], units = None, units + steps - course.step
        self.padding.add(int(np.prod(batches.arrays["tokens"].shape)), useful)
        mean = float(np.mean(losses)) if losses else float("nan")
        return leaving, units, f"{active} side by side, loss {mean:.3f}"

    def _adapted(self, left: Leaving) -> Adapted:
        """What a job that has left its slot came to."""
        course = left.course
        vector = isinstance(left.trainable, jax.Array)
        packed = Packed(left.trainable, self.layout) if vector else Packed.of(jax.device_get(left.trainable))
        curves = {name: course.curves[name] for name in CURVES}
        return Adapted(
            id=course.job.id,
            packed=packed,
            steps=course.step,
            failed=left.failed,
            curves={"step": list(range(course.step)), **curves, "learning_rate": self.rates[: course.step]},
            tokens=course.tokens,
            seconds=course.seconds,
        )

    def _leave(
        self,
        state: AdaptState,
        running: Sequence[Course | None],
        leaving: Sequence[Leaving],
        partial: PartialFolder | None,
    ) -> None:
        """Keeps what is in hand, and raises Interrupted."""
        if partial:
            for slot, course in enumerate(running):
                if course:
                    train = flax.serialization.to_state_dict(take_slot(state.train, np.int32(slot)))
                    partial.save(course.job.id, {**course.content(), "train": train})
            for left in leaving:
                partial.save(left.course.job.id, self._adapted(left).content())
        raise Interrupted


def _open(feed: Feed, pool: Pool, slots: Slots) -> None:
    """Has the first batches of a pool made, as they are if none of its jobs is taken up from where it was left."""
    size = min(pool.slots, slots.count)
    first = [Turn(job, 0) for job in pool.jobs[:size]]
    feed.prepare([*first, *[None] * (size - len(first))], pool.length)


@jax.jit
def _put(stacked: Any, one: Any, slot: jax.Array) -> Any:
    return constrain(jax.tree.map(lambda x, new: x.at[slot].set(new), stacked, one))


@jax.jit
def copied(tree: Any) -> Any:
    return jax.tree.map(jnp.copy, tree)
