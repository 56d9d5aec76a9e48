"""Answers of graph questions: found in a text, brought to one form, and checked by property."""

from __future__ import annotations

import math
import re
from typing import Any

from ttt_jax.tasks.graphs.graph import Graph, GraphError
from ttt_jax.tasks.graphs.questions import PAGERANK_TIE, TOLERANCE, GraphProblem, pageranks, reference

MAX_CHARACTERS = 65_536
"""Of an enormous text, only this much of its end is read."""

MAX_ANSWER = 4096
"""A longer answer in a box is none."""

Answer = str | dict[str, Any]
"""What was answered, in normal form; or a truth: {"answer": a right one, "task", "graph", "args"}."""


def truth(problem: GraphProblem) -> dict[str, Any]:
    """Everything needed to recognise a right answer, as plain JSON."""
    return {
        "answer": reference(problem),
        "task": problem.task,
        "graph": problem.graph.to_json(),
        "args": list(problem.args),
    }


def problem_of_truth(value: dict[str, Any]) -> GraphProblem:
    """The problem that a truth belongs to. Raises GraphError."""
    try:
        return GraphProblem(value["task"], Graph.from_json(value["graph"]), tuple(value["args"]))
    except (KeyError, TypeError) as error:
        raise GraphError(f"no truth: {error}") from None


def read_boxed(text: str) -> str | None:
    r"""The content of the last complete \boxed{..}, in normal form; None where there is none."""
    text = text[-MAX_CHARACTERS:]
    start = text.rfind("\\boxed{")
    while start >= 0:
        depth = 0
        for i, character in enumerate(text[start + 6 : start + MAX_ANSWER + 8]):
            depth += {"{": 1, "}": -1}.get(character, 0)
            if depth == 0:
                return normal(text[start + 7 : start + 6 + i]) or None
        if start + MAX_ANSWER + 8 < len(text):
            return None
        start = text.rfind("\\boxed{", 0, start)
    return None


def normal(text: str) -> str:
    """Lower case, one space after each comma; yes and no, numbers, lists in one spelling."""
    text = re.sub(r"\\text\{([^{}]*)\}", r"\1", text).strip().strip("$").strip().lower().rstrip(".")
    text = re.sub(r"\s+", " ", text)
    if text in ("yes", "true"):
        return "yes"
    if text in ("no", "false"):
        return "no"
    if text in ("none", "[]", "{}", "empty", "()"):
        return "none"
    number = _number(text)
    if number is not None:
        return str(int(number)) if number == int(number) else repr(round(number, 4))
    pairs = re.findall(r"\(\s*(\d{1,6})\s*,\s*(\d{1,6})\s*\)", text)
    if pairs and not re.sub(r"\(\s*\d+\s*,\s*\d+\s*\)|[\s,;\[\]{}]", "", text):
        return ", ".join(f"({int(u)}, {int(v)})" for u, v in pairs)
    items = re.sub(r"\bnodes?\b", "", text).strip(" []{}()\\")
    if re.fullmatch(r"\d{1,6}(\s*(,|->|→|\s)\s*\d{1,6})*", items):
        return ", ".join(str(int(v)) for v in re.findall(r"\d+", items))
    return text


def right(problem: GraphProblem, answer: str) -> bool:
    """Whether an answer in normal form is right.

    Fractions within TOLERANCE; sets of nodes and of edges in any order, edges
    either way round; any order of a breadth-first search; any spanning tree of
    least weight; any node of largest PageRank.
    """
    value, graph = problem.question.answer, problem.network
    match problem.question.kind:
        case "truth":
            return answer == ("yes" if value(graph, problem.args) else "no")
        case "number" | "fraction":
            number = _number(answer)
            allowed = TOLERANCE if problem.question.kind == "fraction" else 1e-9
            return number is not None and abs(number - value(graph, problem.args)) <= allowed
        case "node":
            ranks = pageranks(graph)
            return answer.isdecimal() and ranks.get(int(answer), 0.0) >= max(ranks.values()) - PAGERANK_TIE
        case "nodes":
            nodes = _nodes(answer)
            return nodes is not None and len(nodes) == len(set(nodes)) and sorted(nodes) == value(graph, problem.args)
        case "order":
            nodes = _nodes(answer)
            return nodes is not None and is_bfs_order(graph, problem.args[0], nodes)
        case "edges":
            return _is_least_tree(problem, answer)


def is_bfs_order(graph: Any, start: int, order: list[int]) -> bool:
    """Whether a queue could give out the nodes in this order, whatever the order of neighbours."""
    import networkx as nx

    if order[:1] != [start] or set(order) != nx.descendants(graph, start) | {start} or len(order) != len(set(order)):
        return False
    place = {v: i for i, v in enumerate(order)}
    # A node is found by the earliest of those that lead to it; finders never go back.
    finders = [min(place[u] for u in (graph.predecessors(v) if graph.is_directed() else graph.neighbors(v))
                   if u in place) for v in order[1:]]  # fmt: skip
    return all(finder < i for i, finder in enumerate(finders, 1)) and finders == sorted(finders)


def _is_least_tree(problem: GraphProblem, answer: str) -> bool:
    import networkx as nx

    weights = {frozenset((u, v)): w for u, v, w in problem.graph.edges}
    edges = [frozenset((int(u), int(v))) for u, v in re.findall(r"\((\d+), (\d+)\)", answer)]
    if len(edges) != problem.graph.nodes - 1 or len(set(edges)) != len(edges) or not all(e in weights for e in edges):
        return False
    tree = nx.Graph(list(map(tuple, edges)))  # pyright: ignore[reportArgumentType]
    least = sum(weights[frozenset(edge)] for edge in problem.question.answer(problem.network, ()))
    return len(tree) == problem.graph.nodes and nx.is_tree(tree) and sum(weights[e] for e in edges) == least


def _number(text: str) -> float | None:
    """An integer, a decimal, a fraction a/b or \\frac{a}{b}; None for anything else."""
    text = re.sub(r"\\[dt]?frac\{(\d+)\}\{(\d+)\}", r"\1/\2", text)
    ratio = re.fullmatch(r"(\d{1,9})\s*/\s*(\d{1,9})", text)
    if ratio:
        return int(ratio[1]) / int(ratio[2]) if int(ratio[2]) else None
    if not re.fullmatch(r"-?(\d{1,15}(\.\d*)?|\.\d+)", text):
        return None
    number = float(text)
    return number if math.isfinite(number) else None


def _nodes(answer: str) -> list[int] | None:
    if answer == "none":
        return []
    answer = answer.strip("()")  # one pair of brackets around two nodes
    return [int(v) for v in answer.split(", ")] if re.fullmatch(r"\d{1,6}(, \d{1,6})*", answer) else None
