"""Steps are verified exactly: oracle traces are valid, corrupted ones wrong where they say."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from ttt_jax.process import steps as s
from ttt_jax.process.diagnosis import DiagnosisProcess
from ttt_jax.process.graph_rules import next_ranks
from ttt_jax.process.graphs import GraphProcess
from ttt_jax.process.steps import first_error, steps, verify_step, write_steps
from ttt_jax.process.zebra import ZebraProcess, read_step, write_step
from ttt_jax.tasks.diagnosis.case import Case
from ttt_jax.tasks.diagnosis.net import ROOTS, draw_net
from ttt_jax.tasks.diagnosis.sets import draw_case
from ttt_jax.tasks.graphs.families import FAMILIES
from ttt_jax.tasks.graphs.graph import Graph
from ttt_jax.tasks.graphs.questions import QUESTIONS, GraphProblem, pageranks
from ttt_jax.tasks.graphs.sets import draw_problem
from ttt_jax.tasks.zebra.generate import generate
from ttt_jax.tasks.zebra.puzzle import Attribute, Clue, Puzzle
from ttt_jax.tasks.zebra.solver import solve
from ttt_jax.tasks.zebra.vocabulary import draw_attributes

ZEBRA, GRAPHS, DIAGNOSIS = ZebraProcess(), GraphProcess(), DiagnosisProcess()


def puzzle(houses: int, attributes: int, seed: int) -> Puzzle:
    rng = np.random.default_rng(seed)
    return generate(draw_attributes("street", houses, attributes, rng), rng).puzzle


def graph_problem(question: str, seed: int, nodes: int = 8) -> GraphProblem:
    rng, directed = np.random.default_rng(seed), QUESTIONS[question].directed
    directed = bool(seed % 2) if directed is None else directed
    return draw_problem(question, list(FAMILIES)[seed % 5], nodes, rng, directed=directed)


def case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    return draw_case(draw_net(ROOTS, "graded", 5, rng), rng, "x")


def problems(count: int):
    for seed in range(count):
        for question in QUESTIONS:
            yield GRAPHS, graph_problem(question, seed, (5, 8, 20)[seed % 3])
        yield ZEBRA, puzzle(2 + seed % 3, 2 + seed % 2, seed)
        yield DIAGNOSIS, case(seed)


def test_oracle_traces_are_valid_and_survive_the_text():
    for process, problem in problems(6):
        trace = process.oracle_trace(problem)
        assert first_error(process.verify(problem, trace)) == -1
        assert steps("Let us see.\n" + write_steps(trace) + "So \\boxed{x}.") == trace


def test_corrupted_traces_are_wrong_first_where_they_say():
    rng, places = np.random.default_rng(0), set()
    for process, problem in problems(6):
        trace = process.oracle_trace(problem)
        for _ in range(3):
            changed, index = process.corrupt(problem, trace, rng)
            verdicts = process.verify(problem, changed)
            assert all(v.ok for v in verdicts[:index]) and not verdicts[index].ok
            assert verdicts[index].reason in s.REASONS and changed != trace
            assert verify_step(process, problem, changed[:index], changed[index]) == verdicts[index]
            places.add(index)
        with pytest.raises(ValueError, match="wrong already"):
            process.corrupt(problem, changed, rng)
    assert len(places) > 5


def test_garbage_is_unreadable_and_never_an_error():
    garbage = ["", "x" * 4000, "answer = ", "clues 1 -> ", "layer 1: 1,,2", "prior -> ", "take (1, 2)", "->", "cycle 1",
               "edges of 999999: 1", "path 0 -> 999999 carries 1", "clues 9999 -> House 1 Name = x",
               "iteration 0: 1"]  # fmt: skip
    for process, problem in problems(1):
        trace = process.oracle_trace(problem)
        verdicts = process.verify(problem, garbage)
        assert not any(v.ok for v in verdicts) and len(verdicts) == len(garbage)
        # Wrong steps establish nothing, and spoil nothing.
        assert first_error(process.verify(problem, [*garbage[:2], *trace])[2:]) == -1
        assert process.verify(problem, []) == []


def test_an_enormous_text_has_a_bounded_number_of_steps():
    assert (
        len(steps("Step 1: a\n" * 10**4)) == s.MAX_STEPS and len(steps("step 1: " + "a" * 10**5)[0]) == s.MAX_CHARACTERS
    )
    assert steps("A step 1: no\n  STEP 2. yes \nStep three: no") == ["yes"]


# -- logic grids


TOY = Puzzle(
    (
        Attribute("Name", "names", "{}", ("Ada", "Ben", "Cleo")),
        Attribute("Cake", "cakes", "the {} eater", ("plum", "lemon", "carrot")),
    ),
    (
        Clue("found_at", (0, 0), house=0),
        Clue("consecutive", (0, 1), (0, 2)),
        Clue("same_house", (0, 1), (1, 0)),
        Clue("not_at", (1, 1), house=0),
    ),
)


@pytest.mark.parametrize(
    ("chain", "reason"),
    [
        (["clues 1 -> House 1 Name = Ada"], ""),
        (["clue 1 -> house 1 name = ada; House 2 Name != Ada."], ""),
        (["clues 1 and 2 -> House 3 Name = Cleo"], ""),
        (["clues 2 -> House 3 Name != Ben; House 1 Name != Cleo"], ""),
        (["clues 2 -> House 2 Name = Ben"], s.NOT_ENTAILED),
        (["clues 1 -> House 1 Name = Ada", "clues 2 -> House 2 Name = Ben"], ""),
        (["clues 2 -> House 2 Name = Ben", "clues 3 -> House 2 Cake = plum"], s.NOT_ENTAILED),
        (["clues 1 -> House 1 Name = Ben"], s.CONTRADICTS_PROBLEM),
        (["clues 1 -> House 1 Name = Ben", "clues 1 -> House 1 Name = Ada"], s.CONTRADICTS_STEP),
        (["clues 1 -> House 1 Name = Ada", "clues none -> House 2 Name = Ada"], s.CONTRADICTS_STEP),
        (["clues 5 -> House 1 Name = Ada"], s.UNKNOWN_PREMISE),
        (["clues 2; given House 1 Name = Ada -> House 2 Name = Ben"], s.UNKNOWN_PREMISE),
        (["clues 1 -> House 1 Name = Ada", "clues 2; given House 1 Name = Ada -> House 2 Name = Ben"], ""),
        (["clues 1, 2, 3 -> House 1 Name = Ada; House 2 Cake = plum", "clues 4; given House 1 Name = Ada -> "
          "House 3 Cake = lemon"], s.NOT_ENTAILED),
        (["clues 1, 2, 3 -> House 1 Name = Ada; House 2 Cake = plum", "clues 4 -> House 3 Cake = lemon"], ""),
        (["clues 1 -> House 4 Name = Ada"], s.UNREADABLE),
        (["clues 1 -> House 1 Pet = Ada"], s.UNREADABLE),
        (["clues 1 -> House 1 Name = Zoe"], s.UNREADABLE),
        (["because Ada is first"], s.UNREADABLE),
    ],
)  # fmt: skip
def test_a_grid_step_has_the_verdict_that_it_deserves(chain, reason):
    assert solve(TOY).unique
    assert ZEBRA.verify(TOY, chain)[-1].reason == reason


def test_entailment_is_truth_in_every_assignment_that_the_clues_allow():
    for seed in range(4):
        p = puzzle(3, 2, seed)
        grids = list(product(permutations(range(3)), repeat=2))
        rng = np.random.default_rng(seed)
        for _ in range(40):
            used = [i for i in range(len(p.clues)) if rng.random() < 0.5]
            a, v, h, holds = (int(rng.integers(n)) for n in (2, 3, 3, 2))
            allowed = [g for g in grids if all(p.clues[i].holds(g) for i in used)]
            follows = all((g[a][v] == h) == bool(holds) for g in allowed)
            text = f"clues {', '.join(str(i + 1) for i in used) or 'none'} -> House {h + 1} {p.attributes[a].name} "
            text += f"{'=' if holds else '!='} {p.attributes[a].values[v]}"
            assert ZEBRA.verify(p, [text])[0].ok == follows


def test_the_oracle_uses_no_clue_that_it_could_do_without():
    for seed in range(4):
        p = puzzle(4, 3, seed)
        trace = ZEBRA.oracle_trace(p)
        cells = [fact for text in trace for fact in read_step(p, text).facts]
        assert len(cells) == len(set(cells)) == 12
        for i, text in enumerate(trace):
            step = read_step(p, text)
            assert write_step(p, step) == text
            for left_out in step.clues:
                fewer = step._replace(clues=tuple(c for c in step.clues if c != left_out))
                if len(step.clues) <= 2:
                    assert not ZEBRA.verify(p, [*trace[:i], write_step(p, fewer)])[-1].ok


def test_the_oracle_refuses_ambiguous_and_unsatisfiable_puzzles():
    with pytest.raises(ValueError, match="more than one"):
        ZEBRA.oracle_trace(Puzzle(TOY.attributes, TOY.clues[:2]))
    with pytest.raises(ValueError, match="no assignment"):
        ZEBRA.oracle_trace(Puzzle(TOY.attributes, (*TOY.clues, Clue("found_at", (0, 1), house=0))))


# -- graphs

PATH = Graph(4, ((0, 1, 1), (1, 2, 1), (2, 3, 1)))
SQUARE = Graph(4, ((0, 1, 1), (1, 2, 2), (2, 3, 3), (3, 0, 4)), weighted=True)
FLOW = Graph(4, ((0, 1, 3), (0, 2, 2), (1, 3, 2), (2, 3, 2), (1, 2, 1)), directed=True, weighted=True)


@pytest.mark.parametrize(
    ("problem", "chain", "reason"),
    [
        (GraphProblem("neighbours", PATH, (1,)), ["edges of 1: 0, 2", "answer = 2, 0"], ""),
        (GraphProblem("neighbours", PATH, (1,)), ["answer = 0, 2"], s.NOT_ENTAILED),
        (GraphProblem("neighbours", PATH, (1,)), ["edges of 1: 0", "answer = 0"], s.CONTRADICTS_PROBLEM),
        (GraphProblem("neighbours", PATH, (1,)), ["edges of 1: 0", "edges of 1: 0, 2"], s.CONTRADICTS_STEP),
        (GraphProblem("degree", PATH, (0,)), ["edges of 2: 1, 3", "answer = 1"], s.NOT_ENTAILED),
        (GraphProblem("jaccard", PATH, (0, 2)), ["both 0 and 2: 1"], s.UNKNOWN_PREMISE),
        (GraphProblem("connectivity", PATH, (0, 3)), ["layer 0: 0", "layer 1: 1", "answer = yes"], s.NOT_ENTAILED),
        (GraphProblem("connectivity", PATH, (0, 3)), ["layer 0: 0", "layer 2: 2"], s.UNKNOWN_PREMISE),
        (GraphProblem("connectivity", PATH, (0, 3)), ["layer 0: 0", "layer 1: 1, 2"], s.CONTRADICTS_PROBLEM),
        (GraphProblem("connectivity", PATH, (0, 2)), ["layer 0: 0", "layer 1: 1", "layer 2: 2", "answer = yes"], ""),
        (GraphProblem("diameter", PATH), [*(f"eccentricity of {u}: {e}" for u, e in enumerate((3, 2, 2, 3))),
                                          "answer = 3"], ""),
        (GraphProblem("diameter", PATH), ["eccentricity of 0: 3", "answer = 3"], s.NOT_ENTAILED),
        (GraphProblem("spanning_tree", SQUARE), ["take (0, 1) weight 1", "take (1, 2) weight 2", "take (3, 2) weight 3",
                                                 "skip (0, 3) weight 4", "answer = (0, 1), (1, 2), (2, 3)"], ""),
        (GraphProblem("spanning_tree", SQUARE), ["take (1, 2) weight 2"], s.NOT_ENTAILED),
        (GraphProblem("spanning_tree", SQUARE), ["take (0, 1) weight 2"], s.CONTRADICTS_PROBLEM),
        (GraphProblem("spanning_tree", SQUARE), ["skip (0, 1) weight 1"], s.NOT_ENTAILED),
        (GraphProblem("spanning_tree", SQUARE), ["skip (0, 1) weight 1", "take (0, 1) weight 1"], s.CONTRADICTS_STEP),
        (GraphProblem("max_flow", FLOW, (0, 3)), ["path 0 -> 1 -> 3 carries 3"], s.CONTRADICTS_PROBLEM),
        (GraphProblem("max_flow", FLOW, (0, 3)), ["path 1 -> 3 carries 1"], s.UNKNOWN_PREMISE),
        (GraphProblem("max_flow", FLOW, (0, 3)), ["path 0 -> 1 -> 3 carries 2", "path 0 -> 2 -> 3 carries 2",
                                                  "cut 0, 1, 2: capacity 4", "answer = 4"], ""),
        (GraphProblem("max_flow", FLOW, (0, 3)), ["path 0 -> 1 -> 3 carries 2", "cut 0, 1, 2: capacity 4",
                                                  "answer = 4"], s.NOT_ENTAILED),
        (GraphProblem("cycle", PATH), ["remove 0", "remove 1", "remove 2", "remove 3", "answer = no"], ""),
        (GraphProblem("cycle", PATH), ["remove 1"], s.NOT_ENTAILED),
        (GraphProblem("cycle", PATH), ["cycle 0 -> 1 -> 2 -> 0"], s.CONTRADICTS_PROBLEM),
        (GraphProblem("pagerank", PATH), ["iteration 1: 0.25, 0.25, 0.25, 0.25"], s.UNKNOWN_PREMISE),
        (GraphProblem("pagerank", PATH), ["iteration 0: 0.25, 0.25, 0.25, 0.25", "iteration 1: .25, .25, .25, .25"],
         s.NOT_ENTAILED),
    ],
)  # fmt: skip
def test_a_graph_step_has_the_verdict_that_it_deserves(problem, chain, reason):
    assert GRAPHS.verify(problem, chain)[-1].reason == reason


def test_power_iteration_comes_to_networkx_s_pagerank():
    for seed in range(4):
        problem = graph_problem("pagerank", seed)
        ranks = np.full(8, 1 / 8)
        for _ in range(200):
            ranks = next_ranks(problem, ranks)
        assert ranks == pytest.approx(list(pageranks(problem.network).values()), abs=1e-8)


# -- diagnosis


def test_a_diagnosis_step_has_the_verdict_that_it_deserves():
    problem = case(3)
    trace = DIAGNOSIS.oracle_trace(problem)
    first, second, *_, last = trace
    turned = second.replace(" no ->", " YES ->") if " no ->" in second else second.replace(" yes ->", " no ->")
    distractor, there = next((n, x) for n, x in problem.synthetic.known.items() if n not in " ".join(trace))
    neutral = f"{distractor} {'yes' if there else 'no'} -> {first.split(' -> ')[1]}"
    other = next(d.name for d in problem.synthetic.net.diseases if d.name not in last)
    for chain, reason in (
        ([first, neutral, second], ""),
        ([second], s.UNKNOWN_PREMISE),
        ([first, turned], s.CONTRADICTS_PROBLEM),
        ([first, second, second], s.CONTRADICTS_STEP),
        ([first, last], s.NOT_ENTAILED),
        ([*trace[:-1], f"answer = {other}"], s.CONTRADICTS_PROBLEM),
        ([first, "double vision no -> " + first.split(" -> ")[1]], s.UNKNOWN_PREMISE),
        ([first.rsplit(",", 1)[0]], s.UNREADABLE),
        (["answer = influenza"], s.UNREADABLE),
    ):
        assert DIAGNOSIS.verify(problem, chain)[-1].reason == reason, (chain[-1], reason)


def test_a_real_case_has_no_exact_posterior():
    with pytest.raises(ValueError, match="SYNTHETIC cases only"):
        DIAGNOSIS.verify(Case("7", ("a", "b", "c"), "flu"), ["prior -> flu 1.0"])


def test_steps_of_other_questions_are_judged_whatever_they_say():
    """A model writes steps of one question under another: a verdict for each, and the run goes on."""
    lines = {step for seed in range(3) for q in QUESTIONS for step in GRAPHS.oracle_trace(graph_problem(q, seed))}
    lines |= {
        "layer 0: 3", "layer 0: none", "layer 1: 2, 99", "eccentricity of 0: 0", "eccentricity of 99: 2",
        "cycle 0 -> 0", "iteration 0: .", "iteration 1: 1, 2", "path 0 -> 99 carries 1", "path 0 -> 0 carries 999999",
        "cut none: capacity 0", "cut 0, 99: capacity 3", "take (0, 99) weight 1", "skip (7, 7) weight 0", "remove 99",
        "edges of 99: none", "edges into 0: 0", "edges among 0, 0: 3", "both 0 and 0: 0", "answer = none",
    }  # fmt: skip
    for seed in range(3):
        for question in QUESTIONS:
            problem = graph_problem(question, seed)
            for step in sorted(lines):
                GRAPHS.verify(problem, [step])
            assert len(GRAPHS.verify(problem, sorted(lines))) == len(lines)


@pytest.mark.parametrize(
    "question, step",
    [("diameter", "layer 0: 3"), ("diameter", "layer 0: none"), ("degree", "cut 0, 1: capacity 3")],
)
def test_a_step_that_needs_what_the_question_does_not_name_has_no_premise(question, step):
    (verdict,) = GRAPHS.verify(graph_problem(question, 0), [step])
    assert not verdict.ok and verdict.reason == s.UNKNOWN_PREMISE


def test_no_eccentricity_is_true_where_a_node_is_out_of_reach():
    problem = GraphProblem("connectivity", Graph(3, ((0, 1, 1),)), (0, 2))
    for k in range(4):
        (verdict,) = GRAPHS.verify(problem, [f"eccentricity of 0: {k}"])
        assert not verdict.ok and verdict.reason == s.CONTRADICTS_PROBLEM


def test_garbled_steps_have_a_verdict_each():
    """Words and numbers of oracle steps in wrong places: nothing that a model may write stops a run."""
    rng = np.random.default_rng(0)
    junk = [
        "none",
        "99",
        "-1",
        "",
        "->",
        "!=",
        ",",
        "(",
        "1e9",
        "nan",
        "answer = ",
        "clues 1, 99 -> ",
        "House 9",
        "²",
        "٣",
    ]
    for process, problem in problems(2):
        own = process.oracle_trace(problem)
        words = junk + [word for step in own for word in step.split()]
        for _ in range(40):
            chain = []
            for step in rng.choice(own, size=3):
                parts = str(step).split()
                for i in rng.integers(len(parts), size=2):
                    parts[i] = words[rng.integers(len(words))]
                chain.append(" ".join(parts))
            assert len(process.verify(problem, chain)) == 3
