"""Latent conventions: what a sentence about an edge means, which only solved examples reveal."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from ttt_jax.tasks.graphs.graph import MAX_WEIGHT, Graph
from ttt_jax.tasks.splits import split_names
from ttt_jax.tasks.task import keyed_rng

CONVENTIONS = tuple(f"notation-{i}" for i in range(24))
"""Names; the verb and whether it has a twist are drawn from the name."""

PLAIN = "is connected to"
_SYLLABLES = ("mor", "tek", "lur", "pas", "dif", "gon", "wex", "jat", "nup", "rov", "sib", "yel", "chu", "quo")


@cache
def convention_splits() -> dict[str, tuple[str, ...]]:
    """Split -> latent conventions."""
    return split_names("graph convention", CONVENTIONS)


@cache
def verb(convention: str) -> str:
    """ "is connected to", or an invented verb."""
    return _drawn(convention)[0] if convention else PLAIN


def twisted(convention: str) -> bool:
    """Whether sentences say something else than the edge."""
    return bool(convention) and _drawn(convention)[1]


def shown(graph: Graph, convention: str) -> Graph:
    """The graph that the sentences spell out; its own inverse.

    A twist turns directed edges round; undirected graphs with weights are told
    10 - weight; undirected graphs without are told by the edges that are missing.
    """
    if not twisted(convention):
        return graph
    if graph.directed:
        return replace(graph, edges=tuple((v, u, w) for u, v, w in graph.edges))
    if graph.weighted:
        return replace(graph, edges=tuple((u, v, MAX_WEIGHT + 1 - w) for u, v, w in graph.edges))
    there = {(min(u, v), max(u, v)) for u, v, _ in graph.edges}
    pairs = [(u, v) for u in range(graph.nodes) for v in range(u + 1, graph.nodes)]
    return replace(graph, edges=tuple((u, v, 1) for u, v in pairs if (u, v) not in there))


@cache
def _drawn(convention: str) -> tuple[str, bool]:
    pairs = [first + second for first in _SYLLABLES for second in _SYLLABLES if first != second]
    place = keyed_rng("graph convention").permutation(len(pairs))[CONVENTIONS.index(convention)]
    return f"{pairs[place]}s", bool(keyed_rng("graph convention", convention).random() < 0.7)
