"""A small graph, its text, and back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import networkx as nx

MAX_WEIGHT = 9

Edge = tuple[int, int, int]
"""From, to, weight (1 where the graph is not weighted)."""


class GraphError(ValueError):
    """A text that is no graph, or a graph that a question cannot be asked of."""


@dataclass(frozen=True)
class Graph:
    """Nodes 0 to n - 1, no loops, no double edges.

    Attributes:
      nodes: n.
      edges: in the order in which the text lists them; an undirected edge stands once.
      directed: whether an edge leads only from its first node to its second.
      weighted: whether the text tells weights.
    """

    nodes: int
    edges: tuple[Edge, ...]
    directed: bool = False
    weighted: bool = False

    def __post_init__(self):
        seen = set()
        for u, v, weight in self.edges:
            pair = (u, v) if self.directed else (min(u, v), max(u, v))
            if not (0 <= u < self.nodes and 0 <= v < self.nodes) or u == v or pair in seen:
                raise GraphError(f"edge {u}-{v}: out of range, a loop, or there twice")
            if weight < 1 or (not self.weighted and weight != 1):
                raise GraphError(f"edge {u}-{v}: weight {weight}")
            seen.add(pair)

    @property
    def lists(self) -> dict[int, list[tuple[int, int]]]:
        """node -> (neighbour, weight) in order of the edges; along the direction where there is one."""
        found: dict[int, list[tuple[int, int]]] = {u: [] for u in range(self.nodes)}
        for u, v, weight in self.edges:
            found[u].append((v, weight))
            if not self.directed:
                found[v].append((u, weight))
        return found

    def networkx(self) -> nx.Graph:
        """The same graph for networkx, with `weight` and `capacity`."""
        import networkx

        graph = networkx.DiGraph() if self.directed else networkx.Graph()
        graph.add_nodes_from(range(self.nodes))
        for u, v, weight in self.edges:
            graph.add_edge(u, v, weight=weight, capacity=weight)
        return graph

    def relabel(self, labels: Sequence[int]) -> Graph:
        """Node v becomes labels[v]."""
        return replace(self, edges=tuple((labels[u], labels[v], w) for u, v, w in self.edges))

    def to_json(self) -> dict[str, Any]:
        return {
            "nodes": self.nodes,
            "edges": [list(edge) for edge in self.edges],
            "directed": self.directed,
            "weighted": self.weighted,
        }

    @classmethod
    def from_json(cls, value: Any) -> Graph:
        """Raises GraphError."""
        try:
            edges = tuple((int(u), int(v), int(w)) for u, v, w in value["edges"])
            return cls(int(value["nodes"]), edges, bool(value["directed"]), bool(value["weighted"]))
        except (KeyError, TypeError, ValueError) as error:
            raise GraphError(f"no graph: {error}") from None


def write_graph(graph: Graph, verb: str = "is connected to") -> str:
    """One sentence a node, in the order in which edges name them first; every undirected edge stands at both ends."""
    lists = graph.lists
    order = list(dict.fromkeys([u for edge in graph.edges for u in edge[:2]] + list(range(graph.nodes))))
    lines = [f"Given a{' ' if graph.directed else 'n un'}directed graph:"]
    for u in order:
        ends = [f"{v} (weight: {w})" if graph.weighted else str(v) for v, w in lists[u]]
        if not ends:
            lines.append(f"Node {u} {verb} no nodes.")
        else:
            lines.append(f"Node {u} {verb} node{'s' if len(ends) > 1 else ''} {', '.join(ends)}.")
    return "\n".join(lines)


def read_graph(text: str, verb: str = "is connected to") -> Graph:
    """The inverse of `write_graph`, for sentences on lines of their own or not.

    Nodes are 0 to the largest number named. Raises GraphError.
    """
    kind = re.search(r"\b(un)?directed\b", text, re.IGNORECASE)
    if not kind:
        raise GraphError('text: says neither "directed" nor "undirected"')
    directed = kind[1] is None
    sentence = rf"Node (\d+) {re.escape(verb)} (no nodes|nodes? [^.]*)\."
    edges: dict[tuple[int, int], int] = {}
    top, weighted = -1, False
    for found in re.finditer(sentence, text, re.IGNORECASE):
        u = int(found[1])
        top = max(top, u)
        for end in re.finditer(r"(\d+)(?: \(weight: (\d+)\))?(?:,|$)", found[2]):
            v, weight = int(end[1]), int(end[2] or 1)
            weighted |= end[2] is not None
            top = max(top, v)
            pair = (u, v) if directed or (v, u) not in edges else (v, u)
            if edges.setdefault(pair, weight) != weight:
                raise GraphError(f"text: edge {u}-{v} has two weights")
    if top < 0:
        raise GraphError(f'text: no sentence "Node u {verb} nodes v, w."')
    if top > 10_000:
        raise GraphError(f"text: node {top}, at most 10000")
    return Graph(top + 1, tuple((u, v, w) for (u, v), w in edges.items()), directed, weighted)
