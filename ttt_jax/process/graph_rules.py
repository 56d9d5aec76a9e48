"""What each kind of step of a graph problem has to fulfil.

A rule looks at the graph and at what valid steps have established (`State`),
takes the step in where it is valid, and gives the reason where it is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np

from ttt_jax.process.steps import (
    CONTRADICTS_PROBLEM,
    CONTRADICTS_STEP,
    NOT_ENTAILED,
    UNKNOWN_PREMISE,
    UNREADABLE,
)
from ttt_jax.tasks.graphs.answers import is_bfs_order
from ttt_jax.tasks.graphs.questions import DAMPING, GraphProblem

RANK_TOLERANCE = 1e-3
"""A rank is right within this, computed from the four decimals of the iteration before."""


class State:
    """What the valid steps so far have established.

    Attributes:
      problem: the question.
      facts: what lists, layers and other values are known to be, by subject.
      said: the same of all steps, valid or not, to find contradictions.
      ranks: of the last iteration.
      residual: capacities left.
      flow: carried so far.
      part: which part of the spanning forest each node is in.
      tree: edges taken.
      left: nodes not removed.
    """

    def __init__(self, problem: GraphProblem):
        n = problem.graph.nodes
        self.problem = problem
        self.facts: dict[Any, Any] = {}
        self.said: dict[Any, Any] = {}
        self.ranks: np.ndarray | None = None
        self.residual = np.zeros((n, n), int)
        for u, v, w in problem.graph.edges:
            self.residual[u, v] = w
        self.flow = 0
        self.part = list(range(n))
        self.tree: list[tuple[int, int]] = []
        self.left = set(range(n))

    def fact(self, subject: Any, stated: Any, true: Any) -> str:
        """A statement that is true or false whatever came before."""
        before = self.said.setdefault(subject, stated)
        if before != stated:
            return CONTRADICTS_STEP
        if stated != true:
            return CONTRADICTS_PROBLEM
        self.facts[subject] = stated
        return ""


Rule = Callable[[State, Sequence[str]], str]
"""(state, the groups of the step's pattern) -> "" or one of REASONS."""


def read_list(text: str) -> list[int] | None:
    """1, 2, 3 or none."""
    text = text.strip().lower()
    if text == "none":
        return []
    return [int(v) for v in text.split(",")] if re.fullmatch(r"\d{1,6}(\s*,\s*\d{1,6})*", text) else None


def _node(state: State, text: str) -> int | None:
    u = int(text)
    return u if u < state.problem.graph.nodes else None


def _edges_of(state: State, groups: Sequence[str]) -> str:
    u, stated = _node(state, groups[0]), read_list(groups[1])
    if u is None:
        return UNKNOWN_PREMISE
    if stated is None or len(set(stated)) != len(stated):
        return UNREADABLE
    return state.fact(("of", u), sorted(stated), sorted(state.problem.network.neighbors(u)))


def _edges_into(state: State, groups: Sequence[str]) -> str:
    u, stated = _node(state, groups[0]), read_list(groups[1])
    if u is None or not state.problem.graph.directed:
        return UNKNOWN_PREMISE
    if stated is None or len(set(stated)) != len(stated):
        return UNREADABLE
    return state.fact(("into", u), sorted(stated), sorted(state.problem.network.predecessors(u)))


def _pair_rule(name: str, join: Callable[[set[int], set[int]], set[int]]) -> Rule:
    def rule(state: State, groups: Sequence[str]) -> str:
        u, v, stated = int(groups[0]), int(groups[1]), read_list(groups[2])
        if stated is None or len(set(stated)) != len(stated):
            return UNREADABLE
        if ("of", u) not in state.facts or ("of", v) not in state.facts:
            return UNKNOWN_PREMISE
        true = join(set(state.facts["of", u]), set(state.facts["of", v]))
        return state.fact((name, frozenset((u, v))), sorted(stated), sorted(true))

    return rule


def _among(state: State, groups: Sequence[str]) -> str:
    nodes = read_list(groups[0])
    pairs = re.findall(r"\(\s*(\d{1,6})\s*,\s*(\d{1,6})\s*\)", groups[1])
    left = re.sub(r"\(\s*\d+\s*,\s*\d+\s*\)|[\s,]", "", groups[1].lower())
    if not nodes or left not in ("", "none") or (left == "none") == bool(pairs):
        return UNREADABLE
    args = state.problem.args  # none or two where the problem asks another question
    if len(args) != 1 or sorted(nodes) != state.facts.get(("of", args[0])):
        return UNKNOWN_PREMISE
    stated = sorted(tuple(sorted((int(a), int(b)))) for a, b in pairs)
    true = sorted(pair for pair in combinations(sorted(nodes), 2) if state.problem.network.has_edge(*pair))
    return state.fact("among", stated, true)


def _layer(state: State, groups: Sequence[str]) -> str:
    k, stated = int(groups[0]), read_list(groups[1])
    if stated is None:
        return UNREADABLE
    key = ("layer", k)
    if state.said.setdefault(key, sorted(stated)) != sorted(stated):
        return CONTRADICTS_STEP
    if k and ("layer", k - 1) not in state.facts:
        return UNKNOWN_PREMISE
    if not state.problem.args:
        return UNKNOWN_PREMISE
    if k == 0:
        true = {state.problem.args[0]}
    else:
        seen = {v for i in range(k) for v in state.facts["layer", i]}
        true = {v for u in state.facts["layer", k - 1] for v in state.problem.network.neighbors(u)} - seen
    if len(set(stated)) != len(stated) or set(stated) != true:
        return CONTRADICTS_PROBLEM
    state.facts[key] = stated
    return ""


def _eccentricity(state: State, groups: Sequence[str]) -> str:
    import networkx as nx

    u = _node(state, groups[0])
    if u is None:
        return UNKNOWN_PREMISE
    distances = nx.single_source_shortest_path_length(state.problem.network, u)
    # None, which no number equals, where some node is out of reach.
    true = max(distances.values()) if len(distances) == state.problem.graph.nodes else None
    return state.fact(("far", u), int(groups[1]), true)


def next_ranks(problem: GraphProblem, ranks: np.ndarray) -> np.ndarray:
    """One step of power iteration; a node without edges out gives its rank to all alike."""
    n, new = problem.graph.nodes, np.zeros(problem.graph.nodes)
    for u, ends in problem.graph.lists.items():
        targets = [v for v, _ in ends] or list(range(n))
        new[targets] += ranks[u] / len(targets)
    return (1 - DAMPING) / n + DAMPING * new


def _iteration(state: State, groups: Sequence[str]) -> str:
    k, parts = int(groups[0]), [part.strip() for part in groups[1].split(",")]
    if len(parts) != state.problem.graph.nodes or not all(re.fullmatch(r"[01]?\.\d{1,8}|[01]", p) for p in parts):
        return UNREADABLE
    stated = np.array([float(p) for p in parts])
    if k and state.facts.get("iteration") != k - 1:
        return UNKNOWN_PREMISE
    if k == 0:
        true = np.full(len(stated), 1 / len(stated))
    else:
        assert state.ranks is not None
        true = next_ranks(state.problem, state.ranks)
    if abs(stated - true).max() > RANK_TOLERANCE:
        return NOT_ENTAILED
    state.facts["settled"] = bool(k and abs(stated - state.ranks).max() <= 2 * RANK_TOLERANCE)
    state.facts["iteration"], state.ranks = k, stated
    return ""


def _path(state: State, groups: Sequence[str]) -> str:
    path, carried = [int(u) for u in re.findall(r"\d+", groups[0])], int(groups[1])
    if max(path) >= state.problem.graph.nodes or (path[0], path[-1]) != state.problem.args:
        return UNKNOWN_PREMISE
    pairs = list(pairwise(path))
    if len(set(path)) != len(path) or not 0 < carried <= min(state.residual[pair] for pair in pairs):
        return CONTRADICTS_PROBLEM
    for u, v in pairs:
        state.residual[u, v] -= carried
        state.residual[v, u] += carried
    state.flow += carried
    return ""


def _cut(state: State, groups: Sequence[str]) -> str:
    inside, capacity = read_list(groups[0]), int(groups[1])
    if not inside:
        return UNREADABLE
    if len(state.problem.args) != 2:
        return UNKNOWN_PREMISE
    source, target = state.problem.args
    if source not in inside or target in inside or max(inside) >= state.problem.graph.nodes:
        return UNKNOWN_PREMISE
    true = sum(w for u, v, w in state.problem.graph.edges if u in inside and v not in inside)
    return state.fact(("cut", frozenset(inside)), capacity, true)


def _weight(state: State, groups: Sequence[str]) -> tuple[int, int, str]:
    u, v, weight = map(int, groups)
    weights = {frozenset(edge[:2]): edge[2] for edge in state.problem.graph.edges}
    return u, v, "" if weights.get(frozenset((u, v))) == weight else CONTRADICTS_PROBLEM


def _take(state: State, groups: Sequence[str]) -> str:
    u, v, reason = _weight(state, groups)
    if state.said.setdefault(("edge", frozenset((u, v))), "take") != "take":
        return CONTRADICTS_STEP
    if reason:
        return reason
    if state.part[u] == state.part[v]:
        return CONTRADICTS_STEP  # it closes a cycle with the edges taken
    lightest = min(w for a, b, w in state.problem.graph.edges if state.part[a] != state.part[b])
    if int(groups[2]) > lightest:
        return NOT_ENTAILED
    old, new = state.part[u], state.part[v]
    state.part = [new if p == old else p for p in state.part]
    state.tree.append((min(u, v), max(u, v)))
    return ""


def _skip(state: State, groups: Sequence[str]) -> str:
    u, v, reason = _weight(state, groups)
    if state.said.setdefault(("edge", frozenset((u, v))), "skip") != "skip":
        return CONTRADICTS_STEP
    if reason:
        return reason
    return "" if state.part[u] == state.part[v] else NOT_ENTAILED


def _remove(state: State, groups: Sequence[str]) -> str:
    u, network = _node(state, groups[0]), state.problem.network
    if u is None or u not in state.left:
        return UNKNOWN_PREMISE
    others = state.left - {u}
    if network.is_directed():
        free = not others & set(network.successors(u)) or not others & set(network.predecessors(u))
    else:
        free = len(others & set(network.neighbors(u))) <= 1
    if not free:
        return NOT_ENTAILED
    state.left = others
    return ""


def _cycle(state: State, groups: Sequence[str]) -> str:
    nodes = [int(u) for u in re.findall(r"\d+", groups[0])]
    shortest = 3 if state.problem.graph.directed else 4
    if nodes[0] != nodes[-1] or len(nodes) < shortest or len(set(nodes)) != len(nodes) - 1:
        return UNREADABLE
    if not all(state.problem.network.has_edge(*pair) for pair in pairwise(nodes)):
        return CONTRADICTS_PROBLEM
    state.facts["cycle"] = nodes
    return ""


_LIST = r"([\d\s,]+|none)"
_EDGE = r"\((\d{1,6}),\s*(\d{1,6})\) weight (\d{1,6})"

RULES: dict[str, Rule] = {
    rf"edges of (\d{{1,6}}): {_LIST}": _edges_of,
    rf"edges into (\d{{1,6}}): {_LIST}": _edges_into,
    rf"both (\d{{1,6}}) and (\d{{1,6}}): {_LIST}": _pair_rule("both", lambda a, b: a & b),
    rf"either (\d{{1,6}}) or (\d{{1,6}}): {_LIST}": _pair_rule("either", lambda a, b: a | b),
    rf"edges among {_LIST}: (.+)": _among,
    rf"layer (\d{{1,4}}): {_LIST}": _layer,
    r"eccentricity of (\d{1,6}): (\d{1,6})": _eccentricity,
    r"iteration (\d{1,4}): ([\d\s,.]+)": _iteration,
    r"path (\d{1,6}(?:\s*->\s*\d{1,6})+) carries (\d{1,6})": _path,
    rf"cut {_LIST}: capacity (\d{{1,6}})": _cut,
    rf"take {_EDGE}": _take,
    rf"skip {_EDGE}": _skip,
    r"remove (\d{1,6})": _remove,
    r"cycle (\d{1,6}(?:\s*->\s*\d{1,6})+)": _cycle,
}
"""Pattern of a step -> its rule."""


def fold(state: State, answer: str) -> bool:
    """Whether a right answer follows from what has been established."""
    problem, facts = state.problem, state.facts
    args, layers = problem.args, [facts[key] for key in sorted(k for k in facts if k[0] == "layer")]
    match problem.task:
        case "degree":
            return ("of", args[0]) in facts and (not problem.graph.directed or ("into", args[0]) in facts)
        case "neighbours":
            return ("of", args[0]) in facts
        case "predecessors":
            return ("into", args[0]) in facts
        case "common_neighbours":
            return ("both", frozenset(args)) in facts
        case "jaccard":
            return ("both", frozenset(args)) in facts and ("either", frozenset(args)) in facts
        case "clustering":
            return "among" in facts or len(facts.get(("of", args[0]), [0, 0])) < 2
        case "connectivity" if answer == "yes":
            return any(args[1] in layer for layer in layers)
        case "connectivity":
            return bool(layers) and not layers[-1]
        case "bfs":
            order = [int(v) for v in answer.split(", ")]
            said = [v for layer in layers for v in layer]
            return bool(layers) and not layers[-1] and is_bfs_order(problem.network, args[0], order) and (
                sorted(order) == sorted(said)
            )  # fmt: skip
        case "diameter":
            return all(("far", u) in facts for u in range(problem.graph.nodes))
        case "pagerank":
            return state.ranks is not None and facts["settled"] and int(state.ranks.argmax()) == int(answer)
        case "max_flow":
            return any(key[0] == "cut" and capacity == state.flow for key, capacity in facts.items())
        case "spanning_tree":
            pairs = [tuple(sorted(map(int, pair))) for pair in re.findall(r"\((\d+), (\d+)\)", answer)]
            return sorted(pairs) == sorted(state.tree)
        case "cycle":
            return "cycle" in facts if answer == "yes" else not state.left
    return False
