"""Cases as records and prompts; diagnoses read, judged, mapped back and calibrated."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.diagnosis.answers import is_right, ontology_judge, read_answer, truth, write_answer
from ttt_jax.tasks.diagnosis.case import LETTERS, Case, read_case
from ttt_jax.tasks.diagnosis.domain import DiagnosisDomain, read_cases, write_cases
from ttt_jax.tasks.diagnosis.scoring import calibration, rates
from ttt_jax.tasks.diagnosis.sets import DiagnosisOptions, draw_case, make_tasks
from ttt_jax.tasks.diagnosis.transforms import KINDS, DiagnosisTransform

DOMAIN = DiagnosisDomain()
OPEN = make_tasks(DiagnosisOptions("development", each=2, demos=2, queries=2))
CHOICE = make_tasks(DiagnosisOptions("development", mode="choice", each=2, demos=2, queries=2))

RECORD = {
    "id": "17",
    "Case Information": "A man of 40 coughs.",
    "Physical Examination": "Crackles.",
    "Diagnostic Tests": "A shadow.",
    "Final Diagnosis": "Lobar pneumonia",
    "Options": {"A": "Asthma", "B": "Lobar pneumonia", "C": "Embolism", "D": "Heart failure"},
    "Right Option": "B",
    "Specialty": "lungs",
}


def test_a_public_record_is_read_written_and_keeps_unknown_fields(tmp_path):
    case = read_case(RECORD)
    assert case.to_json() == RECORD and case.mode == "choice" and case.synthetic is None
    assert "B. Lobar pneumonia" in str(case) and "Final" not in str(case) and "Specialty" not in str(case)
    n = OPEN[0].queries[0].problem.synthetic.net
    invented = [draw_case(n, np.random.default_rng(seed), f"SYNTHETIC-{seed}") for seed in range(2)]
    write_cases(tmp_path / "a.jsonl", [case, *invented])
    back, refused = read_cases(tmp_path / "a.jsonl", "open")
    assert not refused and back[0].to_json() == RECORD and "Options" not in str(back[0])
    # An invented case comes back whole, its posterior included.
    assert back[1:] == invented and list(map(truth, back[1:])) == list(map(truth, invented))
    (tmp_path / "a.json").write_text(json.dumps([RECORD]))
    loaded = DOMAIN.read(
        TasksConfig(domain="diagnosis", path=str(tmp_path / "a.json"), source="diagnosis/test?mode=open")
    )
    assert loaded.tasks[0].answers[0]["ranked"] == ["Lobar pneumonia"]


@pytest.mark.parametrize(
    ("change", "field", "reason"),
    [
        ({"Physical Examination": None}, "Physical Examination", "is missing"),
        ({"Diagnostic Tests": " "}, "Diagnostic Tests", "is missing"),
        ({"Final Diagnosis": 3}, "Final Diagnosis", "no text"),
        ({"Options": {"A": "x"}}, "Options", "expected texts for A, B, C, D"),
        ({"Right Option": "E"}, "Right Option", "'E' is none of"),
        ({"Options": None}, "Options", "mode=choice asks"),
        ({"SYNTHETIC": {}}, "SYNTHETIC", "evidence"),
    ],
)
def test_a_bad_record_is_refused_by_name_and_stops_nothing(change, field, reason, tmp_path):
    (tmp_path / "a.json").write_text(json.dumps([RECORD | change | {"id": "bad"}, RECORD, 3, RECORD]))
    cases, refused = read_cases(tmp_path / "a.json", "choice")
    assert [c.id for c in cases] == ["17"]
    assert (refused[0].task_id, refused[0].field) == ("bad", field) and reason in refused[0].reason
    assert [r.field for r in refused[1:]] == ["record", "id"]


def test_files_that_are_none_are_errors(tmp_path):
    with pytest.raises(ValueError, match=r"expected a \.json"):
        read_cases(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(ValueError, match="no JSON"):
        read_cases(tmp_path / "a.json")


def known(case: Case) -> dict:
    """The truth of an invented case, found again from its evidence."""
    assert not case.diagnosis and not case.right
    diagnosis = next(iter(case.synthetic.net.posterior(case.synthetic.known)))
    right = LETTERS[case.options.index(diagnosis)]
    return truth(replace(case, diagnosis=diagnosis, right=right))


@pytest.mark.parametrize("task", OPEN + CHOICE, ids=lambda t: t.id)
def test_a_transformed_task_is_solved_by_transformed_answers_and_inverts_exactly(task):
    for seed in range(4):
        transform = DOMAIN.transform(KINDS, task, np.random.default_rng(seed))
        changed = transform.apply(task)
        for x, y in [*changed.demos, *zip(changed.queries, changed.answers, strict=True)]:
            fresh = known(x.problem)
            assert DOMAIN.same(read_answer(write_answer(fresh)), y) and fresh["truth"] == y["truth"]
        for answer, wanted in zip(changed.answers, task.answers, strict=True):
            assert transform.invert(answer) == wanted
            assert DOMAIN.same(transform.invert(read_answer(write_answer(answer))), wanted)
        assert transform.apply(task.hide_answers()).queries == changed.queries


def test_options_move_with_their_letters():
    case, moved = read_case(RECORD), DiagnosisTransform(options=(3, 2, 1, 0)).apply_problem(read_case(RECORD))
    assert moved.options == case.options[::-1] and moved.right == "C"
    uneven = DiagnosisTransform(options=(1, 2, 3, 0))
    for letter in LETTERS:
        changed = uneven.apply_problem(Case("x", ("", "", ""), "", case.options, letter, "choice"))
        assert changed.options[LETTERS.index(changed.right)] == case.options[LETTERS.index(letter)]
        assert uneven.invert({"choice": changed.right, "confidence": [None]})["choice"] == letter


def test_views_begin_with_identity_and_differ():
    for task in (OPEN[0], CHOICE[0]):
        views = DOMAIN.views(KINDS, task, 5, np.random.default_rng(0))
        assert views[0].name == "identity" and len({v.apply(task).queries for v in views}) == 5
    assert len(DOMAIN.views(("options",), OPEN[0], 5, np.random.default_rng(0))) == 1
    with pytest.raises(ValueError, match="did you mean 'options'"):
        DOMAIN.views(("option",), OPEN[0], 2, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"\boxed{B}", {"choice": "B", "confidence": [None]}),
        (r"1. x \boxed{A} or \boxed{(c)} (confidence 80%)", {"choice": "C", "confidence": [0.8]}),
        (r"\boxed{\text{D}}", {"choice": "D", "confidence": [None]}),
        ("1. Flu (60%)\n2) Cold (30 %).\n", {"ranked": ["Flu", "Cold"], "confidence": [0.6, 0.3]}),
        ("1. a\n2. b\nFinal:\n1. **C**\n2. d", {"ranked": ["C", "d"], "confidence": [None, None]}),
        ("\n".join(f"{i}. d{i}" for i in range(1, 9)), {"ranked": [f"d{i}" for i in range(1, 6)],
         "confidence": [None] * 5}),
        ("2. only", None), ("", None), (r"\boxed{E}", None), ("It is flu.", None),
        ("x" * 10**6, None), (r"\boxed{" * 10**5, None),
    ],
)  # fmt: skip
def test_diagnoses_are_read_from_the_last_box_or_list(text, expected):
    assert read_answer(text) == expected
    if expected:
        assert read_answer(write_answer(expected)) == expected


def test_an_enormous_list_is_cut():
    found = read_answer("1. " + "y" * 10**6)
    assert found is None or len(found["ranked"][0]) <= 200


def test_synonyms_count_in_full_and_the_category_does_not():
    wanted = OPEN[0].answers[0]
    known = wanted["truth"]
    assert ontology_judge(known["diagnosis"].upper(), wanted) == 2
    assert ontology_judge(f"The {known['synonyms'][0]}.", wanted) == 2
    assert ontology_judge(known["category"], wanted) == 1
    assert ontology_judge("influenza", wanted) == 0
    for name, ok in ((known["synonyms"][1], True), (known["category"], False)):
        answer = {"ranked": [name], "confidence": [None]}
        assert is_right(answer, wanted) == ok == DOMAIN.same(answer, wanted) == DOMAIN.same(wanted, answer)
    assert not is_right({"choice": "A", "confidence": [None]}, wanted)


def test_another_judge_can_be_plugged_in():
    class Lenient(DiagnosisDomain):
        judge = staticmethod(lambda name, wanted: 2)

    answer = {"ranked": ["whatever"], "confidence": [None]}
    assert Lenient().same(answer, OPEN[0].answers[0]) and not DOMAIN.same(answer, OPEN[0].answers[0])


def test_keys_are_equal_where_answers_are_the_same():
    a, b = ({"ranked": [n, "x"], "confidence": [None, None]} for n in ("Varnel Fever", "varnel fever."))
    assert DOMAIN.same(a, b) and DOMAIN.key(a) == DOMAIN.key(b)
    c = {"choice": "B", "confidence": [0.5]}
    assert not DOMAIN.same(a, c) and DOMAIN.same(c, c | {"confidence": [None]})
    for answer in (a, c, *OPEN[0].answers, *CHOICE[0].answers):
        assert DOMAIN.from_json(json.loads(json.dumps(DOMAIN.to_json(answer)))) == answer
    for bad in ("B", {"choice": "E", "confidence": [None]}, {"ranked": [], "confidence": []}, {"ranked": ["x"]}):
        with pytest.raises(ValueError, match="no answer"):
            DOMAIN.from_json(bad)


def test_calibration_is_the_textbook_one():
    found = calibration([0.95, 0.95, 0.55, 0.55], [True, False, True, True], bins=10)
    assert found["ece"] == pytest.approx((abs(1.9 - 1) + abs(1.1 - 2)) / 4)
    assert found["brier"] == pytest.approx((0.05**2 + 0.95**2 + 2 * 0.45**2) / 4) and found["n"] == 4
    assert calibration([1.0, 0.0], [True, False]) == {"ece": 0.0, "brier": 0.0, "n": 2}
    with pytest.raises(ValueError, match="within 0 and 1"):
        calibration([1.5], [True])


def test_the_exact_posterior_is_calibrated_and_scores_in_full():
    tasks = make_tasks(DiagnosisOptions("development", each=40, families=("all",)))
    found = DOMAIN.measure(tasks, {t.id: [read_answer(write_answer(t.answers[0]))] for t in tasks})
    assert found["all"]["top1"]["value"] == found["all"]["top5"]["value"] == 1.0
    assert found["all"]["calibration"]["from_posterior"] < 0.006  # percentages are rounded
    assert set(found) == {"all", "hard", "medium", "easy"}


def test_rates_tell_top_5_category_and_missing_answers():
    wanted = [t.answers[0] for t in OPEN]
    second = {"ranked": ["x", wanted[0]["truth"]["diagnosis"]], "confidence": [0.9, 0.1]}
    found = rates([second, None], wanted)["all"]
    assert (found["top1"]["value"], found["top5"]["value"], found["no_answer"]["value"]) == (0, 0.5, 0.5)
    assert found["calibration"]["n"] == 1 and found["calibration"]["from_posterior"] == pytest.approx(0.9)
    real = truth(read_case(RECORD))
    right = {"choice": "B", "confidence": [None]}
    assert rates([right], [real])["unknown"] == {**rates([right], [real])["all"], "calibration": None}
    assert "top5" not in rates([right], [real])["all"]


def test_the_handbook_is_told_once_in_a_prompt():
    task = OPEN[0]
    few, zero = DOMAIN.prompt(task.demos, task.queries[0]), DOMAIN.prompt((), task.queries[0])
    assert few.count("Handbook") == zero.count("Handbook") == 1 and "Rank the five" in zero
    assert few.startswith(DOMAIN.prompt(task.demos[:1], task.queries[0]).removesuffix(DOMAIN.question(task.queries[0])))
    assert "\\boxed{}" in DOMAIN.prompt((), CHOICE[0].queries[0])
    query = pickle.loads(pickle.dumps(task.queries[0]))
    assert query == task.queries[0] and query.problem == task.queries[0].problem
