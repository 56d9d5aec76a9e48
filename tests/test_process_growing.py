"""The benchmark that grows finds the level of a solver and asks nothing twice."""

from __future__ import annotations

import numpy as np
import pytest

from ttt_jax.evaluate.thresholds import threshold
from ttt_jax.process.judging import get_process, judge, worked_answer
from ttt_jax.process.metrics import process_rates
from ttt_jax.tasks.complexity import complexity, fingerprint
from ttt_jax.tasks.diagnosis.domain import DiagnosisDomain
from ttt_jax.tasks.diagnosis.sets import DiagnosisOptions
from ttt_jax.tasks.diagnosis.sets import make_tasks as make_cases
from ttt_jax.tasks.graphs.domain import GraphsDomain
from ttt_jax.tasks.graphs.sets import GraphOptions
from ttt_jax.tasks.graphs.sets import make_tasks as make_graphs
from ttt_jax.tasks.growing import Exhausted, Ladder, Staircase, make_ladder
from ttt_jax.tasks.problem_text import ProblemText
from ttt_jax.tasks.zebra.domain import ZebraDomain
from ttt_jax.tasks.zebra.sets import ZebraOptions
from ttt_jax.tasks.zebra.sets import make_tasks as make_puzzles

FAMILIES = [
    (ZebraDomain(), make_puzzles(ZebraOptions("test", sizes=("3x3", "4x2"), each=3))),
    (GraphsDomain(), make_graphs(GraphOptions("test", nodes=("8",), each=3))),
    (DiagnosisDomain(), make_cases(DiagnosisOptions("test", each=4, mode="choice"))),
]
KINDS = {
    "zebra": ("values", "clues", "attributes", "mirror"),
    "graphs": ("nodes", "edges"),
    "diagnosis": ("options", "findings"),
}


@pytest.mark.parametrize(("domain", "tasks"), FAMILIES, ids=lambda x: getattr(x, "name", ""))
def test_a_fingerprint_is_that_of_every_transformed_problem_and_of_no_other(domain, tasks):
    marks = [fingerprint(task.queries[0].problem) for task in tasks]
    assert len(set(marks)) == len(marks)
    for task, mark in zip(tasks, marks, strict=True):
        for seed in range(4):
            changed = domain.transform(KINDS[domain.name], task, np.random.default_rng(seed)).apply(task)
            assert fingerprint(changed.queries[0].problem) == mark


@pytest.mark.parametrize(("domain", "tasks"), FAMILIES, ids=lambda x: getattr(x, "name", ""))
def test_a_worked_answer_is_a_valid_chain_that_parses_to_the_answer(domain, tasks):
    chains = []
    for task in tasks:
        text = worked_answer(domain, task.queries[0], task.answers[0])
        assert domain.same(domain.parse_text(text), task.answers[0])
        chains.append(judge(domain.name, task.queries[0], text, True))
        assert complexity(task.queries[0].problem)
    found = process_rates(chains)
    assert found["valid_chains"]["value"] == found["step_validity"]["value"] == 1.0
    assert found["right_by_invalid"]["value"] == found["contradictions"]["value"] == 0.0


def test_a_domain_without_a_verifier_is_refused():
    with pytest.raises(ValueError, match="'arc' have no verifier"):
        get_process("arc")
    with pytest.raises(ValueError, match="load the tasks again"):
        judge("zebra", "plain text", "", True)
    with pytest.raises(ValueError, match="no canonical form"):
        fingerprint("x")
    assert complexity("x") == {}


def play(staircase: Staircase, able: float, rounds: int, seed: int = 0) -> None:
    """A solver whose chance falls with the level, and is one half at `able`."""
    rng = np.random.default_rng(seed)
    for _ in range(rounds):
        tasks = staircase.ask(2)
        chance = 1 / (1 + np.exp(1.5 * (staircase.place - able)))
        staircase.tell([bool(rng.random() < chance) for _ in tasks])


def counting_ladder() -> Ladder:
    """Levels that take no time; every seed is another problem."""
    from ttt_jax.tasks.graphs.graph import Graph
    from ttt_jax.tasks.graphs.questions import GraphProblem
    from ttt_jax.tasks.task import Task

    def make(level: str, seed: int) -> Task:
        edges = tuple((u, u + 1, 1 + (seed // 9**u) % 9) for u in range(5))
        problem = GraphProblem("max_flow", Graph(6, edges, True, True), (0, 5))
        return Task(f"{level}-{seed}", (), (ProblemText(problem),), None)

    return Ladder("toy", tuple(map(str, range(20))), make)


@pytest.mark.parametrize("target", [0.5, 0.8])
def test_the_staircase_settles_where_accuracy_is_the_target(target):
    staircase = Staircase(counting_ladder(), target)
    play(staircase, 9.0, 300)
    late = [ok for _, ok in staircase.answered[200:]]
    assert np.mean(late) == pytest.approx(target, abs=0.08)
    report = staircase.report()
    # Of 60 such runs, 56 intervals held the true level.
    assert report["at_50"] == pytest.approx(9.0, abs=0.3)
    assert report["low"] < report["at_50"] < report["high"] < report["low"] + 1
    assert sum(of["n"] for of in report["curve"].values()) == report["n"] == 600


def test_nothing_is_asked_twice_and_an_exhausted_level_is_left():
    staircase = Staircase(make_ladder("graphs:cycle", families=("all",)))
    asked = [fingerprint(t.queries[0].problem) for _ in range(4) for t in staircase.ask(3)]
    assert len(set(asked)) == 12 and set(asked) == staircase.seen
    again = Staircase(make_ladder("graphs:cycle", families=("all",)), seen=asked)
    assert not {fingerprint(t.queries[0].problem) for t in again.ask(3)} & set(asked)
    few = Ladder("few", ("a", "b"), lambda level, seed: counting_ladder().make(level, seed % 2 + 2 * (level == "b")))
    climbing = Staircase(few)
    assert [t.id[0] for t in climbing.ask(3)] == ["a", "a", "b"] and climbing.place == 1
    with pytest.raises(Exhausted, match="no new problems at b"):
        climbing.ask(2)


def test_ladders_climb_and_unknown_ones_are_refused():
    zebra = make_ladder("zebra")
    assert zebra.levels[0] == "2x2" and zebra.levels[-1] == "6x6" and len(zebra.levels) == 25
    spaces = [complexity(zebra.make(level, 0).queries[0].problem)["log10_search_space"] for level in zebra.levels[::6]]
    assert spaces == sorted(spaces)
    assert make_ladder("graphs:bfs").make("11", 0).queries[0].problem.graph.nodes == 11
    assert complexity(make_ladder("diagnosis", mode="choice").make("5", 0).queries[0].problem)["diseases"] == 5
    for bad in ("graphs", "graphs:size", "arc"):
        with pytest.raises(ValueError, match="ladder"):
            make_ladder(bad)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Staircase(zebra, target=1.0)


def test_a_threshold_needs_answers_that_get_worse():
    x = list(range(10)) * 20
    rng = np.random.default_rng(0)
    found = threshold(x, [bool(rng.random() < 1 / (1 + np.exp(i - 4.0))) for i in x])
    assert found["low"] < 4.0 < found["high"] and found["high"] - found["low"] < 1.5
    for right in ([True] * 200, [False] * 200, [i > 4 for i in x]):
        assert threshold(x, right) == {"at_50": None, "low": None, "high": None, "n": 200}
    assert threshold([], [])["at_50"] is None and threshold([1, 1], [True, False])["at_50"] is None
