"""Changes of a graph problem that can be undone: the numbers of the nodes, the order of the edges, of the demos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ttt_jax.tasks.graphs.answers import Answer, normal, problem_of_truth, truth
from ttt_jax.tasks.graphs.questions import QUESTIONS, GraphProblem, write_value
from ttt_jax.tasks.problem_text import problem_of
from ttt_jax.tasks.problem_transform import ProblemTransform, distinct_views, draw_order, problems_of
from ttt_jax.tasks.task import Task, keyed_rng

KINDS = ("nodes", "edges", "order")
"""Node relabelling, edge order, order of the demos."""


@dataclass(frozen=True)
class GraphTransform(ProblemTransform):
    """One change, the same for all problems of a task.

    Attributes:
      task: name of the question, which says where nodes stand in an answer.
      labels: node v becomes labels[v]; empty for the numbers as given.
      edges: seed of the order of edges; None for the order as given.
      order: demo `order[i]` comes i-th; empty for the order as given.
    """

    kind = GraphProblem
    task: str
    labels: tuple[int, ...] = ()
    edges: int | None = None
    order: tuple[int, ...] = ()

    def parts(self) -> list[str]:
        parts = [f"nodes({','.join(map(str, self.labels))})"] if self.labels else []
        if self.edges is not None:
            parts.append(f"edges({self.edges})")
        return parts

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

    def apply_answer(self, answer: Answer) -> Answer:
        if isinstance(answer, dict):
            return truth(self.apply_problem(problem_of_truth(answer)))
        return _rename(self.task, answer, self.labels)

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


def random_transform(kinds: Sequence[str], task: Task, rng: np.random.Generator) -> GraphTransform:
    """Draws one. Nodes are renumbered where all graphs of the task have as many."""
    problems = problems_of(task, GraphProblem)
    sizes = {problem.graph.nodes for problem in problems}
    labels, edges = (), None
    if "nodes" in kinds and len(sizes) == 1:
        labels = tuple(rng.permutation(sizes.pop()).tolist())
    if "edges" in kinds:
        edges = int(rng.integers(2**31))
    return GraphTransform(problems[0].task, labels, edges, draw_order(kinds, task, rng))


def make_views(kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[GraphTransform]:
    """Identity first; at most `count`, none twice."""
    identity = GraphTransform(problem_of(task.queries[0], GraphProblem).task)
    return distinct_views(identity, lambda _: random_transform(kinds, task, rng), task, count)
