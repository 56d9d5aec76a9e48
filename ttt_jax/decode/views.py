"""Views: one query's prompt under each of several invertible transforms."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ttt_jax.config import DecodeConfig
from ttt_jax.tasks.task import Domain, Encoded, Task, Transform, keyed_rng


@dataclass(frozen=True)
class View:
    """A query as one transform shows it.

    Attributes:
      task: the task as given, its answers hidden.
      query: index of the query.
      transform: maps the task into this view, and answers back (`invert`).
      prompt: the demos and the open query, transformed and written as tokens;
        the next token is the first of the answer.
    """

    task: Task
    query: int
    transform: Transform
    prompt: Encoded


def make_views(task: Task, query: int, domain: Domain, config: DecodeConfig, seed: int) -> list[View]:
    """The views of one query, identity first.

    Drawn from (seed, task id, query) alone, without the query where the domain
    has `shared_prefix`; so a query has the same views in every arm, whatever
    is decoded beside it. Answers are never looked at.

    Returns:
      `config.views` views; they repeat once the transforms have no more distinct ones.

    Raises:
      IndexError: where the task has no such query.
    """
    if not 0 <= query < len(task.queries):
        raise IndexError(f"task {task.id} has {len(task.queries)} queries, no query {query}")
    task = task.hide_answers()
    if not config.show_demos:
        task = replace(task, demos=())
    rng = keyed_rng(seed, "views", task.id, *(() if domain.shared_prefix else (query,)))
    views = []
    for transform in domain.views(config.transforms, task, config.views, rng):
        shown = transform.apply(task)
        views.append(View(task, query, transform, domain.encode(shown.demos, shown.queries[query])))
    return views
