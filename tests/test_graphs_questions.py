"""The thirteen graph questions agree with brute force, and every right answer is accepted."""

from __future__ import annotations

import re
from itertools import permutations

import graph_reference as reference_
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.tasks.graphs.answers import is_bfs_order, normal, read_boxed, right, truth
from ttt_jax.tasks.graphs.convention import CONVENTIONS, convention_splits, shown, verb
from ttt_jax.tasks.graphs.families import FAMILIES, draw_graph, family_splits, size_splits
from ttt_jax.tasks.graphs.graph import Graph, GraphError, read_graph, write_graph
from ttt_jax.tasks.graphs.questions import HELD_OUT, IN_DOMAIN, QUESTIONS, GraphProblem, read_problem, reference
from ttt_jax.tasks.graphs.sets import GraphOptions, draw_problem, make_tasks


def drawn(question: str, seed: int, nodes: int = 6, convention: str = "") -> GraphProblem:
    rng = np.random.default_rng(seed)
    directed = QUESTIONS[question].directed
    directed = bool(rng.integers(2)) if directed is None else directed
    family = str(rng.choice(list(FAMILIES)))
    return draw_problem(question, family, nodes, rng, directed=directed, convention=convention)


def pairs(answer: str) -> list[tuple[str, str]]:
    return re.findall(r"\((\d+), (\d+)\)", answer)


def brute(problem: GraphProblem) -> set[str] | float:
    """All right answers in normal form, or the number."""
    graph, args = problem.graph, problem.args
    a = reference_.matrix(graph) > 0
    far = reference_.distances(graph)

    def nodes(where) -> set[str]:
        return {", ".join(map(str, np.flatnonzero(where))) or "none"}

    match problem.task:
        case "degree":
            return float(a[args[0]].sum() + (a[:, args[0]].sum() if graph.directed else 0))
        case "clustering":
            return reference_.clustering(graph, *args)
        case "jaccard":
            return reference_.jaccard(graph, *args)
        case "common_neighbours":
            return nodes(a[args[0]] & a[args[1]])
        case "connectivity":
            return {"yes" if np.isfinite(far[args]) else "no"}
        case "diameter":
            return float(far.max())
        case "pagerank":
            ranks = reference_.pagerank(graph)
            return {str(v) for v in np.flatnonzero(ranks > ranks.max() - 1e-7)}
        case "max_flow":
            return float(reference_.max_flow(graph, *args))
        case "spanning_tree":
            trees = reference_.spanning_trees(graph)
            least = min(weight for _, weight in trees)
            return {", ".join(f"({u}, {v})" for u, v in edges) for edges, weight in trees if weight == least}
        case "predecessors":
            return nodes(a[:, args[0]])
        case "bfs":
            return {", ".join(map(str, order)) for order in reference_.bfs_orders(graph, args[0])}
        case "neighbours":
            return nodes(a[args[0]])
        case "cycle":
            return {"yes" if reference_.has_cycle(graph) else "no"}
    raise AssertionError


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_reference_answer_is_what_brute_force_finds(question):
    answers = set()
    for seed in range(25):
        problem = drawn(question, seed, nodes=5 + seed % 3)
        found, expected = normal(reference(problem)), brute(problem)
        if isinstance(expected, float):
            assert float(found) == pytest.approx(expected, abs=6e-5)
        elif question == "spanning_tree":
            tree = [frozenset(e) for e in pairs(found)]
            assert any({*tree} == {frozenset(e) for e in pairs(one)} for one in expected)
        else:
            assert found in expected
        assert right(problem, found)
        answers.add(found)
    assert len(answers) >= (2 if QUESTIONS[question].kind == "truth" else 4)


def test_exactly_the_breadth_first_orders_are_right():
    checked = 0
    for seed in range(40):
        problem = drawn("bfs", seed, nodes=5)
        orders = reference_.bfs_orders(problem.graph, problem.args[0])
        reached = next(iter(orders))
        for order in permutations(reached):
            assert is_bfs_order(problem.network, problem.args[0], list(order)) == (order in orders)
        checked += len(orders)
        assert not is_bfs_order(problem.network, problem.args[0], list(reached[:-1]))
        assert not is_bfs_order(problem.network, problem.args[0], [*reached, reached[-1]])
    assert checked > 100


def test_exactly_the_least_spanning_trees_are_right():
    ties = 0
    for seed in range(12):
        problem = drawn("spanning_tree", seed, nodes=5)
        trees = reference_.spanning_trees(problem.graph)
        least = min(weight for _, weight in trees)
        ties += sum(weight == least for _, weight in trees) > 1
        for edges, weight in trees:
            text = ", ".join(f"({v}, {u})" for u, v in reversed(edges))  # any order, either way round
            assert right(problem, normal(text)) == (weight == least)
        (u, v), *_ = trees[0][0]
        for bad in ("", f"({u}, {v})", "(0, 0), (0, 1), (0, 2), (0, 3)", ", ".join([f"({u}, {v})"] * 4)):
            assert not right(problem, normal(bad))
    assert ties > 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{3}.", "3"), (r"\boxed{3.0}", "3"), (r"\boxed{1} no, \boxed{2}", "2"), (r"\boxed{Yes.}", "yes"),
        (r"\boxed{\text{no}}", "no"), (r"\boxed{1/3}", "0.3333"), (r"\boxed{\frac{1}{3}}", "0.3333"),
        (r"\boxed{[1,2, 3]}", "1, 2, 3"), (r"\boxed{1 -> 2 -> 3}", "1, 2, 3"), (r"\boxed{node 4}", "4"),
        (r"\boxed{[(1,2), (03,4)]}", "(1, 2), (3, 4)"), (r"\boxed{{1, 2}}", "1, 2"), (r"\boxed{[]}", "none"),
        (r"\boxed{}", None), (r"\boxed{1", None), (r"\boxed{1} \boxed{2", "1"), ("3", None), ("", None),
        (r"\boxed{" + "1, " * 5000 + "1}", None), (r"\boxed{7}" + " " * 10**6 + r"\boxed{8}", "8"),
        (r"\boxed{1/0}", "1/0"), (r"\boxed{1e999}", "1e999"), (r"\boxed{" + "9" * 400 + "}", "9" * 400),
    ],
)  # fmt: skip
def test_answers_are_read_from_the_last_complete_box(text, expected):
    assert read_boxed(text) == expected
    if expected:
        assert normal(expected) == expected


def test_fractions_have_a_stated_tolerance_and_numbers_have_none():
    graph = Graph(4, ((0, 1, 1), (0, 2, 1), (0, 3, 1), (1, 2, 1)))
    third = GraphProblem("clustering", graph, (0,))
    accepted = {"0.3333": True, "0.333": True, "1/3": True, "0.3343": True, "0.3350": False, "0.33": False, "x": False}
    assert {a: right(third, normal(a)) for a in accepted} == accepted
    degree = GraphProblem("degree", graph, (0,))
    assert right(degree, normal("3.0")) and not right(degree, normal("3.0005")) and not right(degree, normal("three"))


def test_sets_of_nodes_come_in_any_order_and_once():
    problem = GraphProblem("neighbours", Graph(4, ((0, 1, 1), (2, 0, 1))), (0,))
    answers = {"1, 2": True, "2, 1": True, "(1, 2)": True, "1": False, "1, 2, 2": False, "1, 2, 3": False, "": False}
    assert {a: right(problem, normal(a)) for a in answers} == answers
    alone = GraphProblem("neighbours", Graph(3, ((0, 1, 1),)), (2,))
    assert right(alone, normal("none")) and right(alone, normal("[]")) and reference(alone) == "none"


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(list(QUESTIONS)), st.sampled_from(("", *CONVENTIONS)), st.integers(5, 12), st.integers(0, 10**6))
def test_a_problem_is_read_back_from_its_text(question, convention, nodes, seed):
    problem = drawn(question, seed, nodes, convention)
    back = read_problem(str(problem), convention)
    assert (back.task, back.args, back.graph.nodes) == (problem.task, problem.args, nodes)
    assert truth(back)["answer"] == truth(problem)["answer"] or right(problem, normal(truth(back)["answer"]))
    assert (reference_.matrix(back.graph) == reference_.matrix(problem.graph)).all()
    assert shown(shown(problem.graph, convention), convention).networkx().edges == problem.graph.networkx().edges


def test_the_published_text_on_one_line_is_read():
    text = (
        "Given an undirected graph: Node 0 is connected to nodes 1 (weight: 3), 2 (weight: 12). "
        "Node 1 is connected to node 0 (weight: 3)."
    )
    assert read_graph(text) == Graph(3, ((0, 1, 3), (0, 2, 12)), weighted=True)
    assert write_graph(Graph(3, ((0, 1, 1),), directed=True)).splitlines() == [
        "Given a directed graph:", "Node 0 is connected to node 1.", "Node 1 is connected to no nodes.",
        "Node 2 is connected to no nodes.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A graph.", "neither"),
        ("Given a directed graph: none.", "no sentence"),
        ("Given a directed graph: Node 1 is connected to node 1.", "a loop"),
        ("Given an undirected graph: Node 0 is connected to node 99999999.", "at most 10000"),
        ("Given an undirected graph: Node 0 is connected to node 1 (weight: 1). Node 1 is connected to node 0 "
         "(weight: 2).", "two weights"),
        ("Given an undirected graph: Node 0 is connected to node 1.\nHow are you?", "no known question"),
        ("Given an undirected graph: Node 0 is connected to node 1. Node 2 is connected to no nodes.\n"
         "What is the diameter of the graph, in edges?", "the graph is not connected"),
        ("Given a directed graph: Node 0 is connected to node 1.\nWhat is the diameter of the graph, in edges?",
         "has to be undirected"),
        ("Given an undirected graph: Node 0 is connected to node 1.\nWhat is the degree of node 5 "
         "(in a directed graph: edges in and out)?", "of 2"),
    ],
)  # fmt: skip
def test_a_bad_text_is_refused_by_name(text, message):
    with pytest.raises(GraphError, match=message):
        read_problem(text)


def test_every_family_gives_connected_graphs_of_the_size_asked_for():
    for family in FAMILIES:
        for nodes in (5, 6, 17, 35):
            for seed in range(5):
                graph = draw_graph(family, nodes, np.random.default_rng(seed), directed=False, weighted=True)
                assert graph.nodes == nodes and np.isfinite(reference_.distances(graph)).all()
                assert {w for *_, w in graph.edges} <= set(range(1, 10))
                directed = draw_graph(family, nodes, np.random.default_rng(seed), directed=True, weighted=False)
                assert directed.directed and {w for *_, w in directed.edges} == {1}


@pytest.mark.parametrize("question", ["connectivity", "cycle"])
def test_yes_and_no_are_equally_frequent(question):
    answers = [reference(drawn(question, seed, nodes=9)) for seed in range(80)]
    assert 25 <= answers.count("yes") <= 55


def test_splits_share_no_family_size_or_convention_and_training_sees_no_held_out_question():
    for splits, count in ((family_splits(), len(FAMILIES)), (size_splits(), 31), (convention_splits(), 24)):
        parts = [set(of) for of in splits.values()]
        assert all(parts) and sum(map(len, parts)) == count == len(set.union(*parts))
    verbs = [{verb(c) for c in of} for of in convention_splits().values()]
    assert len(set.union(*verbs)) == sum(map(len, verbs))
    assert HELD_OUT == ("bfs", "neighbours", "cycle") and len(IN_DOMAIN) == 10
    texts = {
        s: {str(x) for t in make_tasks(GraphOptions(s, each=2, demos=1)) for x, _ in t.demos} for s in size_splits()
    }
    assert not texts["train"] & (texts["development"] | texts["test"])
    for bad in (
        {"questions": ("bfs",)},
        {"questions": ("all",)},
        {"families": family_splits()["test"]},
        {"nodes": ("6",)},
    ):
        with pytest.raises(ValueError, match="held out of training"):
            GraphOptions("train", **bad)
    with pytest.raises(ValueError, match="there are degree"):
        GraphOptions("test", questions=("size",))
