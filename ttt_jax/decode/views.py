"""Views: one query's prompt under each of several invertible transforms."""

from __future__ import annotations

from collections.abc import Sequence
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


def make_views(
    task: Task, query: int, domain: Domain, config: DecodeConfig, seed: int, purpose: str = "views"
) -> list[View]:
    """The views of one query, identity first.

    Drawn from (seed, purpose, task id, query) alone, without the query where the
    domain has `shared_prefix`; so a query has the same views in every arm,
    whatever is decoded beside it. Answers are never looked at.

    Returns:
      `config.views` views; they repeat once the transforms have no more distinct ones.

    Raises:
      IndexError: where the task has no such query.
      ValueError: `config.search_above` asks for what is not done where queries share a prefix.
    """
    if domain.shared_prefix and config.search_above is not None:
        raise ValueError(f"decode.search_above: not for domain {domain.name}, whose queries share what they read")
    if not 0 <= query < len(task.queries):
        raise IndexError(f"task {task.id} has {len(task.queries)} queries, no query {query}")
    task = task.hide_answers()
    if not config.show_demos:
        task = replace(task, demos=())
    rng = keyed_rng(seed, purpose, task.id, *(() if domain.shared_prefix else (query,)))
    views = []
    for transform in domain.views(config.transforms, task, config.views, rng):
        shown = transform.apply(task)
        views.append(View(task, query, transform, domain.encode(shown.demos, shown.queries[query])))
    return views


def scoring_views(
    queries: Sequence[tuple[int, Sequence[View]]], count: int | None, domain: Domain, config: DecodeConfig, seed: int
) -> list[tuple[int, Sequence[View]]]:
    """The views under which candidates of the same queries are scored.

    Args:
      queries: `(slot, views that were decoded)`.
      count: so many, drawn anew, identity first; None: those that were decoded.
      domain, config, seed: as for `make_views`.

    Returns:
      `(slot, views)` of the same queries.
    """
    if count is None:
        return list(queries)
    fresh = replace(config, views=count)
    return [
        (slot, make_views(views[0].task, views[0].query, domain, fresh, seed, "scoring views"))
        for slot, views in queries
    ]
