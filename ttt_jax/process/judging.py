"""From what a model wrote to a judged chain; from a problem to a worked answer."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from ttt_jax.process.metrics import Chain
from ttt_jax.process.steps import Process, steps, write_steps
from ttt_jax.tasks.problem_text import ProblemText, with_steps

PROCESSES = {
    "diagnosis": "ttt_jax.process.diagnosis:DiagnosisProcess",
    "graphs": "ttt_jax.process.graphs:GraphProcess",
    "zebra": "ttt_jax.process.zebra:ZebraProcess",
}
"""Domain -> `module:Class`, imported when asked for."""


def get_process(domain: str) -> Process:
    """The verifier of a domain's steps. Raises ValueError where it has none."""
    if domain not in PROCESSES:
        raise ValueError(f"process: the steps of {domain!r} have no verifier, there are {', '.join(PROCESSES)}")
    module, _, name = PROCESSES[domain].partition(":")
    return getattr(importlib.import_module(module), name)()


def judge(domain: str, query: str, text: str, right: bool) -> Chain:
    """Every step of a model's text, verified.

    Args:
      domain: by name.
      query: a query input as the domain's `read` made it.
      text: what the model wrote.
      right: whether the answer in it is right.
    """
    return Chain(tuple(get_process(domain).verify(_problem(query), steps(text))), right)


def judged_steps(view: Any, domain: Any, tokens: Sequence[int]) -> tuple[tuple[str, str, str], ...] | None:
    """The steps in what was decoded from a view: each with the reason why it is wrong, or "", and what is.

    Args:
      view: a `decode.views.View`; steps are verified against the problem as it shows it.
      domain: turns tokens into text.
      tokens: of the answer.

    Returns:
      None where the query asks for no steps, or has no verifier (a real case has no exact posterior).
    """
    if not with_steps(view.task.queries[view.query]):
        return None
    problem = view.transform.apply(view.task).queries[view.query].problem
    chain = steps(domain.text_of(tokens))
    try:
        verdicts = process_of(problem).verify(problem, chain)
    except ValueError:
        return None
    return tuple((text, verdict.reason, verdict.detail) for text, verdict in zip(chain, verdicts, strict=True))


def process_of(problem: Any) -> Process:
    """The verifier of the steps of a problem. Raises ValueError where there is none."""
    kinds = {"Case": "diagnosis", "GraphProblem": "graphs", "Puzzle": "zebra"}
    return get_process(kinds.get(type(problem).__name__, type(problem).__name__))


def worked_answer(domain: Any, query: str, answer: Any) -> str:
    """An oracle trace with the answer that it comes to below it: what fine-tuning on steps trains on.

    Args:
      domain: a `ProblemDomain`; its `parse_text` finds the answer in the text.
      query: a query input as the domain's `read` made it.
      answer: the right one.

    Raises:
      ValueError: the problem has no oracle trace.
    """
    trace = _trace(_problem(query))
    return write_steps(trace) + domain.answer_text(domain.traced(trace, answer))


@lru_cache(1 << 14)
def _trace(problem: Any) -> tuple[str, ...]:
    """Demonstrations are written again at every step of adaptation."""
    return tuple(process_of(problem).oracle_trace(problem))


def _problem(query: str) -> Any:
    if not isinstance(query, ProblemText):
        raise ValueError("process: the query carries no problem; load the tasks again")
    return query.problem
