"""How hard a problem is, in the numbers that accuracy is plotted over, and whether it was asked before."""

from __future__ import annotations

import hashlib
import json
import math
from typing import Any

from ttt_jax.tasks.diagnosis.case import Case
from ttt_jax.tasks.diagnosis.scoring import margin
from ttt_jax.tasks.graphs.questions import GraphProblem
from ttt_jax.tasks.zebra.puzzle import KINDS, Puzzle
from ttt_jax.tasks.zebra.solver import solve

_MIRRORED = {"left_of": "right_of", "right_of": "left_of"}
_SYMMETRIC = ("same_house", "beside", "one_between", "two_between")


def complexity(problem: Any) -> dict[str, float]:
    """Numbers by name.

    Logic grids: log10 of the search space, solver conflicts, clues. Graphs:
    nodes, edges. Invented cases: diseases, margin of the posterior, pieces of
    evidence. Anything else: none.
    """
    match problem:
        case Puzzle():
            return {
                "log10_search_space": math.log10(problem.search_space),
                "conflicts": float(solve(problem).conflicts),
                "clues": float(len(problem.clues)),
            }
        case GraphProblem():
            return {"nodes": float(problem.graph.nodes), "edges": float(len(problem.graph.edges))}
        case Case(synthetic=known) if known is not None:
            posterior = known.net.posterior(known.known)
            return {
                "diseases": float(len(posterior)),
                "margin": margin(posterior),
                "evidence": float(len(known.known)),
            }
    return {}


def fingerprint(problem: Any) -> str:
    """The same for problems that differ in names, numbering or order only.

    So a problem that was trained on is recognised under every transform of its
    domain. Different problems may, rarely, share one (Weisfeiler and Leman do
    not tell all graphs apart): then a fresh problem is left out, never an old
    one asked again.

    Raises:
      ValueError: the problem is of no domain with a canonical form.
    """
    match problem:
        case Puzzle():
            return min(_hash([list(problem.size), _clue_graph(problem, side)]) for side in (False, True))
        case GraphProblem():
            return _hash([problem.task, problem.graph.directed, problem.graph.weighted, _marked_graph(problem)])
        case Case(synthetic=known) if known is not None:
            net, evidence = known.net, known.known
            # Distractors and names say nothing; what the disease table says of the evidence does.
            said = [evidence.get(name) for name in (*net.history, *(name for _, name in net.findings))]
            rows = zip(net.frequency, net.ratio, net.percent, strict=True)
            columns = sorted(range(len(said)), key=lambda i: (str(said[i]), *sorted(_column(net, i))))
            table = sorted([f, *((*r, *p)[i] for i in columns)] for f, r, p in rows)
            return _hash([[str(said[i]) for i in columns], table])
        case Case():
            return _hash([part.lower().split() for part in problem.sections])
    raise ValueError(f"fingerprint: {type(problem).__name__} has no canonical form")


def _column(net: Any, i: int) -> list[float]:
    h = len(net.history)
    return [float(row[i]) for row in net.ratio] if i < h else [float(row[i - h]) for row in net.percent]


def _clue_graph(puzzle: Puzzle, mirrored: bool) -> str:
    """Values, houses and clues as a graph that keeps all but names and order."""
    import networkx as nx

    graph = nx.DiGraph()
    for a, attribute in enumerate(puzzle.attributes):
        graph.add_node(("attribute", a), label="attribute")
        for v in range(len(attribute.values)):
            graph.add_edge(("attribute", a), ("value", a, v), label="has")
            graph.nodes["value", a, v]["label"] = "value"
    for i, clue in enumerate(puzzle.clues):
        kind, items, house = clue.kind, clue.items, clue.house
        if mirrored:
            kind = _MIRRORED.get(kind, kind)
            items = items[::-1] if kind == "consecutive" else items
            house = None if house is None else puzzle.houses - 1 - house
        if kind == "right_of":  # the same as left_of, the other way round
            kind, items = "left_of", items[::-1]
        graph.add_node(("clue", i), label=f"{KINDS.index(kind)} {house}")
        for place, item in enumerate(items):
            label = "either" if kind in _SYMMETRIC else str(place)
            graph.add_edge(("clue", i), ("value", *item), label=label)
    return _weisfeiler_leman(graph)


def _marked_graph(problem: GraphProblem) -> str:
    graph = problem.network.copy()
    for u in graph:
        graph.nodes[u]["label"] = str(problem.args.index(u)) if u in problem.args else "-"
    for _, _, data in graph.edges(data=True):
        data["label"] = str(data["weight"])
    return _weisfeiler_leman(graph)


def _weisfeiler_leman(graph: Any, rounds: int = 5) -> str:
    """Colour refinement with labels of nodes and edges, along and against directions."""
    colours = dict(graph.nodes(data="label"))
    for _ in range(rounds):
        new = {}
        for u in graph:
            out = sorted(("out", graph.edges[u, v]["label"], colours[v]) for v in graph.neighbors(u))
            into = []
            if graph.is_directed():
                into = sorted(("in", graph.edges[v, u]["label"], colours[v]) for v in graph.predecessors(u))
            new[u] = _hash([colours[u], out, into])
        colours = new
    return _hash(sorted(colours.values()))


def _hash(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value).encode(), digest_size=16).hexdigest()
