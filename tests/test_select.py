"""Votes, tie-breaks and product of experts, on cases counted by hand."""

import itertools

import numpy as np
import pytest

from ttt_jax.decode.candidate import Candidate
from ttt_jax.select.likelihood import likeliest
from ttt_jax.select.rank import METHODS, SCORED, rank
from ttt_jax.select.vote import tally
from ttt_jax.tasks.arc import ArcDomain

ARC = ArcDomain()
A, B, C = (np.full((2, 2), colour, np.int8) for colour in (1, 2, 3))


def candidate(answer, logprob=-1.0, group="identity", query=0, searched=False):
    return Candidate(query, group, group, 0, (), logprob, answer, searched=searched)


def names(ranked):
    letters = {ARC.key(A): "A", ARC.key(B): "B", ARC.key(C): "C"}
    return "".join(letters[ARC.key(r.answer)] for r in ranked)


def test_more_votes_win_whatever_the_likelihood():
    ranked = rank([candidate(A, -0.1), candidate(B, -9), candidate(B, -9)], "vote", ARC)
    assert names(ranked) == "BA"
    assert [(r.votes, r.score) for r in ranked] == [(2, 2.0), (1, 1.0)]


def test_a_tie_goes_to_the_higher_mean_log_probability():
    # Mean of A: -2.5, of B: -2; the best single candidate is one of A.
    votes = [candidate(A, -0.5), candidate(A, -4.5), candidate(B, -2.0), candidate(B, -2.0)]
    assert names(rank(votes, "vote", ARC)) == "BA"
    assert tally(votes, ARC)[0].mean_logprob == -2.0


def test_a_full_tie_goes_to_the_answer_seen_first():
    assert names(rank([candidate(B), candidate(A)], "vote", ARC)) == "BA"
    assert names(rank([candidate(A), candidate(B)], "vote", ARC)) == "AB"


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_candidates_changes_nothing_where_content_decides(method):
    votes = [
        candidate(A, -0.1), candidate(A, -0.7, "flip0"), candidate(B, -0.2), candidate(B, -0.5, "transpose"),
        candidate(C, -0.3, "flip0"), candidate(None, -0.1),
    ]  # fmt: skip
    scores = {ARC.key(C): [-0.3, -0.7, -0.1], ARC.key(A): [-1.0, -0.9, -0.1]}
    ranked = {
        tuple((ARC.key(r.answer), r.votes, r.score) for r in rank(order, method, ARC, scores=scores))
        for order in itertools.permutations(votes)
    }
    assert len(ranked) == 1


@pytest.mark.parametrize("method", METHODS)
def test_candidates_that_did_not_parse_have_no_vote(method):
    assert rank([], method, ARC, scores={}) == []
    assert rank([candidate(None), candidate(None)], method, ARC, scores={}) == []
    assert names(rank([candidate(None), candidate(None), candidate(A)], method, ARC, scores={})) == "A"


@pytest.mark.parametrize("method", METHODS)
def test_every_distinct_answer_is_ranked_once(method):
    votes = [candidate(x, -i) for i, x in enumerate((A, B, C, A, B, A))]
    assert sorted(names(rank(votes, method, ARC, scores={ARC.key(B): [-1.0]}))) == ["A", "B", "C"]


def test_product_of_experts_ranks_by_score_then_the_unscored_by_votes():
    votes = [candidate(A), candidate(A), candidate(B), candidate(B), candidate(B), candidate(C)]
    ranked = rank(votes, "product_of_experts", ARC, scores={ARC.key(C): [-1.0, -2.0], ARC.key(A): [-4.5, -0.5]})
    assert names(ranked) == "CAB"
    assert [(r.votes, r.score) for r in ranked] == [(1, -3.0), (2, -5.0), (3, None)]
    even = rank(votes, "product_of_experts", ARC, scores={key: [-1.0] for key in map(ARC.key, (A, B, C))})
    assert names(even) == "BAC"


def test_a_mixture_forgives_what_a_product_does_not():
    scores = {ARC.key(A): [-0.1, -50.0, -0.1], ARC.key(B): [-2.0, -2.0, -2.0]}
    votes = [candidate(A), candidate(B)]
    assert names(rank(votes, "product_of_experts", ARC, scores=scores)) == "BA"
    mixed = rank(votes, "mixture_of_experts", ARC, scores=scores)
    assert names(mixed) == "AB"
    assert mixed[0].score == pytest.approx(np.log(2 / 3 * np.exp(-0.1)))
    assert mixed[1].score == pytest.approx(-2.0)


def test_calibrated_views_say_alike_much_however_unlikely_they_find_everything():
    # The second view prefers B, all but surely, among what it finds unlikely.
    scores = {ARC.key(A): [-0.2, -60.0], ARC.key(B): [-0.4, -50.0]}
    votes = [candidate(A), candidate(B)]
    assert names(rank(votes, "mixture_of_experts", ARC, scores=scores)) == "AB"
    ranked = rank(votes, "calibrated_experts", ARC, scores=scores)
    assert names(ranked) == "BA"
    first = np.exp([-0.2, -0.4])
    expected = (first / first.sum() + np.exp([-10, 0]) / (1 + np.exp(-10))) / 2
    assert [r.score for r in ranked] == pytest.approx(expected[::-1])


def test_votes_and_mean_likelihood_are_added():
    votes = [candidate(A)] * 3 + [candidate(B)] * 2
    scores = {ARC.key(A): [-3.0, -1.0], ARC.key(B): [-0.5, -0.5]}
    ranked = rank(votes, "vote_and_likelihood", ARC, scores=scores)
    assert [(r.votes, r.score) for r in ranked] == [(2, 1.5), (3, 1.0)]


def test_a_likelihood_that_is_no_number_ranks_last_of_the_scored():
    scores = {ARC.key(A): [float("nan")], ARC.key(B): [-9.0]}
    for method in SCORED:
        assert names(rank([candidate(C), candidate(A), candidate(B)], method, ARC, scores=scores)) == "BAC"


def test_what_search_finds_adds_no_vote_over_the_views_own_answers():
    votes = [candidate(A, -9), *(candidate(B, -0.1, searched=True) for _ in range(5)), candidate(C, -8, "flip0")]
    for method in ("vote", "hierarchical_vote"):
        ranked = rank(votes, method, ARC)
        assert names(ranked) == "CAB"
        assert {ARC.key(r.answer): r.votes for r in ranked} == {ARC.key(A): 1, ARC.key(B): 5, ARC.key(C): 1}
        assert [r.score for r in ranked] == [r.score for r in rank(votes[:1] + votes[-1:], method, ARC)] + [0.0]


def test_the_likeliest_are_the_ones_to_score():
    votes = [candidate(A, -1), candidate(B, -1.5), candidate(B, -1.5, searched=True), candidate(C, -4), candidate(None)]
    assert [ARC.key(x) for x in likeliest(votes, ARC, 2)] == [ARC.key(B), ARC.key(A)]  # 2 x 0.22 > 0.37
    assert len(likeliest(votes, ARC, 8)) == 3
    assert likeliest([candidate(A, -float("inf"))], ARC, 1)


def test_wrong_calls_are_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"select\.method 'votes' is not one of vote, hierarchical_vote"):
        rank([candidate(A)], "votes", ARC)
    for method in SCORED:
        with pytest.raises(ValueError, match="score_candidates"):
            rank([candidate(A)], method, ARC)
    for method in METHODS:
        with pytest.raises(ValueError, match=r"queries \[0, 1\]"):
            rank([candidate(A), candidate(B, query=1)], method, ARC, scores={})
