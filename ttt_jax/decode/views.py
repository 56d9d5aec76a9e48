"""Views: one query's prompt under each of several invertible transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ttt_jax.config import DecodeConfig
from ttt_jax.tasks.task import Answer, Domain, Encoded, Task, Transform, keyed_rng


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


def expected_tokens(prompt: Encoded) -> float:
    """Tokens that an answer may be expected to have, by the demonstrations before it.

    As many as their outputs, where these agree; else as many for each token of the query as for one of their inputs
    (the median). A guess, which decides nothing but what is decoded side by side.
    """
    places = [np.flatnonzero(prompt.outputs == i) for i in np.unique(prompt.outputs) if i >= 0]
    outputs = [len(place) for place in places]
    ends = [0, *(int(place[-1]) + 1 for place in places)]
    query = len(prompt) - ends[-1]
    if not outputs:
        return float(query)
    if len(set(outputs)) == 1:
        return float(outputs[0])
    inputs = [int(place[0]) - end for place, end in zip(places, ends, strict=False)]
    return float(np.median(np.divide(outputs, np.maximum(inputs, 1)))) * query


def answered(view: View, answer: Answer) -> Task:
    """The view's task with its query alone, and an answer to that, given in the task's own frame.

    The answer goes through the transform as that of a task, so that it changes exactly as the demos do.
    """
    solved = replace(view.task, queries=(view.task.queries[view.query],), answers=(answer,))
    return view.transform.apply(solved)


def answer_written(shown: Task, domain: Domain) -> Encoded:
    """The answer of what `answered` gives as it is written after the prompt, its stop token included.

    Positions are those it has where it is the last of the demonstrations.
    """
    assert shown.answers is not None
    written = domain.encode([*shown.demos, (shown.queries[0], shown.answers[0])])
    start = int(np.flatnonzero(written.outputs == len(shown.demos))[0])
    return Encoded(written.tokens[start:], written.positions[start:], written.outputs[start:])


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
      ValueError: `config.search_above` or `config.speculate` asks for what is not done where queries share a prefix.
    """
    for name, asked in (("search_above", config.search_above is not None), ("speculate", config.speculate)):
        if domain.shared_prefix and asked:
            raise ValueError(f"decode.{name}: not for domain {domain.name}, whose queries share what they read")
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
