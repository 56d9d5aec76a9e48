"""Views of a query: what they depend on, and that answers come back."""

import dataclasses

import numpy as np
import pytest

from ttt_jax.config import DecodeConfig
from ttt_jax.decode.views import expected_tokens, make_views, scoring_views
from ttt_jax.tasks.arc import ArcDomain
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task

ARC = ArcDomain()
CONFIG = DecodeConfig(views=12)


def make_task(name="a task", answers=True):
    rng = np.random.default_rng(3)

    def grid(height, width):
        return rng.integers(0, 10, (height, width)).astype(np.int8)

    demos = tuple((grid(3, 4), grid(2, 3)) for _ in range(3))
    return Task(name, demos, (grid(3, 2), grid(4, 4)), (grid(2, 2), grid(3, 3)) if answers else None)


def names(views):
    return [view.transform.name for view in views]


def test_identity_comes_first_with_the_prompt_as_given():
    task = make_task()
    first = make_views(task, 1, ARC, CONFIG, seed=0)[0]
    assert (first.transform.name, first.transform.group, first.query) == ("identity", "identity", 1)
    np.testing.assert_array_equal(first.prompt.tokens, ARC.encode(task.demos, task.queries[1]).tokens)


def test_every_prompt_is_the_transformed_task_with_its_query_open():
    task = make_task()
    views = make_views(task, 0, ARC, CONFIG, seed=0)
    assert len(views) == len(set(names(views))) == 12
    for view in views:
        shown = view.transform.apply(task)
        expected = ARC.encode(shown.demos, shown.queries[0])
        np.testing.assert_array_equal(view.prompt.tokens, expected.tokens)
        np.testing.assert_array_equal(view.prompt.positions, expected.positions)
        assert shown.answers
        assert task.answers
        np.testing.assert_array_equal(view.transform.invert(shown.answers[0]), task.answers[0])


def test_views_do_not_depend_on_the_answers():
    seen, hidden = make_task(), make_task(answers=False)
    other = dataclasses.replace(seen, answers=tuple(np.zeros((30, 30), np.int8) for _ in seen.queries))
    for task in (hidden, other):
        for a, b in zip(make_views(seen, 0, ARC, CONFIG, 0), make_views(task, 0, ARC, CONFIG, 0), strict=True):
            assert a.transform == b.transform
            np.testing.assert_array_equal(a.prompt.tokens, b.prompt.tokens)
            assert a.task.answers is None


def test_views_are_keyed_by_seed_task_and_query_alone():
    task = make_task()
    expected = names(make_views(task, 0, ARC, CONFIG, seed=0))
    make_views(make_task("another"), 0, ARC, CONFIG, seed=0)  # whatever was made in between
    assert names(make_views(task, 0, ARC, CONFIG, seed=0)) == expected
    assert names(make_views(task, 0, ARC, CONFIG, seed=1)) != expected
    assert names(make_views(task, 1, ARC, CONFIG, seed=0)) != expected
    assert names(make_views(make_task("another"), 0, ARC, CONFIG, seed=0)) != expected


def test_only_the_configured_transforms_and_count_are_used():
    views = make_views(make_task(), 0, ARC, DecodeConfig(views=3, transforms=("flip0",)), seed=0)
    assert len(views) == 3
    assert {view.transform.group for view in views} == {"identity", "flip0"}


def test_a_query_that_does_not_exist_is_refused():
    with pytest.raises(IndexError, match="a task has 2 queries, no query 2"):
        make_views(make_task(), 2, ARC, CONFIG, seed=0)


def test_views_for_scoring_are_those_decoded_or_drawn_anew():
    queries = [(slot, make_views(make_task(), query, ARC, CONFIG, seed=0)) for slot, query in ((3, 0), (3, 1))]
    assert scoring_views(queries, None, ARC, CONFIG, seed=0) == queries
    fresh = scoring_views(queries, 20, ARC, CONFIG, seed=0)
    for (slot, views), (decoded_slot, decoded) in zip(fresh, queries, strict=True):
        assert (slot, len(views), len(set(names(views)))) == (decoded_slot, 20, 20)
        assert {view.query for view in views} == {decoded[0].query}
        assert names(views)[0] == "identity" and not set(names(views)[1:]) & set(names(decoded))
    assert names(fresh[0][1]) == names(scoring_views(queries[:1], 20, ARC, CONFIG, seed=0)[0][1])


def test_search_is_refused_before_a_run_where_queries_share_what_they_read():
    domain = get_domain("bbh")
    with pytest.raises(ValueError, match=r"decode\.search_above: not for domain bbh"):
        make_views(make_task(), 0, domain, DecodeConfig(search_above=0.1), seed=0)
    with pytest.raises(ValueError, match=r"decode\.speculate: not for domain bbh"):
        make_views(make_task(), 0, domain, DecodeConfig(speculate=True), seed=0)


@pytest.mark.parametrize(
    "options", [{"search_above": 0.0}, {"search_above": 1.0}, {"search_above": 0.1, "temperature": 1.0}]
)
def test_search_options_out_of_range_are_refused_by_name(options):
    with pytest.raises(ValueError, match="search_above"):
        DecodeConfig(**options)


def test_an_answer_is_expected_to_be_as_long_as_the_demonstrations_let_expect():
    def prompt(sizes, query):
        pairs = [(np.zeros(a, np.int8), np.zeros(b, np.int8)) for a, b in sizes]
        return ARC.encode(pairs, np.zeros(query, np.int8))

    def tokens(rows, columns):
        return rows * (columns + 1) + 1

    # Outputs of one size, whatever the inputs are.
    assert expected_tokens(prompt([((3, 3), (2, 5)), ((9, 9), (2, 5))], (20, 20))) == tokens(2, 5)
    # As large as the input, up to the tokens that begin and end both.
    same = expected_tokens(prompt([((3, 3), (3, 3)), ((8, 6), (8, 6)), ((5, 5), (5, 5))], (10, 10)))
    assert same == pytest.approx(tokens(10, 10), rel=0.1)
    double = expected_tokens(prompt([((3, 3), (6, 6)), ((4, 4), (8, 8))], (5, 5)))
    assert double == pytest.approx(tokens(10, 10), rel=0.2)
    assert expected_tokens(prompt([], (4, 4))) > 0
