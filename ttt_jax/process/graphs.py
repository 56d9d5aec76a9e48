"""Steps of graph problems: the trace of the algorithm that answers each question.

    degree, neighbours, predecessors   edges of 3: 1, 4      edges into 3: 2
    common neighbours, Jaccard         edges of 3: ..        both 3 and 5: 1     either 3 or 5: 1, 4
    clustering                         edges of 3: 1, 4      edges among 1, 4: (1, 4)
    connectivity, BFS                  layer 0: 3            layer 1: 1, 4
    diameter                           eccentricity of 3: 2
    PageRank                           iteration 1: 0.2500, 0.2500, 0.5000
    maximum flow                       path 0 -> 2 -> 5 carries 4      cut 0, 2: capacity 4
    minimum spanning tree              take (0, 1) weight 2            skip (1, 2) weight 3
    cycle                              remove 4                        cycle 1 -> 2 -> 3 -> 1

and last of all "answer = ..". A list without members is "none". In a graph
with directions the edges of a node are those that leave it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from ttt_jax.process.graph_rules import RULES, State, fold, next_ranks
from ttt_jax.process.steps import (
    CONTRADICTS_PROBLEM,
    NOT_ENTAILED,
    UNREADABLE,
    VALID,
    Verdict,
    corrupted,
    wrong,
)
from ttt_jax.tasks.graphs.answers import normal, right
from ttt_jax.tasks.graphs.questions import GraphProblem, reference, write_value

_SETTLED = 5e-4
_MOST_ITERATIONS = 60


class GraphProcess:
    """`ttt_jax.process.steps.Process` of a `GraphProblem`."""

    def verify(self, problem: GraphProblem, chain: Sequence[str]) -> list[Verdict]:
        state = State(problem)
        return [_judge(state, text) for text in chain]

    def oracle_trace(self, problem: GraphProblem) -> list[str]:
        steps, answer = _TRACES[problem.task](problem)
        return [*steps, f"answer = {answer or reference(problem)}"]

    def corrupt(self, problem: GraphProblem, trace: Sequence[str], rng: np.random.Generator) -> tuple[list[str], int]:
        """A number changed, a member of a list left out, a step left out or before its time, another answer."""

        def attempt() -> list[str] | None:
            chain, i = list(trace), int(rng.integers(len(trace)))
            numbers = list(re.finditer(r"\d+", chain[i]))
            match int(rng.integers(4)):
                case 0 if numbers:
                    found = numbers[int(rng.integers(len(numbers)))]
                    other = str(max(0, int(found[0]) + int(rng.choice([-2, -1, 1, 2]))))
                    chain[i] = chain[i][: found.start()] + other + chain[i][found.end() :]
                case 1:
                    shorter = re.sub(r", [^,]+$", "", chain[i])
                    chain[i] = shorter if shorter != chain[i] else re.sub(r": .+$", ": none", chain[i])
                case 2:
                    return chain[:i] + chain[i + 1 :] if i + 1 < len(chain) else None
                case _ if i + 1 < len(chain):
                    k = int(rng.integers(i + 1, len(chain)))
                    return [*chain[:i], chain[k], *chain[i:]]
                case _:
                    flipped = {"answer = yes": "answer = no", "answer = no": "answer = yes"}
                    chain[i] = flipped.get(chain[i], chain[i])
            return chain if chain != list(trace) else None

        return corrupted(self, problem, trace, attempt)


def _judge(state: State, text: str) -> Verdict:
    answer = re.fullmatch(r"answer\s*=\s*(.+?)\.?", text, re.IGNORECASE)
    if answer:
        found = normal(answer[1])
        if not right(state.problem, found):
            return wrong(CONTRADICTS_PROBLEM, f"{found} is not right")
        return VALID if fold(state, found) else wrong(NOT_ENTAILED, "earlier steps do not lead to it")
    for pattern, rule in RULES.items():
        match = re.fullmatch(pattern, text.rstrip("."), re.IGNORECASE)
        if match:
            reason = rule(state, match.groups())
            return wrong(reason, text) if reason else VALID
    return wrong(UNREADABLE, text)


def _list(values: Sequence) -> str:
    return write_value(list(values))


def _edges(problem: GraphProblem, u: int) -> str:
    return f"edges of {u}: {_list(sorted(problem.network.neighbors(u)))}"


def _into(problem: GraphProblem, u: int) -> str:
    return f"edges into {u}: {_list(sorted(problem.network.predecessors(u)))}"


Trace = tuple[list[str], str]
"""Steps, and the answer that they lead to ("" for the reference answer)."""


def _degree(problem: GraphProblem) -> Trace:
    (u,) = problem.args
    return [_edges(problem, u)] + ([_into(problem, u)] if problem.graph.directed else []), ""


def _common(problem: GraphProblem) -> Trace:
    u, v = problem.args
    of = [set(problem.network.neighbors(w)) for w in (u, v)]
    steps = [_edges(problem, u), _edges(problem, v), f"both {u} and {v}: {_list(sorted(of[0] & of[1]))}"]
    if problem.task == "jaccard":
        steps.append(f"either {u} or {v}: {_list(sorted(of[0] | of[1]))}")
    return steps, ""


def _clustering(problem: GraphProblem) -> Trace:
    (u,) = problem.args
    near = sorted(problem.network.neighbors(u))
    if len(near) < 2:
        return [_edges(problem, u)], ""
    edges = [(v, w) for v, w in combinations(near, 2) if problem.network.has_edge(v, w)]
    return [_edges(problem, u), f"edges among {_list(near)}: {_list(edges)}"], ""


def _layers(problem: GraphProblem) -> Trace:
    """Breadth-first, each node's new neighbours in increasing order; the reference order is one of this search."""
    target = problem.args[1] if problem.task == "connectivity" else None
    layer, seen, steps, order = [problem.args[0]], {problem.args[0]}, [], []
    while layer:
        steps.append(f"layer {len(steps)}: {_list(layer)}")
        order += layer
        if target in layer:
            break
        found: list[int] = []
        for u in layer:
            found += [v for v in sorted(problem.network.neighbors(u)) if v not in seen and v not in found]
        seen |= set(found)
        layer = found
    else:
        steps.append(f"layer {len(steps)}: none")
    return steps, "" if problem.task == "connectivity" else _list(order)


def _diameter(problem: GraphProblem) -> Trace:
    import networkx as nx

    far: Any = nx.eccentricity(problem.network)
    return [f"eccentricity of {u}: {far[u]}" for u in range(problem.graph.nodes)], ""


def _pagerank(problem: GraphProblem) -> Trace:
    ranks = np.full(problem.graph.nodes, 1 / problem.graph.nodes)
    steps, best = [], int(reference(problem))
    for k in range(_MOST_ITERATIONS):
        steps.append(f"iteration {k}: " + ", ".join(f"{r:.4f}" for r in ranks))
        new = next_ranks(problem, np.round(ranks, 4))
        if k and abs(new - ranks).max() < _SETTLED and ranks.round(4).argmax() == best:
            break
        ranks = new
    return steps, ""


def _flow(problem: GraphProblem) -> Trace:
    """Shortest augmenting paths (Edmonds and Karp 1972), then the cut that stops them."""
    source, target = problem.args
    residual = np.zeros((problem.graph.nodes,) * 2, int)
    for u, v, w in problem.graph.edges:
        residual[u, v] = w
    steps, total = [], 0
    while True:
        came, queue = {source: source}, [source]
        for u in queue:
            new = [v for v in np.flatnonzero(residual[u]).tolist() if v not in came]
            came |= dict.fromkeys(new, u)
            queue += new
        if target not in came:
            return [*steps, f"cut {_list(sorted(came))}: capacity {total}"], ""
        path = [target]
        while path[-1] != source:
            path.append(came[path[-1]])
        path.reverse()
        pairs = list(pairwise(path))
        carried = int(min(residual[pair] for pair in pairs))
        for u, v in pairs:
            residual[u, v] -= carried
            residual[v, u] += carried
        total += carried
        steps.append(f"path {' -> '.join(map(str, path))} carries {carried}")


def _kruskal(problem: GraphProblem) -> Trace:
    part = list(range(problem.graph.nodes))
    steps, tree = [], []
    for w, u, v in sorted((w, min(u, v), max(u, v)) for u, v, w in problem.graph.edges):
        if part[u] == part[v]:
            steps.append(f"skip ({u}, {v}) weight {w}")
            continue
        part = [part[v] if p == part[u] else p for p in part]
        steps.append(f"take ({u}, {v}) weight {w}")
        tree.append((u, v))
        if len(tree) == problem.graph.nodes - 1:
            break
    return steps, _list(sorted(tree))


def _predecessors(problem: GraphProblem) -> Trace:
    return [_into(problem, problem.args[0])], ""


def _neighbours(problem: GraphProblem) -> Trace:
    return [_edges(problem, problem.args[0])], ""


def _cycle(problem: GraphProblem) -> Trace:
    import networkx as nx

    left, steps = problem.network.copy(), []
    while True:
        ends = [u for u in left if (min(left.in_degree(u), left.out_degree(u)) == 0 if left.is_directed()
                                    else left.degree(u) <= 1)]  # fmt: skip
        if not ends:
            break
        steps.append(f"remove {min(ends)}")
        left.remove_node(min(ends))
    if len(left):
        cycle = [u for u, *_ in nx.find_cycle(left)]
        # How it was found does not matter: the cycle is all that there is to see.
        return [f"cycle {' -> '.join(map(str, [*cycle, cycle[0]]))}"], ""
    return steps, ""


_TRACES = {
    "degree": _degree,
    "clustering": _clustering,
    "jaccard": _common,
    "common_neighbours": _common,
    "connectivity": _layers,
    "diameter": _diameter,
    "pagerank": _pagerank,
    "max_flow": _flow,
    "spanning_tree": _kruskal,
    "predecessors": _predecessors,
    "bfs": _layers,
    "neighbours": _neighbours,
    "cycle": _cycle,
}
