"""metrics.json and submission.json against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ttt_jax.evaluate.intervals import wilson
from ttt_jax.evaluate.metrics import compute_metrics
from ttt_jax.evaluate.submission import make_submission
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task

ARC = get_domain("arc")
ARMS = ("in_context", "adapted")


def grid(cell: int) -> np.ndarray:
    return np.full((1, 2), cell, np.int8)


def task(id_: str, *answers: int, known: bool = True) -> Task:
    """A task whose k-th true answer is a grid of the k-th number."""
    truths = tuple(grid(a) for a in answers)
    return Task(id_, ((grid(0), grid(0)),), (grid(0),) * len(answers), truths if known else None)


def arm(*queries: list[int], fell_back: bool = False, adapt: float = 0.0, votes: int = 1) -> dict[str, Any]:
    """Ranked answers to every query, each a grid of that number."""
    ranked = [[{"answer": grid(a).tolist(), "votes": votes, "score": 1.0} for a in answers] for answers in queries]
    seconds = {"adapt": adapt, "decode": 2.0, "select": 0.5}
    tokens = {"adapt": int(adapt * 100), "decode": 10, "prompt": 5}
    return {"ranked": ranked, "seconds": seconds, "tokens": tokens, "fell_back": fell_back}


def record(id_: str, status: str = "done", reason: str | None = None, **arms: Any) -> dict[str, Any]:
    return {"task": id_, "status": status, "reason": reason, "arms": arms, "steps": 8, "final_loss": 0.1}


def metrics(records: list[dict[str, Any]], tasks: list[Task], **options: Any) -> dict[str, Any]:
    return compute_metrics({r["task"]: r for r in records}, tasks, ARC, arms=ARMS, **options)


def value(of: dict[str, Any], arm_name: str, name: str) -> float:
    return of["arms"][arm_name][name]["value"]


# Four tasks: one input; two inputs; failed, its in-context answer right; three inputs.
TASKS = [task("one", 1), task("two", 1, 2), task("failed", 3), task("three", 1, 2, 3)]
RECORDS = [
    record("one", in_context=arm([9, 1]), adapted=arm([1, 9], adapt=1.0)),
    record("two", in_context=arm([1], [9, 8, 7]), adapted=arm([1], [9, 8, 2], adapt=2.0)),
    record("failed", "failed", "not finite", in_context=arm([3]), adapted=arm([3], fell_back=True, adapt=3.0)),
    record("three", in_context=arm([], [2], [9]), adapted=arm([1], [9, 2], [3], adapt=4.0)),
]


def test_a_task_counts_where_all_its_inputs_are_right():
    found = metrics(RECORDS, TASKS)
    assert [value(found, "in_context", f"pass@{k}") for k in (1, 2)] == [1 / 4, 2 / 4]
    assert [value(found, "adapted", f"pass@{k}") for k in (1, 2)] == [1 / 4, 2 / 4]


def test_partial_credit_is_the_mean_share_of_inputs():
    found = metrics(RECORDS, TASKS)
    assert value(found, "in_context", "pass@2_partial") == pytest.approx((1 + 1 / 2 + 1 + 1 / 3) / 4)
    assert value(found, "adapted", "pass@1_partial") == pytest.approx((1 + 1 / 2 + 0 + 2 / 3) / 4)
    assert value(found, "adapted", "pass@2_partial") == pytest.approx((1 + 1 / 2 + 0 + 1) / 4)


def test_outputs_count_every_input_alike():
    found = metrics(RECORDS, TASKS)
    assert found["arms"]["adapted"]["outputs@2"]["n"] == 7
    assert value(found, "adapted", "outputs@2") == 5 / 7
    assert value(found, "in_context", "outputs@1") == 3 / 7


def test_coverage_asks_for_the_right_answer_of_every_input_at_any_place():
    found = metrics(RECORDS, TASKS)
    assert value(found, "adapted", "coverage") == 3 / 4
    assert value(found, "in_context", "coverage") == 2 / 4


def test_an_answer_that_no_candidate_gave_is_not_covered():
    found = metrics([record("one", adapted=arm([1], votes=0))], [task("one", 1)])
    assert value(found, "adapted", "pass@1") == 1
    assert value(found, "adapted", "coverage") == 0


@pytest.mark.parametrize("status", ["failed", "too_long"])
def test_a_task_that_was_not_adapted_is_wrong_in_the_adapted_arm_only(status):
    right = arm([1])
    for adapted in ({}, {"adapted": {**right, "fell_back": True}}, {"adapted": right}):
        found = metrics([record("one", status, "why", in_context=right, **adapted)], [task("one", 1)])
        assert value(found, "in_context", "pass@1") == 1
        assert [value(found, "adapted", name) for name in ("pass@1", "pass@2", "coverage", "outputs@2")] == [0] * 4
        assert found["failed"] == 1 and found["statuses"] == {status: 1}


def test_a_refused_task_counts_as_wrong_in_every_arm():
    found = metrics([*RECORDS, record("bad", "refused", "ragged grid")], TASKS)
    assert found["tasks"] == 5 and found["failed"] == 2
    assert value(found, "in_context", "pass@2") == 2 / 5
    assert value(found, "adapted", "pass@2") == 2 / 5


def test_intervals_stand_beside_the_values():
    numbers = metrics(RECORDS, TASKS)["arms"]["adapted"]
    assert (numbers["pass@2"]["low"], numbers["pass@2"]["high"]) == wilson(2, 4)
    assert numbers["pass@2_partial"]["low"] < numbers["pass@2_partial"]["value"] < numbers["pass@2_partial"]["high"]
    assert all(0 <= n["low"] <= n["value"] <= n["high"] <= 1 for n in numbers.values())


def test_costs_are_summed_over_tasks_and_arms():
    found = metrics(RECORDS, TASKS, about={"seconds": {"load": 3.0, "compile": 7.0}, "compilations": 2, "seed": 5})
    assert found["seconds"] == {"load": 3.0, "compile": 7.0, "adapt": 10.0, "decode": 16.0, "select": 4.0}
    assert found["seconds_by_arm"]["adapted"] == {"adapt": 10.0, "decode": 8.0, "select": 2.0}
    assert found["tokens"] == {"adapt": 1000, "decode": 80, "prompt": 40}
    assert found["compilations"] == 2 and found["seed"] == 5 and found["fell_back"] == 1


def test_every_promised_field_is_there():
    promised = {"benchmark", "tasks", "failed", "arms", "seconds", "tokens", "compilations"}
    assert promised | {"model", "device", "versions", "seed", "command"} <= metrics(RECORDS, TASKS).keys()


def test_the_place_of_every_right_answer_is_kept_for_pairing():
    per_task = metrics(RECORDS, TASKS)["per_task"]
    assert per_task["two"] == {"in_context": [1, None], "adapted": [1, 3]}
    assert per_task["failed"] == {"in_context": [1], "adapted": [None]}
    assert per_task["three"]["adapted"] == [1, 2, 1]


def test_without_known_answers_nothing_is_scored_and_the_submission_is_written():
    tasks = [task("one", 1, known=False)]
    records = [record("one", in_context=arm([1]), adapted=arm([1, 9])), record("bad", "refused", "empty")]
    found = metrics(records, tasks)
    assert all(number is None for numbers in found["arms"].values() for number in numbers.values())
    assert found["tasks"] == 2
    assert submission(records, tasks) == {"one": [{"attempt_1": [[1, 1]], "attempt_2": [[9, 9]]}]}


def test_only_tasks_with_known_answers_are_scored():
    found = metrics([*RECORDS, record("unknown", adapted=arm([1]))], [*TASKS, task("unknown", 1, known=False)])
    assert found["tasks"] == 5 and found["arms"]["adapted"]["pass@2"]["n"] == 4
    assert found["per_task"]["unknown"] == {}


def test_the_metrics_do_not_depend_on_the_order_of_finishing():
    a, b = metrics(RECORDS, TASKS), metrics(RECORDS[::-1], TASKS[::-1])
    assert a == b


def test_more_attempts_have_their_own_number():
    found = metrics(RECORDS, TASKS, attempts=3)
    assert value(found, "adapted", "pass@3") == 3 / 4


def test_a_record_that_does_not_fit_its_task_is_an_error():
    with pytest.raises(ValueError, match=r"task two.*1 queries, the task has 2"):
        metrics([record("two", adapted=arm([1]))], TASKS)
    with pytest.raises(ValueError, match="task gone"):
        metrics([record("gone", adapted=arm([1]))], TASKS)


def submission(records: list[dict[str, Any]], tasks: list[Task], **options: Any) -> dict[str, Any]:
    return make_submission({r["task"]: r for r in records}, tasks, **options)


def answers(*cells: int) -> dict[str, Any]:
    return {f"attempt_{i}": grid(cell).tolist() for i, cell in enumerate(cells, 1)}


def test_the_submission_has_two_attempts_for_every_input_of_every_task():
    assert submission(RECORDS, TASKS) == {
        "failed": [answers(3, 3)],
        "one": [answers(1, 9)],
        # In context there is one more answer to fill a place with, and where not, the first is repeated.
        "three": [answers(1, 1), answers(9, 2), answers(3, 9)],
        "two": [answers(1, 1), answers(9, 8)],
    }


def test_a_task_that_was_not_adapted_is_answered_in_context():
    for rest in ({}, {"adapted": arm([4, 5], fell_back=True)}):
        records = [record("one", "failed", "why", in_context=arm([4, 5]), **rest)]
        assert submission(records, [task("one", 1)]) == {"one": [answers(4, 5)]}


def test_places_without_any_answer_hold_a_grid():
    assert submission([record("one", "too_long", "why")], [task("one", 1)]) == {
        "one": [{"attempt_1": [[0]], "attempt_2": [[0]]}]
    }
    text = Task("t", (("a", "b"),), ("c",))
    assert submission([record("t", "failed", "why")], [text], attempts=1) == {"t": [{"attempt_1": ""}]}


def test_unfinished_tasks_are_not_submitted_and_another_arm_can_be():
    assert submission([], TASKS) == {}
    assert submission(RECORDS[:1], TASKS, arm="in_context", attempts=1) == {"one": [answers(9)]}
