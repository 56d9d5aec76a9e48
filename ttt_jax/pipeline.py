"""The path of a task, on one page: examples -> adapter -> candidates -> ranked answers -> record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ttt_jax.adapt.adapt import Adapted, Adapter, concatenate
from ttt_jax.adapt.examples import ExampleStream
from ttt_jax.adapt.partial import PartialFile
from ttt_jax.adapt.plan import Group, PlannedTask, bucket, plan_groups
from ttt_jax.adapt.saved import load_adapted, slot_saver
from ttt_jax.adapt.shared import SharedFile, SharedStream, hand_out
from ttt_jax.config import RunConfig
from ttt_jax.decode.candidate import Candidate, Scores
from ttt_jax.decode.candidates import decode_candidates, score_queries
from ttt_jax.decode.shared import decode_shared, read_tokens
from ttt_jax.decode.views import scoring_views
from ttt_jax.evaluate.records import ADAPTED, IN_CONTEXT, Answers, Training, task_files
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.runtime.memory import Slots
from ttt_jax.runtime.run_dir import RunDir
from ttt_jax.select.likelihood import likeliest
from ttt_jax.select.rank import SCORED, rank
from ttt_jax.tasks.task import Domain, Task


def solve(solver: Solver, tasks: Sequence[Task], run: RunDir) -> None:
    """Answers every task that the run has not finished yet, group by group, and journals each.

    A task that no length bucket holds is journaled as `too_long`, unanswered.
    """
    groups, too_long = plan_groups(tasks, solver.domain, solver.config)
    if solver.config.adapt.shared:
        solver.families = families(groups)
    finished = run.finished()
    for task_id, reason in sorted(too_long.items()):
        if task_id not in finished:
            run.save({"task": task_id, "status": "too_long", "reason": reason, "arms": {}, "steps": 0})
            solver.progress.task_done()
    for group in groups:
        missing = {planned.task.id for planned in group.tasks} - finished.keys()
        if not missing:
            continue
        # The whole group runs even where a part of it is finished: in other company, shapes and rounding
        # would differ from the run that was never interrupted.
        for files in solver.solve(group):
            if files["record"]["task"] in missing:
                if not solver.config.save_adapters:
                    files["adapter"] = None
                run.save(**files)
                solver.progress.task_done()
        solver.leave_if_asked()


class Solver:
    """Answers groups of tasks with one base and one configuration.

    Args:
      model: a `Decoder`.
      base: its parameters, in the compute type.
      domain: of the tasks.
      config: the run.
      compile_log: its seconds are left out of the stages' seconds.
      progress: shows what is going on.
      interrupted: asked between chunks and stages; where true, `Interrupted` is raised.
      partial: folder that keeps a group whose adaptation was left between chunks.
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
        self.compile_log, self.progress, self.interrupted = compile_log, progress, interrupted
        self.partial = partial
        self.adapter = Adapter(model, base, config.adapt, config.seed, domain.pad_token)
        self.model = self.adapter.model
        self.adapt_slots = Slots("adapt.slots", config.adapt.slots, progress.log)
        self.decode_slots = Slots("decode.slots", config.decode.slots, progress.log)
        self.compiled: set[str] = set()
        # For `adapt.shared`: the training sequences of every family, and what it was adapted to.
        self.families: dict[str, list[ExampleStream]] = {}
        self.shared: Adapted | None = None

    def solve(self, group: Group) -> Iterator[dict[str, Any]]:
        """Answers the tasks of a group: in-context first, then adapted.

        Yields:
          For each task the arguments of `RunDir.save`.
        """
        adapted: Adapted | None = None
        arms: dict[str, list[Answers]] = {}
        if IN_CONTEXT in self.config.arms:
            arms[IN_CONTEXT] = self.answer(group, IN_CONTEXT, None, 0.0)
        if ADAPTED in self.config.arms and not group.tasks[0].too_long:
            with self.timed() as adapting:
                adapted = self.adapt(group)
            arms[ADAPTED] = self.answer(group, ADAPTED, adapted, adapting())
        for i, planned in enumerate(group.tasks):
            training = Training.too_long(planned.too_long) if planned.too_long else None
            if adapted:
                save = slot_saver(adapted.trainable, i)
                training = Training(int(adapted.steps[i]), adapted.failed[i], adapted.curves[i], save)
            yield task_files(planned.task, {arm: of[i] for arm, of in arms.items()}, training, self.domain)

    def adapt(self, group: Group) -> Adapted:
        """One adapter for each task of the group, trained now or taken from an earlier run."""
        ids = [planned.task.id for planned in group.tasks]
        if self.config.load_adapters:
            folder = Path(self.config.load_adapters) / "adapters"
            return load_adapted(folder, ids, self.adapter.initial_state(ids).train.trainable)
        if self.config.adapt.shared:
            return self.adapt_shared(group)
        streams = [planned.examples for planned in group.tasks if planned.examples]
        return self.adapt_streams(ids, streams, group.train_length)

    def adapt_shared(self, group: Group) -> Adapted:
        """The adapters of the tasks' families; these are trained when the first group asks for them."""
        names = sorted(self.families)
        if self.shared is None:
            file = SharedFile(self.partial) if self.partial else None
            self.shared = file.load(names) if file else None
            if self.shared is None:
                seed = self.config.seed
                streams = [SharedStream(name, self.families[name], seed) for name in names]
                length = bucket(max(stream.max_length for stream in streams), self.config.lengths)
                assert length is not None  # every task of theirs has found a bucket
                self.shared = self.adapt_streams([f"family {name}" for name in names], streams, length)
                if file:
                    file.save(self.shared, names)
        families = [planned.task.family for planned in group.tasks]
        return hand_out(self.shared, [names.index(f) for f in families], [len(self.families[f]) for f in families])

    def adapt_streams(self, ids: Sequence[str], streams: Sequence[Any], length: int) -> Adapted:
        """One adapter for each stream of training sequences."""
        config = self.config.adapt
        detail = f"{len(ids)} tasks x {config.steps} steps, {length} tokens"
        with self.progress.stage("adapt", detail, units=len(ids) * config.steps):
            return self.adapt_slots.attempt(lambda slots: self.adapt_in(slots, ids, streams, length))

    def adapt_in(self, slots: int, ids: Sequence[str], streams: Sequence[Any], length: int) -> Adapted:
        """Adapts `slots` streams at a time: all at once, unless the device was too small for that."""
        if slots != self.adapter.config.slots:
            config = replace(self.config.adapt, slots=slots)
            self.adapter = Adapter(self.model, self.base, config, self.config.seed, self.domain.pad_token)
        self.now(f"adapting {slots} side by side on {length} tokens")

        def on_chunk(steps: int, done: int, loss: float) -> None:
            self.progress.advance(len(part) * steps, f"step {done}/{self.config.adapt.steps}, loss {loss:.3f}")

        parts, counts = [], []
        for start in range(0, len(ids), slots):
            part = ids[start : start + slots]
            saved = PartialFile(self.partial, part) if self.partial else None
            of_part = streams[start : start + slots]
            parts.append(self.adapter.adapt(part, of_part, length, on_chunk, self.interrupted, saved))
            counts.append(len(part))
        return parts[0] if len(parts) == 1 else concatenate(parts, counts)

    def answer(self, group: Group, arm: str, adapted: Adapted | None, adapt_seconds: float) -> list[Answers]:
        """Candidates and ranked answers of every task of the group under one arm."""
        decode, select = self.config.decode, self.config.select
        trainable = adapted.trainable if adapted else None
        queries = [(i, views) for i, planned in enumerate(group.tasks) for views in planned.views]
        detail = f"{len(queries)} queries x {decode.views} views, {arm}, {group.prompt_length} tokens"
        with self.progress.stage("decode", detail, units=len(queries)), self.timed() as decoding:
            candidates = self.decode_slots.attempt(lambda slots: self.decode_in(slots, group, arm, trainable))
            self.progress.advance(len(queries))
        self.leave_if_asked()
        scores: list[Scores | None] = [None] * len(queries)
        with self.timed() as selecting:
            if select.method in SCORED:
                under = scoring_views(queries, select.score_views, self.domain, decode, self.config.seed)
                answers = [likeliest(of_query, self.domain, select.score_candidates) for of_query in candidates]
                with self.progress.stage("score", f"{len(queries)} queries x {select.score_candidates} candidates"):
                    scores = self.decode_slots.attempt(
                        lambda slots: score_queries(
                            self.model, self.base, trainable, under, answers, self.domain, slots, self.config.lengths
                        )
                    )  # fmt: skip
            ranked = [
                rank(of_query, select.method, self.domain, scores=of_scores)
                for of_query, of_scores in zip(candidates, scores, strict=True)
            ]
        tasks, q, answered = len(group.tasks), 0, []
        for i, planned in enumerate(group.tasks):
            of_task = slice(q, q := q + len(planned.views))
            stages = (adapt_seconds, decoding(), selecting())
            tokens = {
                "adapt": int(adapted.tokens[i]) if adapted else 0,
                "decode": sum(len(c.tokens) for of_query in candidates[of_task] for c in of_query),
                "prompt": prompt_tokens(planned, self.domain, decode.samples),
            }
            seconds = dict(zip(("adapt", "decode", "select"), (s / tasks for s in stages), strict=True))
            answered.append(Answers(candidates[of_task], ranked[of_task], scores[of_task], seconds, tokens))
        return answered

    def decode_in(self, slots: int, group: Group, arm: str, trainable: Any) -> list[list[Candidate]]:
        """The candidates of every query of the group, `slots` queries at a time."""
        config, seed = replace(self.config.decode, slots=slots), self.config.seed
        model, base, domain = self.model, self.base, self.domain

        def on_stage(text: str) -> None:
            self.now(f"{arm}: {text}")

        if domain.shared_prefix:
            tasks = [(i, planned.views) for i, planned in enumerate(group.tasks)]
            return decode_shared(model, base, trainable, tasks, domain, config, self.config.lengths, seed, on_stage)
        queries = [(i, views) for i, planned in enumerate(group.tasks) for views in planned.views]
        return decode_candidates(model, base, trainable, queries, domain, config, group.prompt_length, seed, on_stage)

    @contextmanager
    def timed(self) -> Iterator[Callable[[], float]]:
        """Wall seconds of the block, compilation left out; call the result afterwards."""
        began, compiled = time.perf_counter(), self.compile_log.seconds
        seconds = [0.0]
        yield lambda: seconds[0]
        seconds[0] = max(0.0, time.perf_counter() - began - (self.compile_log.seconds - compiled))

    def now(self, program: str) -> None:
        """Says what runs, or, the first time, what is being compiled."""
        new = program not in self.compiled
        self.compiled.add(program)
        self.progress.now(f"{'compiling: ' if new else ''}{program}", keep=new)

    def leave_if_asked(self) -> None:
        if self.interrupted():
            raise Interrupted


def families(groups: Sequence[Group]) -> dict[str, list[ExampleStream]]:
    """The training sequences of the tasks of each family, in the order of task ids."""
    planned = sorted((item for group in groups for item in group.tasks), key=lambda item: item.task.id)
    found: dict[str, list[ExampleStream]] = {}
    for item in planned:
        if item.examples:
            found.setdefault(item.task.family, []).append(item.examples)
    return found


def prompt_tokens(planned: PlannedTask, domain: Domain, samples: int) -> int:
    """Tokens of prompts that the model reads to answer a task."""
    if domain.shared_prefix:
        return read_tokens(planned.views, samples)
    return samples * sum(len(view.prompt) for views in planned.views for view in views)
