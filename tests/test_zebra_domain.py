"""Puzzles as text and records: read, written, transformed, answered and scored."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.last_json import last_json
from ttt_jax.tasks.zebra.answers import WORKED_EXAMPLE, cell_majority, most_common, normal
from ttt_jax.tasks.zebra.domain import ZebraDomain
from ttt_jax.tasks.zebra.generate import generate
from ttt_jax.tasks.zebra.puzzle import Attribute
from ttt_jax.tasks.zebra.records import Record, read_record, read_records, write_records
from ttt_jax.tasks.zebra.scoring import rates, score
from ttt_jax.tasks.zebra.sets import ZebraOptions, make_records, make_tasks
from ttt_jax.tasks.zebra.solver import solve
from ttt_jax.tasks.zebra.transforms import KINDS, ZebraTransform
from ttt_jax.tasks.zebra.vocabulary import draw_attributes, vocabularies
from ttt_jax.tasks.zebra.wording import CONVENTIONS, WORDINGS, WordingError, find_item, read_puzzle

DOMAIN = ZebraDomain()
TASKS = make_tasks(ZebraOptions("development", sizes=("3x3", "4x3"), each=1, demos=3, queries=2))

PUBLIC = """There are 2 houses, numbered 1 to 2 from left to right, as seen from across the street.
 - Each person has a unique name: `Arnold`, `Eric`
 - People have unique heights: `very short`, `short`
 - People have unique hair colors: `black`, `blonde`
 - Each person has a favorite color: `black`, `white`
 - The people are of nationalities: `swede`, `brit`
 - Each person has a birthday month: `sept`, `april`

## Clues:
1. The person who is short is directly left of the person who is very short.
2. The person whose birthday is in September is not in the first house.
3. The British person is the person who has black hair.
4. The person whose favorite color is black is in the second house.
5. Eric and the Swedish person are next to each other.
6. Eric is the person who is short.
"""
PUBLIC_HEADER = ["House", "Name", "Height", "HairColor", "Color", "Nationality", "Birthday"]


def record(**changes) -> dict:
    solution = {"header": PUBLIC_HEADER, "rows": [["___"] * 7] * 2}
    return {"id": "lgp-test-2x6-1", "size": "2*6", "puzzle": PUBLIC, "solution": solution, **changes}


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(vocabularies())),
    st.sampled_from(sorted(WORDINGS)),
    st.sampled_from(("", *CONVENTIONS)),
    st.integers(2, 6),
    st.integers(2, 6),
    st.integers(0, 10**6),
)
def test_a_puzzle_is_read_back_from_its_text(theme, wording, convention, houses, attributes, seed):
    rng = np.random.default_rng(seed)
    chosen = draw_attributes(theme, houses, attributes, rng)
    puzzle = generate(chosen, rng, wording=wording, convention=convention).puzzle
    back = read_puzzle(str(puzzle), [a.name for a in chosen], convention=convention)
    assert back.clues == puzzle.clues and back.attributes == puzzle.attributes


def test_a_public_puzzle_in_its_own_words_is_understood_and_solved():
    found = read_record(record(created_at="2024", author={"x": 1}), "f", 1)
    assert isinstance(found, Record)
    assert [c.kind for c in found.puzzle.clues] == [
        "consecutive", "not_at", "same_house", "found_at", "beside", "same_house",
    ]  # fmt: skip
    rows = found.to_json()["solution"]["rows"]
    assert rows == [
        ["1", "Eric", "short", "black", "white", "brit", "april"],
        ["2", "Arnold", "very short", "blonde", "black", "swede", "sept"],
    ]
    assert found.to_json()["author"] == {"x": 1} and found.to_json()["puzzle"] == PUBLIC


def test_records_survive_the_file_with_unknown_fields(tmp_path):
    records = make_records("test", 1, each=1, sizes=("2x3", "3x2", "4x4"))
    write_records(tmp_path / "set.jsonl", records)
    back, refused = read_records(tmp_path)
    assert not refused and [r.to_json() for r in back] == [r.to_json() for r in records]
    assert set(records[0].extra) == {"search_space", "level", "conflicts", "proof_conflicts", "wording"}
    (tmp_path / "set.jsonl").rename(tmp_path / "set.txt")
    (tmp_path / "list.json").write_text(json.dumps([r.to_json() for r in records]))
    loaded = DOMAIN.read(TasksConfig(domain="zebra", path=str(tmp_path)))
    assert [t.id for t in loaded.tasks] == [r.id for r in records]


@pytest.mark.parametrize(
    ("changes", "field", "reason"),
    [
        ({"puzzle": PUBLIC.replace("6. Eric is the person who is short.\n", "")}, "puzzle", "ambiguous"),
        ({"puzzle": PUBLIC + "7. Eric is in the second house.\n"}, "puzzle", "unsatisfiable"),
        ({"puzzle": PUBLIC + "7. Eric sings.\n"}, "puzzle", "clue 7"),
        ({"puzzle": PUBLIC + "7. Nobody is in the first house.\n"}, "puzzle", "'nobody' names none"),
        ({"puzzle": "Who owns the zebra?"}, "puzzle", "no \"## Clues\""),
        ({"puzzle": 3}, "puzzle", "expected text"),
        ({"size": "3*6"}, "size", "the puzzle is 2*6"),
        ({"solution": {"header": PUBLIC_HEADER[:-1], "rows": []}}, "puzzle", "lists 6 characteristics"),
        ({"solution": {"header": PUBLIC_HEADER, "rows": [["1"] + ["x"] * 6, ["2"] + ["y"] * 6]}}, "solution.rows",
         "the clues allow only 'Eric'"),
        ({"solution": None}, "solution", "header"),
    ],
)  # fmt: skip
def test_a_bad_record_is_refused_by_name(changes, field, reason, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([record(**changes), record(id="good"), "text", record(id="good")]))
    records, refused = read_records(tmp_path / "a.json")
    assert [r.id for r in records] == ["good"]
    assert refused[0].task_id == "lgp-test-2x6-1" and refused[0].field == field and reason in str(refused[0])
    assert [r.reason for r in refused[1:]] == ["expected an object, found str", "another record has it"]


def test_a_missing_field_is_refused_and_a_broken_file_is_an_error(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"id": "x", "size": "2*2"}) + "\n")
    _, refused = read_records(tmp_path)
    assert refused[0].field == "puzzle" and refused[0].reason == "is missing"
    (tmp_path / "a.jsonl").write_text("{}\n{")
    with pytest.raises(ValueError, match="record 2 is no JSON"):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("Alice", "Name Alice"), ("the person's child is named Alice", "Children Alice"),
        ("the person who loves the rose bouquet", "Flower roses"), ("a vase of tulips", "Flower tulips"),
        ("the person who keeps horses", "Animal horse"), ("the Swedish person", "Nationality swede"),
        ("the person who paints as a hobby", "Hobby painting"), ("the owner of a Ford F-150", "CarModel ford f150"),
        ("the person who loves hip-hop music", "MusicGenre hip hop"), ("the person with red hair", "HairColor red"),
        ("the person whose favorite color is red", "Color red"), ("the person whose birthday is in March", "Month mar"),
        ("the person who smokes Yellow Monster", "Cigar yellow monster"),
        ("the person who loves yellow", "Color yellow"),
    ],
)  # fmt: skip
def test_people_are_recognised_as_public_puzzles_describe_them(phrase, expected):
    listed = {
        "Name": "Alice, Eric", "Children": "Fred, Alice", "Flower": "roses, tulips", "Animal": "horse, cat",
        "Nationality": "swede, dane", "Hobby": "painting, cooking", "CarModel": "ford f150, tesla model 3",
        "MusicGenre": "hip hop, pop", "HairColor": "red, black", "Color": "red, yellow", "Month": "mar, april",
        "Cigar": "yellow monster, prince",
    }  # fmt: skip
    attributes = [
        Attribute(name, "", "{}" if name == "Name" else "the person whose thing is {}", tuple(of.split(", ")))
        for name, of in listed.items()
    ]
    a, v = find_item(phrase, attributes)
    assert f"{attributes[a].name} {attributes[a].values[v]}" == expected


def test_a_value_that_two_attributes_share_needs_its_context():
    attributes = read_puzzle(PUBLIC, PUBLIC_HEADER[1:]).attributes
    assert find_item("the person who has black hair", attributes) == (2, 0)
    with pytest.raises(WordingError, match="HairColor black or Color black"):
        find_item("the person in black", attributes)


@pytest.mark.parametrize("task", TASKS, ids=lambda t: t.id)
@pytest.mark.parametrize("kinds", [(kind,) for kind in KINDS] + [KINDS], ids="+".join)
def test_a_transformed_task_is_solved_by_transformed_answers_and_inverts_exactly(task, kinds):
    for seed in range(5):
        transform = DOMAIN.transform(kinds, task, np.random.default_rng(seed))
        changed = transform.apply(task)
        for x, y in [*changed.demos, *zip(changed.queries, changed.answers, strict=True)]:
            solved = solve(x.problem)
            assert solved.unique and DOMAIN.same(x.problem.answer(solved.solution), y)
        for answer, truth in zip(changed.answers, task.answers, strict=True):
            assert DOMAIN.same(transform.invert(answer), truth)
        hidden = transform.apply(task.hide_answers())
        assert hidden.answers is None and hidden.queries == changed.queries


def test_views_begin_with_identity_and_differ():
    views = DOMAIN.views(KINDS, TASKS[0], 8, np.random.default_rng(0))
    assert views[0] == ZebraTransform() and views[0].name == "identity" and len(views) == 8
    assert len({tuple(v.apply(TASKS[0]).queries) for v in views}) == 8
    assert {v.group for v in views} == {"identity", "mirror"}
    # The mirror alone has one view beside the identity.
    assert len(DOMAIN.views(("mirror",), TASKS[0], 8, np.random.default_rng(0))) == 2
    with pytest.raises(ValueError, match="did you mean 'mirror'"):
        DOMAIN.views(("miror",), TASKS[0], 2, np.random.default_rng(0))


def test_the_mirror_of_an_incomplete_answer_keeps_its_houses():
    mirror = ZebraTransform(mirror=3)
    assert mirror.invert({"House 1": {"Name": "Eric"}}) == {"House 3": {"Name": "Eric"}}
    assert mirror.invert({"house 7": {"Name": "x"}, "Shed": {"Name": "y"}}) == {
        "house 7": {"Name": "x"}, "Shed": {"Name": "y"},
    }  # fmt: skip


def test_texts_carry_their_problem_through_pickle_and_are_plain_strings_in_json():
    query = TASKS[0].queries[0]
    back = pickle.loads(pickle.dumps(query))
    assert back == query and back.problem == query.problem and isinstance(query, str)
    assert json.loads(json.dumps(query)) == str(query)
    plain = TASKS[0].__class__("x", (), (str(query),))
    with pytest.raises(ValueError, match="load the tasks again"):
        DOMAIN.transform(("clues",), plain, np.random.default_rng(0)).apply(plain)


def test_a_prompt_shows_demos_or_else_the_worked_example_and_its_answers_parse():
    task = TASKS[0]
    zero = DOMAIN.prompt((), task.queries[0])
    assert WORKED_EXAMPLE in zero and '"House 3": {"Name": "___"' in zero and zero.index(task.queries[0]) > 0
    few = DOMAIN.prompt(task.demos[:2], task.queries[0])
    assert all(DOMAIN.answer_text(y) in few for _, y in task.demos[:2]) and WORKED_EXAMPLE not in few
    assert DOMAIN.prompt(task.demos, task.queries[0]).startswith(few.removesuffix(DOMAIN.question(task.queries[0])))
    for _, y in task.demos:
        assert DOMAIN.same(DOMAIN.parse_text("So:\n" + DOMAIN.answer_text(y) + "\nDone."), y)


def test_the_worked_example_is_right():
    text = WORKED_EXAMPLE.removeprefix("# Example\n\n")
    puzzle = read_puzzle(text.split('{"reasoning"')[0], ["Name", "Cake"])
    solved = solve(puzzle)
    assert solved.unique
    assert DOMAIN.same(DOMAIN.parse_text(WORKED_EXAMPLE), puzzle.answer(solved.solution))


def test_the_last_complete_json_counts():
    assert last_json('{"a": 1} then {"b": {"c": 2}} and {"d": ') == {"b": {"c": 2}}
    assert last_json('say "{" and {"a": "}{"}') == {"a": "}{"}
    assert last_json("none") is None and last_json("[1]") is None and last_json("{not json}") is None


def test_an_enormous_answer_is_read_in_a_moment():
    for text in ("{" * 10**6, '{"a":' * 10**6, "[" * 10**6, "x" * 10**7, '{"House 1": {"Name": "' + "e" * 10**6):
        assert DOMAIN.parse_text(text) is None
    assert DOMAIN.parse_text("x" * 10**6 + '{"House 1": {"Name": "Eric"}}') == {"House 1": {"Name": "Eric"}}


@pytest.mark.parametrize("text", ["", '{"solution": 3}', '{"solution": {"House 1": "Eric"}}', "{}", '{"a": {}}'])
def test_what_has_no_cell_is_no_answer(text):
    assert DOMAIN.parse_text(text) is None


def test_cells_are_compared_lower_cased_and_stripped_and_keys_agree():
    a, b = {"House 1": {"Name": " ERIC"}}, {"house 1": {"name": "eric "}}
    c = {"House 1": {"Name": "Peter"}}
    assert DOMAIN.same(a, b) and DOMAIN.key(a) == DOMAIN.key(b)
    assert not DOMAIN.same(a, c) and DOMAIN.key(a) != DOMAIN.key(c)
    assert DOMAIN.same(DOMAIN.from_json(json.loads(json.dumps(DOMAIN.to_json(a)))), a)
    with pytest.raises(ValueError, match="no solution"):
        DOMAIN.from_json(["x"])


def test_rates_count_puzzles_cells_and_missing_answers_by_level():
    truth = {"House 1": {"Name": "a", "Pet": "x"}, "House 2": {"Name": "b", "Pet": "y"}}
    half = {"House 1": {"Name": "A ", "Pet": "y"}, "House 2": {"Name": "b"}, "House 3": {"Name": "b"}}
    assert (score(half, truth).right, score(half, truth).cells, score(half, truth).solved) == (2, 4, False)
    large = {f"House {h}": {f"A{a}": f"{h}{a}" for a in range(4)} for h in range(1, 6)}
    found = rates([score(truth, truth), score(half, truth), score(None, truth), score(large, large)])
    assert found["S"]["puzzle"]["value"] == pytest.approx(1 / 3) and found["S"]["cell"]["value"] == pytest.approx(0.5)
    assert found["S"]["no_answer"]["value"] == pytest.approx(1 / 3) and found["S"]["puzzle"]["n"] == 3
    assert set(found) == {"all", "S", "L"} and found["all"]["puzzle"]["value"] == 0.5
    measured = DOMAIN.measure(TASKS, {TASKS[0].id: TASKS[0].answers})
    assert measured["all"]["puzzle"]["value"] == 0.5 and measured["all"]["no_answer"]["value"] == 0.5


def test_votes_by_cell_and_by_popularity():
    a, b, c = ({"House 1": {"Name": n, "Pet": p}} for n, p in (("eric", "dog"), ("eric", "cat"), ("bob", "cat")))
    assert normal(cell_majority([a, b, c])) == normal({"House 1": {"Name": "eric", "Pet": "cat"}})
    assert most_common([a, b, c]) == 1
    # The most popular cells may come together in no answer at all.
    votes = [{"House 1": {"x": p, "y": q, "z": r}} for p, q, r in ("110", "101", "011")]
    assert cell_majority(votes) == {"house 1": {"x": "1", "y": "1", "z": "1"}} and most_common(votes) == 0


def test_sources_are_refused_with_the_nearest_name():
    for source, message in (
        ("zebra/test?demoes=3", "did you mean 'demos'"),
        ("zebra/tset", "no split is called 'tset'"),
        ("zebra/test?each=many", "expected int"),
        ("graphs/test", "does not begin with 'zebra/'"),
        ("zebra/test?convention=latent", "needs demos"),
    ):
        with pytest.raises(ValueError, match=message):
            DOMAIN.read(TasksConfig(domain="zebra", source=source))
