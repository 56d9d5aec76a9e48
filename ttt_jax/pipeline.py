"""The path of a task, on one page: examples -> adapter -> candidates -> ranked answers -> record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from ttt_jax.adapt.adapt import Adapter
from ttt_jax.adapt.course import Adapted, Padding
from ttt_jax.adapt.packed import Packed, unpack
from ttt_jax.adapt.partial import PartialFolder
from ttt_jax.adapt.plan import Group, Plan, PlannedTask, Pool, family_id
from ttt_jax.adapt.saved import load_adapted, saver
from ttt_jax.config import RunConfig
from ttt_jax.decode.candidate import Candidate, Scores
from ttt_jax.decode.candidates import (
    decode_candidates,
    reuses_prompts,
    score_length,
    score_queries,
    score_shapes,
    stack_size,
)
from ttt_jax.decode.score import Read
from ttt_jax.decode.shared import decode_shared, read_tokens
from ttt_jax.decode.speculate import Speculated, summed
from ttt_jax.decode.views import scoring_views
from ttt_jax.evaluate.records import ADAPTED, IN_CONTEXT, Answers, Training, task_files
from ttt_jax.runtime.background import Background
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.device_clock import DeviceClock
from ttt_jax.runtime.distributed import HostRun
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.runtime.memory import Slots, memory_limit
from ttt_jax.runtime.mesh import alone
from ttt_jax.runtime.run_dir import RunDir
from ttt_jax.select.likelihood import likeliest
from ttt_jax.select.rank import SCORED, rank
from ttt_jax.tasks.task import Domain

WAITING = 0.02
"""Share of the device's memory that adapters may take there while they wait for their group."""


def solve(solver: Solver, plan: Plan, run: RunDir | HostRun) -> None:
    """Answers every task that the run has not finished yet, and journals each.

    A task that no length bucket holds is journaled as `too_long`, unanswered.
    """
    finished = run.finished().keys()
    left = plan.without(set(finished))
    for task_id, reason in sorted(left.too_long.items()):
        run.save({"task": task_id, "status": "too_long", "reason": reason, "arms": {}, "steps": 0})
        solver.progress.task_done()

    solver.clock.start()
    # Files are written in a thread, in order, while the device goes on.
    with Background() as background:
        for group, arms, adapted in solver.answers(left):
            for i, planned in enumerate(group.tasks):
                answers = {arm: of[i] for arm, of in arms.items()}
                saved = planned.task.id in finished
                background.run(solver.keeper(planned, answers, adapted.get(planned.task.id), None if saved else run))
    solver.forget(job.id for pool in plan.pools for job in pool.jobs)


class Solver:
    """Answers the tasks of a plan with one base and one configuration.

    Args:
      model: a `Decoder`.
      base: its parameters, in the compute type.
      domain: of the tasks.
      config: the run.
      compile_log: its seconds are left out of the stages' seconds.
      progress: shows what is going on.
      interrupted: asked between chunks and stages; where true, `Interrupted` is raised.
      partial: folder that keeps what is in hand when the run is left.
    """

    def __init__(
        self,
        model: Any,
        base: Any,
        domain: Domain,
        config: RunConfig,
        compile_log: CompileLog,
        progress: Any,
        interrupted: Callable[[], bool] = lambda: False,
        partial: Path | None = None,
    ):
        self.base, self.domain, self.config = base, domain, config
        self.progress, self.interrupted = progress, interrupted
        self.partial = PartialFolder(partial) if partial else None
        self.clock = DeviceClock(lambda: compile_log.seconds)
        self.adapter = Adapter(model, base, config.adapt, config.seed, domain.pad_token, self.clock)
        self.model = self.adapter.model
        self.decode_slots = Slots("decode.slots", 1 << 30, progress.log)
        self.padding = {"adapt": self.adapter.padding, "prompt": Padding(), "decode": Padding(), "score": Padding()}
        self.compiled: set[str] = set()

    def answers(self, plan: Plan) -> Iterator[tuple[Group, dict[str, list[Answers]], dict[str, Adapted]]]:
        """Answers the groups of a plan, each as soon as all of its tasks have their adapters.

        Yields:
          A group, each arm's answers to its tasks, and their adapters by task id.
        """
        adapters = self.adapters(plan)
        waiting = [group for group in plan.groups if self.adapts(group)]
        ready: dict[str, Adapted] = {}
        try:
            for adapted in adapters:
                ready[adapted.id] = self.waits(adapted, ready)
                for group in [group for group in waiting if ready.keys() >= set(group.ids)]:
                    arms = self.answer(group, ready)
                    waiting.remove(group)
                    yield group, arms, {id_: ready.pop(id_) for id_ in group.ids}
            for group in plan.groups:
                if not self.adapts(group):
                    yield group, self.answer(group, {}), {}
        except Interrupted:
            # What is adapted and not answered is kept, and so is what the adapter has in hand.
            self.keep(ready.values())
            self.keep(adapters)
            raise

    def waits(self, adapted: Adapted, ready: Mapping[str, Adapted]) -> Adapted:
        """An adapter as it waits for its group: on the device, while those there leave room, else on the host."""
        there = {id(of.packed.vector): of.packed for of in ready.values() if of.packed.waits_on_device}
        held = sum(packed.vector.nbytes for packed in there.values())
        if not adapted.packed.waits_on_device or held + adapted.packed.vector.nbytes <= WAITING * memory_limit():
            return adapted
        return replace(adapted, packed=adapted.packed.on_host())

    def adapts(self, group: Group) -> bool:
        return ADAPTED in self.config.arms and group.adapted

    def adapters(self, plan: Plan) -> Iterator[Adapted]:
        """An adapter for each task, trained now or taken from an earlier run, each as soon as it is there."""
        ids = [id_ for group in plan.groups if self.adapts(group) for id_ in group.ids]
        if self.config.load_adapters:
            state = self.adapter.shapes(1)
            like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[1:], x.dtype), state.train.trainable)
            for id_ in ids:
                yield load_adapted(Path(self.config.load_adapters) / "adapters", id_, like)
        elif self.config.adapt.shared:
            tasks = [planned.task for group in plan.groups if self.adapts(group) for planned in group.tasks]
            count = {job.id: job.examples.tasks for pool in plan.pools for job in pool.jobs}
            for adapted in self.trained(plan.pools):
                self.keep([adapted])
                n = count[adapted.id]
                for task in tasks:
                    if family_id(task.family) == adapted.id:
                        yield replace(adapted, id=task.id, tokens=adapted.tokens // n, seconds=adapted.seconds / n)
        else:
            yield from self.trained(plan.pools)

    def trained(self, pools: Sequence[Pool]) -> Iterator[Adapted]:
        """The jobs of the pools, trained; first those that an interrupted run had trained to the end."""
        left = []
        for pool in pools:
            kept = {job.id: self.kept(job.id) for job in pool.jobs}
            yield from filter(None, kept.values())
            left.append(replace(pool, jobs=tuple(job for job in pool.jobs if not kept[job.id])))
        left = [pool for pool in left if pool.jobs]
        jobs, steps = sum(len(pool.jobs) for pool in left), self.config.adapt.steps
        if not left:
            return
        slots = Slots("adapt.slots", max(pool.slots for pool in left), self.progress.log)

        def on_pool(slots: int, length: int) -> None:
            self.now(f"adapting {slots} side by side on {length} tokens")

        with self.progress.stage("adapt", f"{jobs} tasks x {steps} steps", units=jobs * steps):
            yield from self.adapter.adapt(left, slots, self.partial, self.interrupted, on_pool, self.progress.advance)

    def answer(self, group: Group, ready: Mapping[str, Adapted]) -> dict[str, list[Answers]]:
        """The answers to every task of a group, in-context first, then adapted."""
        arms = {}
        if IN_CONTEXT in self.config.arms:
            arms[IN_CONTEXT] = self.answer_as(IN_CONTEXT, group, [])
        if self.adapts(group):
            arms[ADAPTED] = self.answer_as(ADAPTED, group, [ready[id_] for id_ in group.ids])
        return arms

    def answer_as(self, arm: str, group: Group, adapted: Sequence[Adapted]) -> list[Answers]:
        """Candidates and ranked answers of every task of a group under one arm."""
        views, tasks = self.config.decode.views, len(group.tasks)
        queries = [(i, of_query) for i, planned in enumerate(group.tasks) for of_query in planned.views]
        packed = [of_task.packed for of_task in adapted] or self.neutral(tasks)
        trainable = stacked(packed, stack_size(tasks, group.slots), self.model.dtype) if packed else None
        detail = f"{len(queries)} queries x {views} views, {arm}, {group.prompt_length} tokens"
        with self.progress.stage("decode", detail, units=len(queries)):
            with self.clock.working("decode") as decoding:
                candidates, read, drafts = self.decode_slots.attempt(
                    lambda slots: self.decode(slots, group, arm, trainable), group.slots
                )
            self.progress.advance(len(queries))
        self.leave_if_asked()
        began = time.perf_counter()
        scores = self.score(group, queries, candidates, trainable, read)
        ranked = [
            rank(of_query, self.config.select.method, self.domain, scores=of_scores)
            for of_query, of_scores in zip(candidates, scores, strict=True)
        ]
        selecting = time.perf_counter() - began
        answers, q = [], 0
        for i, planned in enumerate(group.tasks):
            own = slice(q, q := q + len(planned.views))
            seconds = {
                "adapt": adapted[i].seconds if adapted else 0.0,
                "decode": decoding() / tasks,
                "select": selecting / tasks,
            }
            tokens = {
                "adapt": adapted[i].tokens if adapted else 0,
                "decode": sum(len(c.tokens) for of_query in candidates[own] for c in of_query),
                "prompt": prompt_tokens(planned, self.domain, self.config.decode.samples),
            }
            counts = summed(drafts[own]) if drafts else None
            answers.append(Answers(candidates[own], ranked[own], scores[own], seconds, tokens, counts))
        return answers

    def neutral(self, tasks: int) -> list[Packed]:
        """Adapters of zeros for in-context queries after shared prefixes, where the run has the adapted arm too.

        The arms then share their programs, which take longer to compile than a
        few thousand short answers take to write. None elsewhere: the base alone.
        """
        if not (self.domain.shared_prefix and ADAPTED in self.config.arms and self.config.adapt.trainable == "lora"):
            return []
        layout = self.adapter.layout
        return [Packed(np.zeros(layout.size, np.float32), layout)] * tasks

    def decode(
        self, slots: int, group: Group, arm: str, trainable: Any
    ) -> tuple[list[list[Candidate]], list[Read], list[dict[str, float]]]:
        """The candidates of a group's queries, `slots` at a time.

        And what was read, if scoring can take it up; and what drafts did for each query, if there were any.
        """
        config, seed = replace(self.config.decode, slots=slots), self.config.seed
        model, base, domain = self.model, self.base, self.domain

        def on_stage(text: str) -> None:
            self.now(f"{arm}: {text}")

        if domain.shared_prefix:
            tasks = [(i, planned.views) for i, planned in enumerate(group.tasks)]
            found = decode_shared(model, base, trainable, tasks, domain, config, self.config.lengths, seed, on_stage)
            return found, [], []
        queries = [(i, views) for i, planned in enumerate(group.tasks) for views in planned.views]
        read: list[Read] = []
        drafted: list[Speculated] = []
        found = decode_candidates(
            model, base, trainable, queries, domain, config, group.prompt_length, seed, on_stage,
            read.append if reuses_prompts(self.config, domain, len(queries), slots) else None, drafted.append,
        )  # fmt: skip
        self.count_padding(found, queries, slots, group.prompt_length, drafted)
        return found, read, [counts for how in drafted for counts in how.counts()]

    def score(
        self,
        group: Group,
        queries: Sequence[Any],
        candidates: Sequence[Sequence[Candidate]],
        trainable: Any,
        read: list[Read],
    ) -> list[Scores | None]:
        """Likelihoods of the likeliest answers to each query, where selection needs them.

        `read` is what `decode` has kept, if anything; it is taken out, so that a second try has its memory.
        """
        select = self.config.select
        if select.method not in SCORED:
            return [None] * len(queries)
        under = scoring_views(queries, select.score_views, self.domain, self.config.decode, self.config.seed)
        shapes = score_shapes(score_length(under, self.config.lengths), self.domain, self.config)
        answers = [likeliest(of_query, self.domain, select.score_candidates) for of_query in candidates]
        detail = f"{len(queries)} queries x {select.score_candidates} candidates"
        with self.progress.stage("score", detail), self.clock.working("select"):
            return self.decode_slots.attempt(
                lambda slots: score_queries(
                    self.model, self.base, trainable, under, answers, self.domain, slots, shapes,
                    read.pop() if read else None, self.padding["score"].add,
                ),
                group.slots,
            )  # fmt: skip

    def count_padding(
        self,
        candidates: Sequence[Sequence[Candidate]],
        queries: Sequence[Any],
        slots: int,
        length: int,
        drafted: Sequence[Speculated],
    ) -> None:
        """Counts what went through the model: whole batches, to the end of their longest answers."""
        views = self.config.decode.views
        rows = views * self.config.decode.samples
        for batch, start in enumerate(range(0, len(queries), slots)):
            prompts = [view.prompt for _, views in queries[start : start + slots] for view in views]
            said = [len(c.tokens) for of_query in candidates[start : start + slots] for c in of_query if not c.searched]
            read, written = slots * views * length, slots * rows * max(said)
            accepted = 0
            if drafted:
                how = drafted[batch]
                accepted = int(how.accepted.sum())
                read += slots * (rows - 1) * how.room
                written = slots * (int(how.first.max()) + (rows - 1) * int(how.after.max()))
            self.padding["prompt"].add(read, sum(map(len, prompts)) + accepted)
            self.padding["decode"].add(written, sum(said) - accepted)

    def keeper(
        self, planned: PlannedTask, arms: Mapping[str, Answers], adapted: Adapted | None, run: RunDir | HostRun | None
    ) -> Callable[[], None]:
        """What journals a finished task, and forgets what was kept of it; without a run it is in the journal."""

        def save_variables(path: Path) -> None:
            if adapted:
                saver(adapted.trainable)(path)

        def keep() -> None:
            if run:
                training = Training.too_long(planned.too_long) if planned.too_long else None
                if adapted:
                    training = Training(adapted.steps, adapted.failed, adapted.curves, save_variables)
                files = task_files(planned.task, arms, training, self.domain)
                if not self.config.save_adapters:
                    files["adapter"] = None
                run.save(**files)
                self.progress.task_done()
            self.forget([planned.task.id])

        return keep

    def keep(self, adapted: Iterable[Adapted]) -> None:
        """Keeps adapters for the run that goes on with this one."""
        for one in adapted:
            if self.partial and not self.config.load_adapters:
                self.partial.save(one.id, one.content())

    def kept(self, id_: str) -> Adapted | None:
        return Adapted.of_content(self.partial.load(id_)) if self.partial else None

    def forget(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            if self.partial:
                self.partial.remove(id_)

    def now(self, program: str) -> None:
        """Says what runs; where nothing can be redrawn, the first time only."""
        new = program not in self.compiled
        self.compiled.add(program)
        self.progress.now(program, keep=new)

    def leave_if_asked(self) -> None:
        if self.interrupted():
            raise Interrupted


def stacked(packed: Sequence[Packed], count: int, dtype: Any) -> Any:
    """Variables of several tasks as one pytree with a leading axis, in the compute type on the device.

    On a mesh they stay on the host, as they are (`take_slots`). The last is repeated until there are `count`.
    """
    padded = [*packed, *[packed[-1]] * (count - len(packed))]
    if alone():
        return unpack(tuple(one.vector for one in padded), layout=packed[0].layout, dtype=dtype)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *(one.tree() for one in padded))


def prompt_tokens(planned: PlannedTask, domain: Domain, samples: int) -> int:
    """Tokens of prompts that the model reads to answer a task."""
    if domain.shared_prefix:
        return read_tokens(planned.views, samples)
    return sum(len(view.prompt) for views in planned.views for view in views)
