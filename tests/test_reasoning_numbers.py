"""Steps and difficulty in metrics.json and the report: what is judged, against which problem, and how it is counted."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from text_tools import tiny_tokenizer

from ttt_jax.config import TasksConfig
from ttt_jax.decode.candidate import Candidate, Ranked
from ttt_jax.decode.views import View
from ttt_jax.evaluate.drawing import draw_accuracy
from ttt_jax.evaluate.reasoning import (
    about_problems,
    accuracy_curve,
    chosen_steps,
    difficulty_curves,
    process_numbers,
    process_table,
)
from ttt_jax.evaluate.reasoning_plot import markdown_table, plot_difficulty
from ttt_jax.process.judging import judged_steps
from ttt_jax.process.steps import NOT_ENTAILED, UNREADABLE, write_steps
from ttt_jax.tasks.registry import get_domain

GOOD, BAD = ("a", "", ""), ("b", NOT_ENTAILED, "House 1 Name = Eric")


def record(group: str, steps, complexity, **options) -> dict:
    arm = {"steps": [steps], "fell_back": False, **options}
    return {"group": group, "complexity": [complexity], "arms": {"in_context": arm}}


def test_steps_are_verified_against_the_problem_as_the_view_shows_it():
    source = "zebra/test?sizes=3x2&demos=1&each=1&steps=true"
    domain = get_domain("zebra").bind(tiny_tokenizer())
    (task,) = domain.read(TasksConfig(domain="zebra", source=source)).tasks
    moved = domain.views(("values", "clues", "mirror"), task, 4, np.random.default_rng(0))
    for transform in moved:
        view = View(task.hide_answers(), 0, transform, domain.encode((), task.queries[0]))
        shown = transform.apply(task)
        right = domain._tokens(domain.solved_text(shown.queries[0], shown.answers[0]))
        found = judged_steps(view, domain, right)
        assert found and all(reason == "" for _, reason, _ in found)
        # The worked answer to the task as given is wrong in a view that says everything otherwise.
        if transform.name != "identity":
            other = domain._tokens(domain.solved_text(task.queries[0], task.answers[0]))
            assert any(reason for _, reason, _ in judged_steps(view, domain, other))
    wrong = judged_steps(view, domain, domain._tokens(write_steps(["clue 99 says so"])))
    assert [reason for _, reason, _ in wrong] == [UNREADABLE]
    (plain,) = domain.read(TasksConfig(domain="zebra", source=source.replace("&steps=true", ""))).tasks
    assert judged_steps(View(plain, 0, moved[0], view.prompt), domain, right) is None


def test_the_chain_of_an_answer_is_that_of_the_likeliest_candidate_that_gave_it():
    domain = SimpleNamespace(key=str)

    def candidate(answer, logprob, name):
        return Candidate(0, "identity", "identity", 0, (), logprob, answer, steps=((name, "", ""),))

    candidates = [candidate("x", -3.0, "1"), candidate("y", -1.0, "2"), candidate("x", -2.0, "3")]
    assert chosen_steps(candidates, [Ranked("x", 2, 2.0)], domain) == (("3", "", ""),)
    assert chosen_steps(candidates, [], domain) == (("2", "", ""),)
    assert chosen_steps([], [], domain) is None


def test_process_numbers_count_each_group_and_leave_out_borrowed_answers():
    records = {
        "a": record("easy", [GOOD, GOOD], {}),
        "b": record("hard", [GOOD, BAD], {}),
        "c": record("hard", [BAD], {}, fell_back=True),
        "d": record("hard", None, {}),
    }
    right = {"in_context": {"a": [True], "b": [True], "c": [True], "d": [True]}, "adapted": {"a": [True]}}
    found = process_numbers(records, right)
    assert list(found) == ["in_context"] and list(found["in_context"]) == ["all", "easy", "hard"]
    of_all = found["in_context"]["all"]
    assert of_all["step_validity"]["value"] == 0.75 and of_all["right_by_invalid"]["value"] == 0.5
    assert found["in_context"]["hard"]["first_errors"] == {NOT_ENTAILED: 1}
    table = process_table(found)
    assert [row[0] for row in table] == ["", "all, in-context", "easy, in-context", "hard, in-context"]
    assert table[1][1].startswith("75.0 (") and process_table({}) == []


def test_accuracy_is_given_over_the_values_of_a_number_or_over_full_ranges_of_it():
    few = accuracy_curve([1, 1, 2, 2, 3, 3], [True, True, True, False, False, False])
    assert [(b["mean"], b["value"], b["n"]) for b in few["bins"]] == [(1, 1.0, 2), (2, 0.5, 2), (3, 0.0, 2)]
    assert 1 < few["at_50"] < 3
    x = np.arange(100.0)
    many = accuracy_curve(x, x < 50)
    assert sum(b["n"] for b in many["bins"]) == 100 and max(b["n"] for b in many["bins"]) <= 18
    assert all(b["from"] <= b["mean"] <= b["to"] for b in many["bins"])
    assert many["at_50"] == pytest.approx(49.5, abs=1)
    assert "50%" in draw_accuracy({"in-context": few["bins"], "adapted": many["bins"]})


def test_difficulty_curves_keep_groups_apart_and_say_where_accuracy_is_one_half():
    easy = {f"e{i}": record("easy", None, {"nodes": float(i)}) for i in range(8)}
    hard = {f"h{i}": record("hard", None, {"conflicts": float(i % 2)}) for i in range(4)}
    right = {"in_context": {id_: [int(id_[1:]) < 4] for id_ in (*easy, *hard)}}
    found = difficulty_curves({**easy, **hard}, right)["in_context"]
    assert found.keys() == {"easy", "hard"} and found["easy"].keys() == {"nodes"}
    assert found["easy"]["nodes"]["at_50"] == pytest.approx(3.5, abs=0.5)
    assert found["hard"]["conflicts"]["at_50"] is None


def test_records_of_problems_tell_group_and_difficulty_and_those_of_texts_nothing():
    domain = get_domain("graphs")
    (task,) = domain.read(TasksConfig(source="graphs/test?questions=degree&nodes=7&each=1")).tasks
    about = about_problems(task, domain)
    assert about["group"] == "graphs" and about["complexity"][0]["nodes"] == 7
    assert about_problems(SimpleNamespace(queries=("text",), family=""), domain) == {}


def test_an_evaluation_is_a_table_of_its_numbers_and_a_panel_for_every_difficulty_that_varies(tmp_path):
    share = {"value": 0.25, "low": 0.1, "high": 0.5, "n": 8}
    curve = accuracy_curve([1.0, 2.0, 2.0], [True, True, False])
    numbers = {"accuracy": share, "step_validity": share, "seconds": 1.5}
    conditions = {"zero_shot": {"accuracy": None, "seconds": 0.5}, "adapted": numbers}
    differences = {"adapted - zero_shot": {"difference": 0.25, "low": -0.05, "high": 0.5}}
    drawn = {"conflicts": curve, "clues": curve, "nodes": accuracy_curve([3.0], [True])}
    evaluation = {
        "tasks": 8, "model": "m", "command": "python scripts/evaluate.py", "device": {"count": 1, "kind": "cpu"},
        "groups": {"zebra": {"tasks": 8, "conditions": conditions, "differences": differences}},
        "difficulty": {"adapted": {"zebra": drawn}, "zero_shot": None},
    }  # fmt: skip
    table = markdown_table(evaluation)
    assert "| zebra (8) | zero-shot |  |  |  | 0.50 |" in table
    assert "|  | adapted | 25.0% (10 to 50) | 25.0% (10 to 50) |  | 1.50 |" in table
    assert "zebra, adapted less zero-shot: +25.0 points (-5.0 to +50.0), paired." in table
    assert plot_difficulty(evaluation, tmp_path / "a.png") == 1  # clues are not drawn, and nodes do not vary
    assert (tmp_path / "a.png").stat().st_size > 3000
    assert plot_difficulty({"difficulty": {}}, tmp_path / "b.png") == 0 and not (tmp_path / "b.png").exists()
