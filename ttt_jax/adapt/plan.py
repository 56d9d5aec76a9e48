"""Which tasks go side by side: length buckets and fixed slots, so that few shapes are compiled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ttt_jax.adapt.examples import ExampleStream, TooLong
from ttt_jax.config import RunConfig
from ttt_jax.decode.views import View, make_views
from ttt_jax.tasks.task import Domain, Task


@dataclass(frozen=True)
class PlannedTask:
    """A task with its training sequences and the views of its queries.

    Attributes:
      task: answers hidden.
      examples: None where it is not adapted.
      views: one list per query.
      too_long: why it cannot be adapted, though it can be answered in context.
    """

    task: Task
    examples: ExampleStream | None
    views: tuple[tuple[View, ...], ...]
    too_long: str | None = None

    @property
    def prompt_length(self) -> int:
        return max(len(view.prompt) for views in self.views for view in views)

    @property
    def train_length(self) -> int:
        return self.examples.max_length if self.examples else 0


@dataclass(frozen=True)
class Group:
    """Tasks that are adapted and decoded side by side.

    Attributes:
      tasks: at most `adapt.slots` of them, with at most `decode.slots` queries in
        all (one task with more queries than that stands alone), unless the
        domain has `shared_prefix`.
      train_length: training sequences are padded to this many tokens.
      prompt_length: prompts are padded to this many tokens.
    """

    tasks: tuple[PlannedTask, ...]
    train_length: int
    prompt_length: int


def bucket(length: int, buckets: Sequence[int]) -> int | None:
    """The smallest bucket that holds `length` tokens, None where none does."""
    return min((b for b in buckets if b >= length), default=None)


def plan_groups(tasks: Sequence[Task], domain: Domain, config: RunConfig) -> tuple[tuple[Group, ...], dict[str, str]]:
    """Sorts tasks into groups of like length.

    The plan depends on the tasks and the config only, never on what a run has
    already finished, so a resumed run adapts in the same company.

    Returns:
      The groups, shortest first, and the reason for each task (by id) that no
      bucket holds.
    """
    planned: list[tuple[int, int, PlannedTask]] = []
    too_long: dict[str, str] = {}
    for task in tasks:
        task = task.hide_answers()
        examples = reason = None
        if "adapted" in config.arms:
            try:
                examples = ExampleStream(task, domain, config.adapt.examples, config.seed)
            except TooLong as error:
                reason = str(error)
        if reason and "in_context" not in config.arms:
            too_long[task.id] = reason
            continue
        views = tuple(
            tuple(make_views(task, query, domain, config.decode, config.seed)) for query in range(len(task.queries))
        )
        item = PlannedTask(task, examples, views, reason)
        train, prompt = bucket(item.train_length, config.lengths), bucket(item.prompt_length, config.lengths)
        if train is None or prompt is None:
            needed = max(item.train_length, item.prompt_length)
            too_long[task.id] = f"{needed} tokens; the longest bucket (lengths) holds {max(config.lengths)}"
            continue
        planned.append((train, prompt, item))
    planned.sort(key=lambda entry: (entry[2].too_long is not None, entry[0], entry[1], entry[2].task.id))

    groups: list[Group] = []
    current: list[tuple[int, int, PlannedTask]] = []

    def close() -> None:
        if current:
            items = tuple(item for _, _, item in current)
            trains, prompts, _ = zip(*current, strict=True)
            groups.append(Group(items, max(trains), max(prompts)))
            current.clear()

    for entry in planned:
        queries = sum(len(item.task.queries) for _, _, item in [*current, entry])
        # Groups are filled across buckets: an empty slot costs as much as a padded one.
        # Queries that share a prefix are decoded task by task, so that their number bounds no group.
        full = queries > config.decode.slots and not domain.shared_prefix
        full |= len(current) == config.adapt.slots
        # What is only answered in context stands in groups of its own, the last ones.
        if current and (full or (current[0][2].too_long is None) != (entry[2].too_long is None)):
            close()
        current.append(entry)
    close()
    return tuple(groups), too_long
