"""Random graphs of several families, connected, undirected and unweighted; `dress` adds directions and weights."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from ttt_jax.tasks.graphs.graph import MAX_WEIGHT, Graph
from ttt_jax.tasks.splits import split_names

Pairs = list[tuple[int, int]]

MIN_NODES, MAX_NODES = 5, 35


def random_graph(nodes: int, rng: np.random.Generator) -> Pairs:
    """Every pair with one probability, for a mean degree of 2 to 4 (Gilbert 1959)."""
    chance = rng.uniform(2, 4) / (nodes - 1)
    return [(u, v) for u in range(nodes) for v in range(u + 1, nodes) if rng.random() < chance]


def small_world(nodes: int, rng: np.random.Generator) -> Pairs:
    """A ring of four neighbours, a fifth of its edges rewired (Watts and Strogatz 1998)."""
    import networkx as nx

    return list(nx.watts_strogatz_graph(nodes, min(4, nodes - 1), 0.2, seed=int(rng.integers(2**31))).edges)


def scale_free(nodes: int, rng: np.random.Generator) -> Pairs:
    """Preferential attachment, one or two edges a node (Barabasi and Albert 1999)."""
    import networkx as nx

    return list(nx.barabasi_albert_graph(nodes, int(rng.integers(1, 3)), seed=int(rng.integers(2**31))).edges)


def tree_like(nodes: int, rng: np.random.Generator) -> Pairs:
    """A random tree and at most two edges more."""
    pairs = [(int(rng.integers(v)), v) for v in range(1, nodes)]
    for _ in range(int(rng.integers(3))):
        u, v = sorted(rng.choice(nodes, 2, replace=False).tolist())
        if (u, v) not in pairs:
            pairs.append((u, v))
    return pairs


def grid(nodes: int, rng: np.random.Generator) -> Pairs:
    """Rows of one width, the last perhaps shorter."""
    width = int(rng.integers(2, max(3, int(nodes**0.5) + 2)))
    right = [(v, v + 1) for v in range(nodes - 1) if (v + 1) % width]
    return right + [(v, v + width) for v in range(nodes - width)]


FAMILIES: dict[str, Callable[[int, np.random.Generator], Pairs]] = {
    "random": random_graph,
    "small_world": small_world,
    "scale_free": scale_free,
    "tree_like": tree_like,
    "grid": grid,
}


@cache
def family_splits() -> dict[str, tuple[str, ...]]:
    """Split -> families."""
    return split_names("graph family", FAMILIES)


@cache
def size_splits() -> dict[str, tuple[int, ...]]:
    """Split -> numbers of nodes."""
    named = split_names("graph nodes", map(str, range(MIN_NODES, MAX_NODES + 1)))
    return {split: tuple(sorted(map(int, of))) for split, of in named.items()}


def draw_graph(family: str, nodes: int, rng: np.random.Generator, *, directed: bool, weighted: bool) -> Graph:
    """A graph of a family, its nodes numbered and its edges listed at random.

    Without directions it is connected: parts that were not are joined by one
    edge each. With directions every edge has one at random, a quarter both.
    """
    pairs = _joined(nodes, [(int(u), int(v)) for u, v in FAMILIES[family](nodes, rng)], rng)
    labels = rng.permutation(nodes).tolist()
    edges = []
    for i in rng.permutation(len(pairs)).tolist():
        u, v = (labels[end] for end in pairs[i])
        if rng.random() < 0.5:
            u, v = v, u
        weights = rng.integers(1, MAX_WEIGHT + 1, 2).tolist() if weighted else [1, 1]
        edges.append((u, v, weights[0]))
        if directed and rng.random() < 0.25:
            edges.append((v, u, weights[1]))
    return Graph(nodes, tuple(edges), directed, weighted)


def _joined(nodes: int, pairs: Pairs, rng: np.random.Generator) -> Pairs:
    part = list(range(nodes))

    def root(v: int) -> int:
        while part[v] != v:
            part[v] = part[part[v]]
            v = part[v]
        return v

    for u, v in pairs:
        part[root(u)] = root(v)
    for v in rng.permutation(nodes).tolist():
        if root(v) != root(0):
            u = int(rng.choice([w for w in range(nodes) if root(w) == root(0)]))
            part[root(v)] = root(u)
            pairs = [*pairs, (u, v)]
    return pairs
