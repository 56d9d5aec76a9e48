"""The thirteen questions: how each is asked, its answer by networkx, and which answers are right."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from ttt_jax.tasks.graphs.convention import shown, verb
from ttt_jax.tasks.graphs.graph import Graph, GraphError, read_graph, write_graph

TOLERANCE = 1e-3
"""Coefficients are right within this."""

PAGERANK_TIE = 1e-6
"""Nodes whose PageRank is within this of the largest are right."""

DAMPING = 0.85

Kind = Literal["number", "fraction", "truth", "node", "nodes", "order", "edges"]
"""What an answer is: a whole number, a fraction, yes or no, a node, a set of nodes, nodes in order, a set of edges."""


@dataclass(frozen=True)
class Question:
    """One of the thirteen.

    Attributes:
      ask: the sentence, with `{0}` and `{1}` for its nodes.
      kind: of its answer.
      args: how many nodes it names.
      directed: whether its graphs are; None for either.
      weighted: whether its graphs are.
      connected: whether it can only be asked of a connected graph.
      held_out: whether it is kept from training.
      answer: (networkx graph, nodes) -> the reference answer.
    """

    ask: str
    kind: Kind
    answer: Callable[[Any, Sequence[int]], Any]
    args: int = 0
    directed: bool | None = False
    weighted: bool = False
    connected: bool = False
    held_out: bool = False


def _networkx() -> Any:
    import networkx

    return networkx


def _jaccard(g: Any, args: Sequence[int]) -> float:
    return next(iter(_networkx().jaccard_coefficient(g, [tuple(args)])))[2]


def _pagerank(g: Any, args: Sequence[int]) -> int:
    ranks = pageranks(g)
    return min(v for v in ranks if ranks[v] >= max(ranks.values()) - PAGERANK_TIE)


def _tree(g: Any, args: Sequence[int]) -> list[tuple[int, int]]:
    return sorted((min(u, v), max(u, v)) for u, v in _networkx().minimum_spanning_edges(g, data=False))


def _cycle(g: Any, args: Sequence[int]) -> bool:
    nx = _networkx()
    return not (nx.is_directed_acyclic_graph(g) if g.is_directed() else nx.is_forest(g))


def _bfs(g: Any, args: Sequence[int]) -> list[int]:
    return [args[0], *(v for _, v in _networkx().bfs_edges(g, args[0]))]


_INCREASING = "List them in increasing order."

QUESTIONS: dict[str, Question] = {
    "degree": Question(
        "What is the degree of node {0} (in a directed graph: edges in and out)?",
        "number", lambda g, a: g.degree(a[0]), 1, directed=None,
    ),
    "clustering": Question(
        "What is the clustering coefficient of node {0}, to four decimals?",
        "fraction", lambda g, a: _networkx().clustering(g, a[0]), 1,
    ),
    "jaccard": Question(
        "What is the Jaccard coefficient of the neighbours of node {0} and node {1}, to four decimals?",
        "fraction", _jaccard, 2,
    ),
    "common_neighbours": Question(
        f"Which nodes are neighbours of both node {{0}} and node {{1}}? {_INCREASING}",
        "nodes", lambda g, a: sorted(_networkx().common_neighbors(g, *a)), 2,
    ),
    "connectivity": Question(
        "Is there a path from node {0} to node {1}? Answer yes or no.",
        "truth", lambda g, a: _networkx().has_path(g, *a), 2, directed=None,
    ),
    "diameter": Question(
        "What is the diameter of the graph, in edges?",
        "number", lambda g, a: _networkx().diameter(g), connected=True,
    ),
    "pagerank": Question(
        f"Which node has the largest PageRank with damping {DAMPING}?",
        "node", _pagerank, directed=None,
    ),
    "max_flow": Question(
        "The weights are capacities. What is the maximum flow from node {0} to node {1}?",
        "number", lambda g, a: _networkx().maximum_flow_value(g, *a), 2, directed=True, weighted=True,
    ),
    "spanning_tree": Question(
        "Which edges make a minimum spanning tree? List them as (u, v), (v, w).",
        "edges", _tree, weighted=True, connected=True,
    ),
    "predecessors": Question(
        f"Which nodes have an edge to node {{0}}? {_INCREASING}",
        "nodes", lambda g, a: sorted(g.predecessors(a[0])), 1, directed=True,
    ),
    "bfs": Question(
        "In which order may a breadth-first search from node {0} visit the nodes that it reaches?",
        "order", _bfs, 1, directed=None, held_out=True,
    ),
    "neighbours": Question(
        f"Which nodes does an edge lead to from node {{0}}? {_INCREASING}",
        "nodes", lambda g, a: sorted(g.neighbors(a[0])), 1, directed=None, held_out=True,
    ),
    "cycle": Question(
        "Is there a cycle in the graph? Answer yes or no.",
        "truth", _cycle, directed=None, held_out=True,
    ),
}  # fmt: skip
"""By name; the last three are kept from training."""

HELD_OUT = tuple(name for name, question in QUESTIONS.items() if question.held_out)
IN_DOMAIN = tuple(name for name in QUESTIONS if name not in HELD_OUT)


@dataclass(frozen=True)
class GraphProblem:
    """A question about a graph; `str()` is its text.

    Attributes:
      task: a name of QUESTIONS.
      graph: as it really is.
      args: the nodes that the question names.
      convention: a latent one, "" for plain words.
    """

    task: str
    graph: Graph
    args: tuple[int, ...] = ()
    convention: str = ""

    def __post_init__(self):
        if self.task not in QUESTIONS:
            raise GraphError(f"task: {self.task!r}, there are {', '.join(QUESTIONS)}")
        question = QUESTIONS[self.task]
        if len(self.args) != question.args or len(set(self.args)) != len(self.args):
            raise GraphError(f"{self.task}: takes {question.args} distinct nodes, not {self.args}")
        if not all(0 <= v < self.graph.nodes for v in self.args):
            raise GraphError(f"{self.task}: nodes {self.args} of {self.graph.nodes}")
        if question.directed is not None and question.directed != self.graph.directed:
            raise GraphError(f"{self.task}: its graph has to be {'' if question.directed else 'un'}directed")
        if question.weighted != self.graph.weighted:
            raise GraphError(f"{self.task}: its graph has to have {'weights' if question.weighted else 'no weights'}")
        if question.connected and not _networkx().is_connected(self.network):
            raise GraphError(f"{self.task}: the graph is not connected")

    @cached_property
    def network(self) -> Any:
        """The graph as networkx has it."""
        return self.graph.networkx()

    @property
    def question(self) -> Question:
        return QUESTIONS[self.task]

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "network"}

    def __str__(self) -> str:
        written = write_graph(shown(self.graph, self.convention), verb(self.convention))
        return f"{written}\n{self.question.ask.format(*self.args)}"


def reference(problem: GraphProblem) -> str:
    """One right answer, as text, by networkx."""
    return write_value(problem.question.answer(problem.network, problem.args))


def pageranks(graph: Any) -> dict[int, float]:
    """Node -> PageRank, to 1e-10."""
    return _networkx().pagerank(graph, alpha=DAMPING, tol=1e-12, max_iter=2000)


def read_problem(text: str, convention: str = "") -> GraphProblem:
    """The inverse of `str(problem)`. Raises GraphError."""
    found = shown(read_graph(text, verb(convention)), convention)
    last = text.strip().splitlines()[-1]
    for name, question in QUESTIONS.items():
        # The shortest of equal sentences is no concern: every question has its own.
        pattern = re.sub(r"\\\{\d\\\}", r"(\\d+)", re.escape(question.ask))
        match = re.search(pattern, last, re.IGNORECASE)
        if match:
            return GraphProblem(name, found, tuple(map(int, match.groups())), convention)
    raise GraphError(f"text: no known question in {last!r}")


def write_value(value: Any) -> str:
    """yes, 3, 0.3333, 1, 2, 3 or (0, 1), (1, 2); `none` for an empty list."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4f}"
    if isinstance(value, list):
        return ", ".join(f"({v[0]}, {v[1]})" if isinstance(v, tuple) else str(v) for v in value) or "none"
    return str(value)
