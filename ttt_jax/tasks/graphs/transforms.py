"""Changes of a graph problem that can be undone: the numbers of the nodes, the order of the edges, of the demos."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ttt_jax.tasks.graphs.answers import Answer, normal, problem_of_truth, truth
from ttt_jax.tasks.graphs.questions import QUESTIONS, GraphProblem, write_value
from ttt_jax.tasks.problem_text import ProblemText, problem_of
from ttt_jax.tasks.task import Task, keyed_rng

KINDS = ("nodes", "edges", "order")
"""Node relabelling, edge order, order of the demos."""


@dataclass(frozen=True)
class GraphTransform:
    """One change, the same for all problems of a task.

    Attributes:
      task: name of the question, which says where nodes stand in an answer.
      labels: node v becomes labels[v]; empty for the numbers as given.
      edges: seed of the order of edges; None for the order as given.
      order: demo `order[i]` comes i-th; empty for the order as given.
    """

    task: str
    labels: tuple[int, ...] = ()
    edges: int | None = None
    order: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        parts = [f"nodes({','.join(map(str, self.labels))})"] if self.labels else []
        if self.edges is not None:
            parts.append(f"edges({self.edges})")
        if self.order:
            parts.append(f"order({','.join(map(str, self.order))})")
        return "+".join(parts) or "identity"

    @property
    def group(self) -> str:
        """Renumbered views vote together, apart from those with the numbers as given."""
        return "nodes" if self.labels else "identity"

    def apply_problem(self, problem: GraphProblem) -> GraphProblem:
        graph, args = problem.graph, problem.args
        if self.labels:
            graph, args = graph.relabel(self.labels), tuple(self.labels[v] for v in args)
        if self.edges is not None:
            order = keyed_rng("edge order", self.edges, len(graph.edges)).permutation(len(graph.edges))
            graph = replace(graph, edges=tuple(graph.edges[i] for i in order.tolist()))
        return replace(problem, graph=graph, args=args)

    def apply(self, task: Task) -> Task:
        def text(x: Any) -> ProblemText:
            return ProblemText(self.apply_problem(problem_of(x, GraphProblem)))

        def answer(y: Answer) -> Answer:
            if isinstance(y, dict):
                return truth(self.apply_problem(problem_of_truth(y)))
            return _rename(self.task, y, self.labels)

        demos = [(text(x), answer(y)) for x, y in task.demos]
        return replace(
            task,
            demos=tuple(demos[i] for i in self.order) if self.order else tuple(demos),
            queries=tuple(map(text, task.queries)),
            answers=None if task.answers is None else tuple(map(answer, task.answers)),
        )

    def invert(self, answer: Answer) -> Answer:
        """An answer of the changed task back in the task as given; what is no list of its nodes stays as it is."""
        back = tuple(int(i) for i in np.argsort(self.labels)) if self.labels else ()
        if not isinstance(answer, dict):
            return _rename(self.task, answer, back)
        problem = problem_of_truth(answer)
        if not back:
            return answer
        graph, args = problem.graph.relabel(back), tuple(back[v] for v in problem.args)
        return truth(replace(problem, graph=graph, args=args))


def _rename(task: str, answer: str, labels: Sequence[int]) -> str:
    given, kind = answer, QUESTIONS[task].kind
    answer = normal(answer)
    numbers = [part for part in answer.replace("(", "").replace(")", "").split(", ") if part]
    if not labels or not numbers or kind not in ("node", "nodes", "order", "edges"):
        return given
    if not all(n.isdecimal() and int(n) < len(labels) for n in numbers):
        return given
    nodes = [labels[int(n)] for n in numbers]
    if kind == "edges" and "(" in answer:
        pairs = [(min(u, v), max(u, v)) for u, v in zip(nodes[::2], nodes[1::2], strict=True)]
        return write_value(sorted(pairs))
    return write_value(sorted(nodes) if kind == "nodes" else nodes)


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises ValueError at a kind that this domain does not have."""
    for kind in kinds:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KINDS)}"
            raise ValueError(f"graphs: no transform is called {kind!r}, {hint}")


def random_transform(kinds: Sequence[str], task: Task, rng: np.random.Generator) -> GraphTransform:
    """Draws one. Nodes are renumbered where all graphs of the task have as many."""
    problems = [problem_of(x, GraphProblem) for x in (*(x for x, _ in task.demos), *task.queries)]
    sizes = {problem.graph.nodes for problem in problems}
    labels, edges, order = (), None, ()
    if "nodes" in kinds and len(sizes) == 1:
        labels = tuple(rng.permutation(sizes.pop()).tolist())
    if "edges" in kinds:
        edges = int(rng.integers(2**31))
    if "order" in kinds and len(task.demos) > 1:
        order = tuple(rng.permutation(len(task.demos)).tolist())
    return GraphTransform(problems[0].task, labels, edges, order)


def make_views(kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[GraphTransform]:
    """Identity first; at most `count`, none twice."""
    views = [GraphTransform(problem_of(task.queries[0], GraphProblem).task)]
    seen = {(*task.queries, *(x for x, _ in task.demos))}
    for _ in range(20 * count):
        if len(views) >= count:
            break
        view = random_transform(kinds, task, rng)
        changed = view.apply(task.hide_answers())
        texts = (*changed.queries, *(x for x, _ in changed.demos))
        if texts not in seen:
            seen.add(texts)
            views.append(view)
    return views[:count]
