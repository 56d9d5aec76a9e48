import json
import os

import numpy as np
import pytest
from grid_strategies import grids, same_tasks, tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.tasks.arc_files import MAX_BYTES, read_path
from ttt_jax.tasks.task import WHOLE_FILE

GOOD = {"train": [{"input": [[1]], "output": [[2]]}], "test": [{"input": [[3]], "output": [[4]]}]}


def with_input(grid) -> dict:
    return {**GOOD, "train": [{"input": grid, "output": [[2]]}]}


def write(path, content) -> None:
    path.write_text(json.dumps(content))


def as_json(task) -> dict:
    return {
        "train": [{"input": x.tolist(), "output": y.tolist()} for x, y in task.demos],
        "test": [{"input": q.tolist(), "output": a.tolist()} for q, a in zip(task.queries, task.answers, strict=True)],
    }


@given(tasks(max_side=6, max_demos=3))
@settings(max_examples=20, deadline=None)
def test_a_task_is_read_as_it_was_written(tmp_path_factory, task):
    folder = tmp_path_factory.mktemp("one")
    write(folder / "abc.json", as_json(task))
    for path in (folder, folder / "abc.json"):
        loaded = read_path(str(path))
        assert not loaded.refused
        assert [t.id for t in loaded.tasks] == ["abc"]
        assert same_tasks(loaded.tasks[0], task)


MALFORMED = {
    "no_train": ({"test": GOOD["test"]}, "train", "is missing"),
    "no_test": ({"train": GOOD["train"]}, "test", "is missing"),
    "no_demonstrations": ({**GOOD, "train": []}, "train", "no demonstrations"),
    "no_queries": ({**GOOD, "test": []}, "test", "no queries"),
    "no_output": ({**GOOD, "train": [{"input": [[1]]}]}, "train[0].output", "is missing"),
    "no_input": ({**GOOD, "test": [{"output": [[1]]}]}, "test[0].input", "is missing"),
    "ragged": (with_input([[1, 2], [3]]), "train[0].input", "ragged: row 1 has 1 cells, row 0 has 2"),
    "colour_12": (with_input([[12]]), "train[0].input", "cell (0, 0) has colour 12"),
    "negative": (with_input([[1, -1]]), "train[0].input", "cell (0, 1) has colour -1"),
    "rows_31": (with_input([[1]] * 31), "train[0].input", "31 rows"),
    "columns_31": (with_input([[1] * 31]), "train[0].input", "31 cells"),
    "empty_grid": (with_input([]), "train[0].input", "is empty"),
    "empty_row": (with_input([[]]), "train[0].input", "row 0 is empty"),
    "flat": (with_input([1, 2]), "train[0].input", "row 0 must be a list"),
    "bool": (with_input([[True]]), "train[0].input", "must be an integer, not bool"),
    "float": (with_input([[1.0]]), "train[0].input", "must be an integer, not float"),
    "nan": (with_input([[float("nan")]]), "train[0].input", "must be an integer, not float"),
    "null": (with_input([[None]]), "train[0].input", "must be an integer, not null"),
    "text_cell": (with_input([["1"]]), "train[0].input", "must be an integer, not a string"),
    "text_grid": (with_input("1"), "train[0].input", "must be a list of rows"),
    "pair": ({**GOOD, "train": [[[1]], [[2]]]}, "train[0]", "must be an object"),
    "train_object": ({**GOOD, "train": {"input": [[1]]}}, "train", "must be a list"),
    "bad_answer": ({**GOOD, "test": [{"input": [[1]], "output": [[10]]}]}, "test[0].output", "colour 10"),
    "list": ([GOOD], "file", "must hold an object"),
    "number": (7, "file", "must hold an object"),
    "object": ({}, "train", "is missing"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_task_is_refused_by_file_task_and_field_and_the_others_are_read(tmp_path, name):
    content, field, reason = MALFORMED[name]
    write(tmp_path / "a.json", GOOD)
    write(tmp_path / f"{name}.json", content)
    write(tmp_path / "z.json", GOOD)
    loaded = read_path(str(tmp_path))
    assert [t.id for t in loaded.tasks] == ["a", "z"]
    (refused,) = loaded.refused
    assert refused.file == str(tmp_path / f"{name}.json")
    assert (refused.task_id, refused.field) == (name, field)
    assert reason in refused.reason
    assert "\n" not in str(refused)


BYTES = {
    "not_json": (b"{'train': 1}", "is not JSON: "),
    "cut_short": (json.dumps(GOOD).encode()[:-9], "is not JSON: "),
    "empty": (b"", "is empty"),
    "utf_16": (json.dumps(GOOD).encode("utf-16"), "is not UTF-8 text"),
    "binary": (bytes(range(256)), "is not UTF-8 text"),
    "deep": (b"[" * 200_000, "nested too deeply"),
    "long_number": (b'{"train": ' + b"9" * 6000 + b"}", "is not JSON that can be read"),
    "huge": (b" " * (MAX_BYTES + 1), "at most 10 MB"),
}


@pytest.mark.parametrize("name", BYTES)
def test_a_file_that_is_not_readable_json_is_refused_and_the_others_are_read(tmp_path, name):
    content, reason = BYTES[name]
    write(tmp_path / "a.json", GOOD)
    (tmp_path / f"{name}.json").write_bytes(content)
    loaded = read_path(str(tmp_path))
    assert [t.id for t in loaded.tasks] == ["a"]
    (refused,) = loaded.refused
    assert (refused.task_id, refused.field) == (name, "file")
    assert reason in refused.reason


def test_what_is_no_file_is_refused_without_waiting_for_it(tmp_path):
    write(tmp_path / "a.json", GOOD)
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "gone.json").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.json")
    loaded = read_path(str(tmp_path))
    assert [t.id for t in loaded.tasks] == ["a"]
    assert [r.task_id for r in loaded.refused] == ["folder", "gone", "pipe"]


def test_a_byte_order_mark_is_no_reason_to_refuse(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps(GOOD), encoding="utf-8-sig")
    assert not read_path(str(tmp_path)).refused


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=3)
    | grids(max_side=2).map(np.ndarray.tolist),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["train", "test", "input", "output", "x", ""]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(json_values)
@settings(max_examples=150, deadline=None)
def test_any_json_is_read_or_refused_never_a_traceback(tmp_path_factory, value):
    file = tmp_path_factory.mktemp("any") / "x.json"
    write(file, value)
    loaded = read_path(str(file))
    assert loaded.tasks or loaded.refused


def test_challenges_take_their_answers_from_the_solutions_beside_them(tmp_path):
    two = {"train": GOOD["train"], "test": [{"input": [[3]]}, {"input": [[5]]}]}
    write(tmp_path / "x_challenges.json", {"one": {**two, "test": two["test"][:1]}, "two": two, "open": two})
    write(tmp_path / "x_solutions.json", {"one": [[[6]]], "two": [[[7]], [[8]]]})
    write(tmp_path / "sample_submission.json", {"one": [{"attempt_1": [[0]]}]})
    for path in (tmp_path, tmp_path / "x_challenges.json"):
        loaded = read_path(str(path))
        assert not loaded.refused
        answers = {t.id: t.answers and [a.tolist() for a in t.answers] for t in loaded.tasks}
        assert answers == {"one": [[[6]]], "two": [[[7]], [[8]]], "open": None}


def test_without_solutions_there_are_no_answers(tmp_path):
    write(tmp_path / "x_challenges.json", {"one": {"train": GOOD["train"], "test": [{"input": [[3]]}]}})
    (task,) = read_path(str(tmp_path)).tasks
    assert task.answers is None


def test_one_bad_challenge_or_solution_is_refused_alone(tmp_path):
    write(tmp_path / "x_challenges.json", {"good": GOOD, "bad": {"train": []}, "text": "x", "short": GOOD, "a/b": GOOD})
    write(tmp_path / "x_solutions.json", {"good": [[[6]]], "short": []})
    loaded = read_path(str(tmp_path))
    assert [t.id for t in loaded.tasks] == ["good"]
    assert {r.task_id: r.field for r in loaded.refused} == {
        "bad": "train",
        "text": "task",
        "short": "solutions",
        "a/b": "id",
    }


def test_unreadable_solutions_leave_the_tasks_without_answers(tmp_path):
    write(tmp_path / "x_challenges.json", {"one": {"train": GOOD["train"], "test": [{"input": [[3]]}]}})
    (tmp_path / "x_solutions.json").write_text("{")
    loaded = read_path(str(tmp_path))
    assert [t.answers for t in loaded.tasks] == [None]
    assert [(r.file, r.task_id) for r in loaded.refused] == [(str(tmp_path / "x_solutions.json"), WHOLE_FILE)]


def test_a_task_read_twice_is_refused_the_second_time(tmp_path):
    write(tmp_path / "a_challenges.json", {"same": GOOD})
    write(tmp_path / "b_challenges.json", {"same": GOOD})
    loaded = read_path(str(tmp_path))
    assert len(loaded.tasks) == 1
    assert "a_challenges.json already" in loaded.refused[0].reason


def test_a_path_without_tasks_is_an_error_that_names_it(tmp_path):
    with pytest.raises(ValueError, match=r"tasks\.path: no task in .*no \*\.json"):
        read_path(str(tmp_path))
    with pytest.raises(ValueError, match=r"tasks\.path: .*missing does not exist"):
        read_path(str(tmp_path / "missing"))
