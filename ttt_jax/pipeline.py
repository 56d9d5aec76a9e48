"""The path of a task, on one page: examples -> adapter -> candidates -> ranked answers -> record."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ttt_jax.adapt.adapt import Adapted, Adapter
from ttt_jax.adapt.partial import PartialFile
from ttt_jax.adapt.plan import Group, plan_groups
from ttt_jax.adapt.saved import load_adapted, slot_saver
from ttt_jax.config import RunConfig
from ttt_jax.decode.candidate import Candidate, Ranked
from ttt_jax.decode.candidates import decode_candidates, take_slots
from ttt_jax.decode.score import score_candidates
from ttt_jax.losses import Variables
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.runtime.interrupt import Interrupted
from ttt_jax.runtime.run_dir import RunDir
from ttt_jax.select.likelihood import most_voted
from ttt_jax.select.rank import rank
from ttt_jax.tasks.task import Domain, Task

IN_CONTEXT, ADAPTED = "in_context", "adapted"


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
        self.compiled: set[str] = set()

    def solve(self, group: Group) -> Iterator[dict[str, Any]]:
        """Answers the tasks of a group: in-context first, then adapted.

        Yields:
          For each task the arguments of `RunDir.save`.
        """
        adapted: Adapted | None = None
        arms: dict[str, list[dict[str, Any]]] = {}
        if IN_CONTEXT in self.config.arms:
            arms[IN_CONTEXT] = self.answer(group, IN_CONTEXT, None, 0.0)
        if ADAPTED in self.config.arms:
            with self.timed() as adapting:
                adapted = self.adapt(group)
            arms[ADAPTED] = self.answer(group, ADAPTED, adapted, adapting())
        for i, planned in enumerate(group.tasks):
            yield record(planned.task, i, arms, adapted)

    def adapt(self, group: Group) -> Adapted:
        """One adapter for each task of the group, trained now or taken from an earlier run."""
        ids = [planned.task.id for planned in group.tasks]
        if self.config.load_adapters:
            folder = Path(self.config.load_adapters) / "adapters"
            return load_adapted(folder, ids, self.adapter.initial_state(ids).train.trainable)
        config = self.config.adapt
        detail = f"{len(group.tasks)} tasks x {config.steps} steps, {group.train_length} tokens"

        def on_chunk(steps: int, done: int, loss: float) -> None:
            self.progress.advance(len(group.tasks) * steps, f"step {done}/{config.steps}, loss {loss:.3f}")

        with self.progress.stage("adapt", detail, units=len(group.tasks) * config.steps):
            self.now(f"adapting on {group.train_length} tokens")
            streams = [planned.examples for planned in group.tasks if planned.examples]
            saved = PartialFile(self.partial, ids) if self.partial else None
            return self.adapter.adapt(ids, streams, group.train_length, on_chunk, self.interrupted, saved)

    def answer(self, group: Group, arm: str, adapted: Adapted | None, adapt_seconds: float) -> list[dict[str, Any]]:
        """Candidates and ranked answers of every task of the group under one arm."""
        config, trainable = self.config, adapted.trainable if adapted else None
        queries = [(i, views) for i, planned in enumerate(group.tasks) for views in planned.views]
        detail = f"{len(queries)} queries x {config.decode.views} views, {arm}, {group.prompt_length} tokens"
        with self.progress.stage("decode", detail, units=len(queries)), self.timed() as decoding:
            candidates = decode_candidates(
                self.model, self.base, trainable, queries, self.domain, config.decode, group.prompt_length, config.seed,
                on_stage=lambda text: self.now(f"{arm}: {text}"),
            )  # fmt: skip
            self.progress.advance(len(queries))
        self.leave_if_asked()
        with self.timed() as selecting:
            scores = self.scores(queries, candidates, trainable)
            method = config.select.method
            ranked = [
                rank(of_query, method, self.domain, scores=of_scores)
                for of_query, of_scores in zip(candidates, scores, strict=True)
            ]
        answered, q, tasks = [], 0, len(group.tasks)
        for i, planned in enumerate(group.tasks):
            of_task = slice(q, q := q + len(planned.views))
            prompts = sum(len(view.prompt) for views in planned.views for view in views)
            new = sum(len(c.tokens) for of_query in candidates[of_task] for c in of_query)
            answered.append(
                {
                    "ranked": [[self.ranked_json(r) for r in of_query] for of_query in ranked[of_task]],
                    "candidates": [self.candidate_json(c) for of_query in candidates[of_task] for c in of_query],
                    "scores": scores[of_task] if scores[q - 1] is not None else None,
                    "seconds": {
                        "adapt": adapt_seconds / tasks,
                        "decode": decoding() / tasks,
                        "select": selecting() / tasks,
                    },
                    "tokens": {
                        "adapt": int(adapted.tokens[i]) if adapted else 0,
                        "decode": new,
                        "prompt": prompts * config.decode.samples,
                    },
                    "fell_back": False,
                }
            )
        return answered

    def scores(
        self, queries: Sequence[Any], candidates: Sequence[Sequence[Candidate]], trainable: Variables | None
    ) -> list[dict[str, float] | None]:
        """Summed log-probabilities of the most voted answers, where the selection asks for them."""
        select, slots = self.config.select, self.config.decode.slots
        if select.method != "product_of_experts":
            return [None] * len(queries)
        scores: list[dict[str, float] | None] = []
        with self.progress.stage("score", f"{len(queries)} queries x {select.score_candidates} candidates"):
            for start in range(0, len(queries), slots):
                batch = queries[start : start + slots]
                index = np.zeros(slots, np.int32)
                index[: len(batch)] = [slot for slot, _ in batch]
                adapted = None if trainable is None else take_slots(trainable, index)
                empty = [[]] * (slots - len(batch))
                answers = [
                    most_voted(of_query, self.domain, select.score_candidates)
                    for of_query in candidates[start : start + slots]
                ]
                views = [*(views for _, views in batch), *empty]
                found = score_candidates(
                    self.model, self.base, adapted, views, [*answers, *empty], self.domain, self.config.lengths
                )
                scores += found[: len(batch)]
        return scores

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

    def ranked_json(self, ranked: Ranked) -> dict[str, Any]:
        return {"answer": self.domain.to_json(ranked.answer), "votes": ranked.votes, "score": ranked.score}

    def candidate_json(self, candidate: Candidate) -> dict[str, Any]:
        answer = None if candidate.answer is None else self.domain.to_json(candidate.answer)
        return {**asdict(candidate), "answer": answer}


def record(task: Task, index: int, arms: dict[str, list[dict[str, Any]]], adapted: Adapted | None) -> dict[str, Any]:
    """The journal line and files of one task; a failed adaptation falls back to the in-context answers."""
    reason = adapted.failed[index] if adapted else None
    of_task = {arm: dict(answers[index]) for arm, answers in arms.items()}
    candidates = {arm: answer.pop("candidates") for arm, answer in of_task.items()}
    scores = {arm: answer.pop("scores") for arm, answer in of_task.items()}
    if any(scores.values()):
        candidates["scores"] = scores
    if reason is not None:
        fallback = of_task[IN_CONTEXT]["ranked"] if IN_CONTEXT in of_task else [[] for _ in task.queries]
        of_task[ADAPTED] |= {"ranked": fallback, "fell_back": True}
    curves = adapted.curves[index] if adapted else None
    return {
        "record": {
            "task": task.id,
            "status": "done" if reason is None else "failed",
            "reason": reason,
            "arms": of_task,
            "steps": int(adapted.steps[index]) if adapted else 0,
            "final_loss": curves["loss"][-1] if curves and curves["loss"] else None,
        },
        "candidates": candidates,
        "curves": curves,
        "adapter": None if adapted is None else slot_saver(adapted.trainable, index),
    }


def solve(solver: Solver, tasks: Sequence[Task], run: RunDir) -> None:
    """Answers every task that the run has not finished yet, group by group, and journals each.

    A task that no length bucket holds is journaled as `too_long`, unanswered.
    """
    groups, too_long = plan_groups(tasks, solver.domain, solver.config)
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
