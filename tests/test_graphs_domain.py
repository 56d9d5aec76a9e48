"""Graph tasks: transformed, answered, voted on and scored."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.graphs.answers import problem_of_truth, truth
from ttt_jax.tasks.graphs.domain import GraphsDomain
from ttt_jax.tasks.graphs.graph import GraphError
from ttt_jax.tasks.graphs.questions import QUESTIONS, reference
from ttt_jax.tasks.graphs.sets import GraphOptions, make_task, make_tasks
from ttt_jax.tasks.graphs.transforms import KINDS, GraphTransform

DOMAIN = GraphsDomain()
OPTIONS = GraphOptions("test", nodes=("7",), each=1, demos=2, families=("all",))
TASKS = make_tasks(OPTIONS)
LATENT = make_tasks(GraphOptions("test", nodes=("6",), each=2, demos=2, families=("all",), convention="latent"))


@pytest.mark.parametrize("task", TASKS + LATENT, ids=lambda t: t.id)
def test_a_transformed_task_is_solved_by_transformed_answers_and_inverts_exactly(task):
    for seed in range(4):
        transform = DOMAIN.transform(KINDS, task, np.random.default_rng(seed))
        changed = transform.apply(task)
        for x, y in [*changed.demos, *zip(changed.queries, changed.answers, strict=True)]:
            assert DOMAIN.same(reference(x.problem), y) and problem_of_truth(y).graph == x.problem.graph
        for answer, wanted in zip(changed.answers, task.answers, strict=True):
            # A text that is right in the view is right when mapped back, and the truth itself comes back.
            assert DOMAIN.same(transform.invert(DOMAIN.parse_text(DOMAIN.answer_text(answer))), wanted)
            back = transform.invert(answer)
            assert {frozenset(e[:2]) for e in back["graph"]["edges"]} == {
                frozenset(e[:2]) for e in wanted["graph"]["edges"]
            } and back["args"] == wanted["args"]
        assert transform.apply(task.hide_answers()).queries == changed.queries


def test_renumbering_leaves_numbers_and_nonsense_as_they_are():
    labels = (2, 0, 1)
    assert GraphTransform("degree", labels).invert("2") == "2"
    assert GraphTransform("cycle", labels).invert("yes") == "yes"
    assert GraphTransform("pagerank", labels).invert("2") == "0"
    assert GraphTransform("neighbours", labels).invert("0, 2") == "0, 1"
    assert GraphTransform("bfs", labels).invert("0, 1, 2") == "1, 2, 0"
    assert GraphTransform("spanning_tree", labels).invert("(0, 1), (1, 2)") == "(0, 2), (1, 2)"
    for nonsense in ("9", "many", "none", "(0, 9)", ""):
        assert GraphTransform("neighbours", labels).invert(nonsense) == nonsense


def test_views_begin_with_identity_and_differ():
    views = DOMAIN.views(KINDS, TASKS[0], 6, np.random.default_rng(0))
    assert views[0].name == views[0].group == "identity" and len(views) == 6
    assert len({v.apply(TASKS[0]).queries for v in views}) == 6
    with pytest.raises(ValueError, match="did you mean 'nodes'"):
        DOMAIN.views(("node",), TASKS[0], 2, np.random.default_rng(0))


def test_every_right_answer_is_the_same_as_the_truth_and_wrong_ones_are_not():
    for task in TASKS:
        wanted = task.answers[0]
        assert DOMAIN.same(wanted["answer"], wanted) and DOMAIN.same(wanted, wanted["answer"])
        assert not DOMAIN.same("perhaps", wanted) and not DOMAIN.same("99999", wanted)
        assert DOMAIN.key(wanted) == DOMAIN.key(wanted["answer"])
        back = DOMAIN.from_json(json.loads(json.dumps(DOMAIN.to_json(wanted))))
        assert DOMAIN.same(back, wanted) and back == wanted
    assert DOMAIN.same("1,2", "1, 2") and DOMAIN.key("[1,2]") == DOMAIN.key("1, 2") and not DOMAIN.same("1", "2")
    with pytest.raises(ValueError, match="no answer"):
        DOMAIN.from_json([1])
    with pytest.raises(GraphError, match="no truth"):
        DOMAIN.from_json({"answer": "1"})


def test_tasks_share_question_size_and_convention_and_come_from_the_seed():
    for task in LATENT:
        problems = [x.problem for x in (*(x for x, _ in task.demos), *task.queries)]
        assert len({(p.task, p.graph.nodes, p.graph.directed, p.convention) for p in problems}) == 1
        assert problems[0].convention and len({str(p) for p in problems}) == 3
    assert make_task(OPTIONS, "bfs", 0) == next(t for t in TASKS if "-bfs-" in t.id)
    query = TASKS[0].queries[0]
    assert pickle.loads(pickle.dumps(query)).problem == query.problem


def test_prompts_ask_for_a_box_and_grow_with_the_demos():
    task = TASKS[0]
    two = DOMAIN.prompt(task.demos, task.queries[0])
    one = DOMAIN.prompt(task.demos[:1], task.queries[0])
    assert "\\boxed{}" in two and two.startswith(one.removesuffix(DOMAIN.question(task.queries[0])))
    assert "steps" in DOMAIN.prompt((), task.queries[0])


def test_rates_by_question_and_held_out():
    answers = {t.id: [t.answers[0]["answer"]] if QUESTIONS[t.answers[0]["task"]].held_out else [None] for t in TASKS}
    found = DOMAIN.measure(TASKS, answers)
    assert found["held_out"]["accuracy"] == {**found["held_out"]["accuracy"], "value": 1.0, "n": 3}
    assert found["in_domain"]["no_answer"]["value"] == 1.0 and found["all"]["accuracy"]["value"] == 3 / 13
    assert found["bfs"]["accuracy"]["n"] == 1


def test_problems_of_a_file_are_read_and_bad_ones_refused(tmp_path):
    good = TASKS[0]
    rows = [
        {"id": "a", "problem": str(good.queries[0]), "answer": good.answers[0]["answer"]},
        {"id": "b", "problem": str(good.queries[0]), "answer": "777"},
        {"id": "c", "problem": "Given a graph."},
        {"id": "d"},
    ]
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    loaded = DOMAIN.read(TasksConfig(domain="graphs", path=str(path)))
    assert [t.id for t in loaded.tasks] == ["a"] and DOMAIN.same(good.answers[0]["answer"], loaded.tasks[0].answers[0])
    assert [(r.task_id, r.field) for r in loaded.refused] == [
        ("b", "answer"), ("c", "problem"), ("d", "problem"), ("#5", "record"),
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"expected a \.jsonl file"):
        DOMAIN.read(TasksConfig(domain="graphs", path=str(tmp_path / "none.jsonl")))


def test_a_truth_is_plain_json():
    assert json.loads(json.dumps(truth(TASKS[0].queries[0].problem))) == truth(TASKS[0].queries[0].problem)
