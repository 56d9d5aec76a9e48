"""Answers to the graph questions by definition and by trying everything, without networkx."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations, permutations, product

import numpy as np

from ttt_jax.tasks.graphs.graph import Graph


def matrix(graph: Graph) -> np.ndarray:
    """Weights, 0 where there is no edge."""
    found = np.zeros((graph.nodes, graph.nodes), int)
    for u, v, w in graph.edges:
        found[u, v] = w
        if not graph.directed:
            found[v, u] = w
    return found


def distances(graph: Graph) -> np.ndarray:
    """Edges between any two nodes, inf where there is no path (Floyd and Warshall)."""
    found = np.where(matrix(graph) > 0, 1.0, np.inf)
    np.fill_diagonal(found, 0)
    for k in range(graph.nodes):
        found = np.minimum(found, found[:, k, None] + found[None, k])
    return found


def clustering(graph: Graph, u: int) -> float:
    a = matrix(graph) > 0
    near = np.flatnonzero(a[u])
    pairs = len(near) * (len(near) - 1) // 2
    return sum(bool(a[v, w]) for v, w in combinations(near, 2)) / pairs if pairs else 0.0


def jaccard(graph: Graph, u: int, v: int) -> float:
    a = matrix(graph) > 0
    either = int((a[u] | a[v]).sum())
    return float(Fraction(int((a[u] & a[v]).sum()), either)) if either else 0.0


def pagerank(graph: Graph, damping: float = 0.85) -> np.ndarray:
    """The stationary distribution, by solving for it."""
    a = (matrix(graph) > 0).astype(float)
    out = a.sum(1, keepdims=True)
    step = np.where(out > 0, a / np.maximum(out, 1), 1 / graph.nodes)
    n = graph.nodes
    return np.linalg.solve(np.eye(n) - damping * step.T, np.full(n, (1 - damping) / n))


def max_flow(graph: Graph, source: int, target: int) -> int:
    """The least capacity of all cuts."""
    a, others = matrix(graph), [v for v in range(graph.nodes) if v not in (source, target)]
    cuts = []
    for chosen in product((False, True), repeat=len(others)):
        inside = np.zeros(graph.nodes, bool)
        inside[source] = True
        inside[others] = chosen
        cuts.append(int(a[inside][:, ~inside].sum()))
    return min(cuts)


def spanning_trees(graph: Graph) -> list[tuple[tuple[tuple[int, int], ...], int]]:
    """All of them, with their weights."""
    found = []
    for edges in combinations(graph.edges, graph.nodes - 1):
        tree = Graph(graph.nodes, tuple(edges), weighted=True)
        if np.isfinite(distances(tree)).all():
            found.append((tuple((u, v) for u, v, _ in edges), sum(w for *_, w in edges)))
    return found


def bfs_orders(graph: Graph, start: int) -> set[tuple[int, ...]]:
    """All orders in which a queue can give out the nodes."""
    a, found = matrix(graph) > 0, set()

    def go(order: tuple[int, ...], queue: tuple[int, ...], seen: frozenset[int]) -> None:
        if not queue:
            found.add(order)
            return
        u, *rest = queue
        new = [v for v in np.flatnonzero(a[u]).tolist() if v not in seen]
        for arranged in permutations(new):
            go((*order, u), (*rest, *arranged), seen | set(new))

    go((), (start,), frozenset((start,)))
    return found


def has_cycle(graph: Graph) -> bool:
    """By taking away, again and again, the nodes that can be on none."""
    a = matrix(graph) > 0
    left = np.ones(graph.nodes, bool)
    while left.any():
        inside = a[np.ix_(left, left)]
        ends = (inside.sum(0) == 0) | (inside.sum(1) == 0) if graph.directed else inside.sum(0) <= 1
        if not ends.any():
            return True
        left[np.flatnonzero(left)[ends]] = False
    return False
