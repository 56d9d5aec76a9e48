"""What a run computes, and in which shapes: a length and slots for every adapter and every prompt.

The plan is a function of the tasks and the config alone, never of what a run
has finished or of how fast it converges; so a task meets the same compiled
shapes in every run, whatever happens to its neighbours.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ttt_jax.adapt.examples import ExampleStream, TooLong, hold_out
from ttt_jax.adapt.shared import SharedStream
from ttt_jax.config import RunConfig
from ttt_jax.decode.views import View, expected_tokens, make_views
from ttt_jax.tasks.task import Domain, Encoded, Task

EARLY = 0.5
"""Share of its steps that a task is expected to need where it may stop early."""


@dataclass(frozen=True)
class PlannedTask:
    """A task with its training sequences and the views of its queries.

    Attributes:
      task: answers hidden.
      examples: None where it is not adapted.
      views: one list per query.
      held_out: the sequence whose last output says when to stop, where `adapt.stop_demo` asks for one.
      too_long: why it cannot be adapted, though it can be answered in context.
    """

    task: Task
    examples: ExampleStream | None
    views: tuple[tuple[View, ...], ...]
    held_out: Encoded | None = None
    too_long: str | None = None

    @property
    def prompt_length(self) -> int:
        return max(len(view.prompt) for views in self.views for view in views)

    @property
    def expected_tokens(self) -> float:
        """Of the longest answer, as the demonstrations let expect."""
        return max(expected_tokens(views[0].prompt) for views in self.views)

    @property
    def train_length(self) -> int:
        lengths = [self.examples.max_length if self.examples else 0, len(self.held_out) if self.held_out else 0]
        return max(lengths)


@dataclass(frozen=True)
class Job:
    """One adapter to train.

    Attributes:
      id: keys its initial weights: a task, or a family with `adapt.shared`.
      examples: its training sequences.
      held_out: see `PlannedTask`.
    """

    id: str
    examples: Any
    held_out: Encoded | None = None


@dataclass(frozen=True)
class Pool:
    """Adapters that take turns in the same slots.

    Attributes:
      length: training sequences are padded to this many tokens.
      slots: adapters side by side.
      jobs: in the order in which they enter.
    """

    length: int
    slots: int
    jobs: tuple[Job, ...]


@dataclass(frozen=True)
class Group:
    """Tasks that are decoded side by side.

    Attributes:
      tasks: with at most `slots` queries in all (one task with more queries than that stands alone).
      prompt_length: prompts are padded to this many tokens.
      slots: queries side by side.
    """

    tasks: tuple[PlannedTask, ...]
    prompt_length: int
    slots: int

    @property
    def ids(self) -> list[str]:
        return [planned.task.id for planned in self.tasks]

    @property
    def adapted(self) -> bool:
        """Whether its tasks can be adapted; those that are too long for that stand in groups of their own."""
        return self.tasks[0].too_long is None


@dataclass(frozen=True)
class Plan:
    """All pools and groups of a run, shortest first, and the reason for each task (by id) that no bucket holds."""

    pools: tuple[Pool, ...]
    groups: tuple[Group, ...]
    too_long: dict[str, str]

    def without(self, finished: set[str]) -> Plan:
        """What is left of the plan.

        A group of which a task is missing stays whole: in other company, shapes
        and rounding could differ from the run that was never interrupted.
        """
        groups = tuple(group for group in self.groups if set(group.ids) - finished)
        left = {planned.task.id for group in groups for planned in group.tasks}
        # Jobs of families are left to whoever asks for them.
        known = {planned.task.id for group in self.groups for planned in group.tasks}
        pools = (
            Pool(pool.length, pool.slots, tuple(job for job in pool.jobs if job.id in left or job.id not in known))
            for pool in self.pools
        )
        return Plan(
            tuple(pool for pool in pools if pool.jobs and groups),
            groups,
            {id_: reason for id_, reason in self.too_long.items() if id_ not in finished},
        )


SlotsFor = Callable[[int], int]
"""Slots at a length in tokens."""


def bucket(length: int, buckets: Sequence[int]) -> int | None:
    """The smallest bucket that holds `length` tokens, None where none does."""
    return min((b for b in buckets if b >= length), default=None)


def make_plan(
    tasks: Sequence[Task],
    domain: Domain,
    config: RunConfig,
    adapt_slots: SlotsFor | None = None,
    decode_slots: SlotsFor | None = None,
    shards: int = 1,
    prepared: Prepared | None = None,
) -> Plan:
    """Deals the tasks out to pools (for adaptation) and groups (for decoding) of like length.

    Args:
      tasks: of the run, all of them, also those that it has finished.
      domain: of the tasks.
      config: the run.
      shards: so many devices hold different tasks (`mesh.task_shards`); slots count for each of them.
      adapt_slots, decode_slots: slots at each length where `adapt.slots` or `decode.slots` is auto.
      prepared: what `prepare` made of the same tasks and config, where that is known.
    """
    planned, too_long = prepared or prepare(tasks, domain, config)
    adapted = [item for item in planned if item.examples]
    jobs = [Job(item.task.id, item.examples, item.held_out) for item in adapted]
    lengths = [item.train_length for item in adapted]
    if config.adapt.shared:
        jobs, lengths = _families(adapted, config.seed)
    by_length = sorted(zip(lengths, jobs, strict=True), key=lambda x: (_fits(x[0], config.adapt_lengths), x[1].id))
    slots = adapt_slots or (lambda _: int(config.adapt.slots))
    parts = _cut([(length, 1, job) for length, job in by_length], lambda n: shards * slots(n), config.adapt_lengths)
    early = config.adapt.stop_loss is not None or config.adapt.stop_demo
    # Slots that no job would ever enter are computed all the same. Where their number is the run's choice they are left
    # out; where it is the user's, a task has the same shapes, and so the same bits, in whatever company.
    pools = tuple(
        Pool(length, min(size, shards * -(-len(items) // shards)) if adapt_slots else size, tuple(items))
        for length, size, items in _merge(parts, early)
    )

    groups: list[Group] = []
    size = decode_slots or (lambda _: int(config.decode.slots))
    for alone in (False, True):  # what is only answered in context comes last
        items = [item for item in planned if (item.too_long is not None) == alone]
        # Rows wait for the longest answer beside them.
        order = {id(item): (_fits(item.prompt_length, config.lengths), item.expected_tokens) for item in items}
        items.sort(key=lambda item: (*order[id(item)], item.task.id))
        sized = [(item.prompt_length, len(item.task.queries), item) for item in items]
        cut = _cut(sized, lambda n: shards * size(n), config.lengths)
        groups += [Group(tuple(of), length, most) for length, most, of in cut]
    return Plan(pools, tuple(groups), too_long)


Prepared = tuple[list[PlannedTask], dict[str, str]]


def prepare(tasks: Sequence[Task], domain: Domain, config: RunConfig) -> Prepared:
    """The tasks with their sequences and views, and the reason for each (by id) that no bucket holds."""
    planned: list[PlannedTask] = []
    too_long: dict[str, str] = {}
    for task in tasks:
        task = task.hide_answers()
        examples = held_out = reason = None
        if "adapted" in config.arms:
            try:
                shown, held_out = task, None
                if config.adapt.stop_demo:
                    shown, held_out = hold_out(task, domain, config.adapt.examples, config.seed)
                examples = ExampleStream(shown, domain, config.adapt.examples, config.seed)
            except TooLong as error:
                reason = str(error)
        if reason and "in_context" not in config.arms:
            too_long[task.id] = reason
            continue
        views = tuple(
            tuple(make_views(task, query, domain, config.decode, config.seed)) for query in range(len(task.queries))
        )
        item = PlannedTask(task, examples, views, held_out, reason)
        reason = _beyond(item.prompt_length, config.lengths, "lengths") or _beyond(
            item.train_length, config.adapt_lengths, "lengths" if config.adapt.lengths is None else "adapt.lengths"
        )
        if reason:
            too_long[task.id] = reason
            continue
        planned.append(item)
    return planned, too_long


def _beyond(needed: int, lengths: Sequence[int], option: str) -> str | None:
    """Why no bucket holds so many tokens, None where one does."""
    if bucket(needed, lengths) is not None:
        return None
    return f"{needed} tokens; the longest bucket ({option}) holds {max(lengths)}"


def _families(planned: Sequence[PlannedTask], seed: int) -> tuple[list[Job], list[int]]:
    """A job for each family, of the sequences of its tasks in the order of their ids."""
    found: dict[str, list[ExampleStream]] = {}
    for item in sorted(planned, key=lambda item: item.task.id):
        assert item.examples
        found.setdefault(item.task.family, []).append(item.examples)
    streams = [SharedStream(name, of, seed) for name, of in sorted(found.items())]
    # All of them go side by side, in one shape.
    longest = max((stream.max_length for stream in streams), default=0)
    return [Job(family_id(stream.family), stream) for stream in streams], [longest] * len(streams)


def family_id(family: str) -> str:
    """The id of the job that trains a family's adapter."""
    return f"family {family}"


_Part = tuple[int, int, list[Any]]


def _cut(items: Sequence[tuple[int, int, Any]], slots: SlotsFor, buckets: Sequence[int]) -> list[_Part]:
    """Cuts items, sorted by bucket, into parts that fill the slots.

    Parts are filled from the longest item down, across buckets: no other way of
    filling `slots` slots computes fewer padded tokens, and the part that stays
    incomplete is the shortest.

    Args:
      items: (tokens, slots that it takes, item).
      slots: at the length of a part's longest item.
      buckets: lengths that parts are padded to.

    Returns:
      (length, slots, items) of each part, shortest first.
    """
    parts: list[_Part] = []
    taken = 0
    for length, weight, item in reversed(items):
        if not parts or taken + weight > parts[-1][1]:
            longest = _fits(length, buckets)
            parts.append((longest, slots(longest), []))
            taken = 0
        parts[-1][2].append(item)
        taken += weight
    return [(length, size, of[::-1]) for length, size, of in reversed(parts)]


def _merge(parts: Sequence[_Part], early: bool) -> list[_Part]:
    """Parts that share their slots: those of equal length, and neighbours where tasks may stop early.

    A slot that becomes free is of use only while tasks of its own shape wait.
    So where tasks may stop early it pays to pad some of them further; how far
    is decided for the fewest tokens, if a task needs `EARLY` of its steps.
    """
    if not early:
        merged: list[_Part] = []
        for length, size, items in parts:
            if merged and merged[-1][0] == length:
                merged[-1][2].extend(items)
            else:
                merged.append((length, size, list(items)))
        return merged

    before = [0, *itertools.accumulate(len(items) for _, _, items in parts)]

    def cost(start: int, end: int) -> float:
        length, size, _ = parts[end - 1]
        return length * size * max(1.0, EARLY * (before[end] - before[start]) / size + 1 - EARLY)

    # best[n]: the cheapest way to share among the first n parts, and where its last pool begins.
    best: list[tuple[float, int]] = [(0.0, 0)]
    for n in range(1, len(parts) + 1):
        best.append(min((best[k][0] + cost(k, n), k) for k in range(n)))
    pools, end = [], len(parts)
    while end:
        start = best[end][1]
        length, size, _ = parts[end - 1]
        pools.append((length, size, [item for part in parts[start:end] for item in part[2]]))
        end = start
    return pools[::-1]


def _fits(length: int, buckets: Sequence[int]) -> int:
    found = bucket(length, buckets)
    assert found is not None, "what is too long for every bucket was left out"
    return found
