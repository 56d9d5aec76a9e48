"""The domain `reasoning`: every part's texts, transforms and answers, as the part alone has them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from text_tools import tiny_tokenizer

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.registry import get_domain

SOURCES = (
    "zebra/test?sizes=3x2&demos=2&each=2&steps=true",
    "other:zebra/test?sizes=3x2&demos=2&each=1&seed=1",
    "graphs/test?questions=bfs,degree&nodes=7&demos=1&each=1",
    "diagnosis/test?mode=choice&sizes=7&each=1",
)


@pytest.fixture(scope="module")
def domain():
    return get_domain("reasoning").bind(tiny_tokenizer())


@pytest.fixture(scope="module")
def tasks(domain):
    return domain.load(TasksConfig(domain="reasoning", source="\n".join(SOURCES))).tasks


def test_tasks_texts_and_answers_are_those_of_the_parts(domain, tasks):
    alone = []
    for source in SOURCES:
        source = source.rpartition(":")[2]
        part = get_domain(source.partition("/")[0]).bind(tiny_tokenizer())
        alone += [(part, task) for task in part.read(TasksConfig(source=source)).tasks]
    by_id = {task.id: task for task in tasks}
    assert len(by_id) == len(alone) == 6
    for part, task in alone:
        mixed = by_id[task.id]
        ours, theirs = domain.encode(mixed.demos, mixed.queries[0]), part.encode(task.demos, task.queries[0])
        assert np.array_equal(ours.tokens, theirs.tokens) and np.array_equal(ours.outputs, theirs.outputs)
        assert domain.prompt(mixed.demos, mixed.queries[0]) == part.prompt(task.demos, task.queries[0])
        text = domain.solved_text(mixed.queries[0], mixed.answers[0])
        assert domain.same(domain.parse_for(mixed, text), mixed.answers[0])
        assert domain.parse_for(mixed, "no idea") is None
    assert [task.family for task in tasks].count("other") == 1


def test_views_invert_and_kinds_of_other_parts_are_passed_over(domain, tasks):
    for task in tasks:
        kinds = ("values", "clues", "nodes", "options", "order")
        for view in domain.views(kinds, task, 3, np.random.default_rng(1)):
            changed = view.apply(task)
            answer = domain.parse_for(changed, domain.solved_text(changed.queries[0], changed.answers[0]))
            assert domain.same(view.invert(answer), task.answers[0])
        with pytest.raises(ValueError, match="'noodles'"):
            domain.views(("noodles",), task, 2, np.random.default_rng(0))


def test_answers_survive_json_and_never_equal_those_of_another_part(domain, tasks):
    answers = [task.answers[0] for task in tasks]
    back = [domain.from_json(json.loads(json.dumps(domain.to_json(y)))) for y in answers]
    assert all(map(domain.same, back, answers)) and len({domain.key(y) for y in answers}) > 3
    assert not domain.same({"zebra": {"House 1": {"Name": "Eric"}}}, {"graphs": "3"})
    with pytest.raises(ValueError, match="no answer"):
        domain.from_json({"chess": "e4"})


def test_each_group_is_measured_by_its_domain(domain, tasks):
    right = domain.measure(tasks, {task.id: list(task.answers) for task in tasks})
    assert set(right) == {"zebra", "other", "graphs", "diagnosis"}
    assert right["zebra"]["all"]["puzzle"] == {**right["zebra"]["all"]["puzzle"], "value": 1.0, "n": 2}
    assert right["graphs"]["held_out"]["accuracy"]["value"] == 1.0
    nothing = domain.measure(tasks, {task.id: [None] for task in tasks})
    assert nothing["diagnosis"]["all"]["no_answer"]["value"] == 1.0


def test_bad_sources_are_refused_by_name(domain):
    for source, match in (
        ("chess/test", "'chess/test' names no domain"),
        ("zebra/test?sizes=3x2&each=1 again:zebra/test?sizes=3x2&each=1", "seed="),
        ("", "one or more sources"),
        ("zebra/test?size=3x2", "did you mean 'sizes'"),
    ):
        with pytest.raises(ValueError, match=match):
            domain.load(TasksConfig(domain="reasoning", source=source))
    with pytest.raises(ValueError, match="name their own domain"):
        domain.load(TasksConfig(domain="reasoning", path="puzzles.jsonl"))
