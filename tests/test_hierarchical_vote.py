"""The hierarchical vote of arXiv 2411.07279, on cases counted by hand."""

from collections import Counter

import numpy as np
import pytest

from ttt_jax.decode.candidate import Candidate
from ttt_jax.select.hierarchical import cast_votes, hierarchical_vote
from ttt_jax.select.vote import tally
from ttt_jax.tasks.arc import ArcDomain

ARC = ArcDomain()


def grid(rows):
    """The grid of "12/34"."""
    return np.array([[int(cell) for cell in row] for row in rows.split("/")], np.int8)


def candidates(text, logprobs=None):
    """Candidates of "identity: 1 1 2; flip0: 3", in this order; log-probabilities by answer, -1 otherwise."""
    out = []
    for part in text.split(";"):
        group, answers = part.split(":")
        for rows in answers.split():
            logprob = (logprobs or {}).get(rows, -1.0)
            out.append(Candidate(0, group.strip(), group.strip(), 0, (), logprob, grid(rows)))
    return out


def ranking(text, logprobs=None):
    return [(ARC.key(r.answer), r.votes, r.score) for r in hierarchical_vote(candidates(text, logprobs), ARC)]


def order(text, logprobs=None):
    return "".join(key for key, _, _ in ranking(text, logprobs))


@pytest.mark.parametrize(
    ("predictions", "cast"),
    [
        ("5", "5"),  # alone: once, not three times
        ("5 5", "555"),  # agreement fills the places
        ("5 6", "556"),  # equal votes: the one seen first is the better ranked
        ("6 5 5", "556"),
        ("5 6 7", "567"),
        ("8 7 7 6 6 6 5 5 5 5", "567"),  # three places only
        ("5 5 5 5 6 7", "567"),
    ],
)
def test_a_group_has_three_votes_and_a_single_prediction_one(predictions, cast):
    assert sorted(cast_votes(tally(candidates(f"flip0: {predictions}"), ARC))) == sorted(cast)


def test_groups_vote_again_over_what_they_put_forward():
    # all:      2 x4, 1 x3, 3 x2, 4 -> 2 1 3
    # identity: 1 x3                -> 1 1 1
    # flip0:    2 x2, 3             -> 2 2 3
    # rotate90: 2 x2, 3, 4          -> 2 3 4
    assert ranking("identity: 1 1 1; flip0: 2 2 3; rotate90: 2 2 3 4") == [
        ("1", 3, 4.0),  # before 2: identity votes
        ("2", 4, 4.0),
        ("3", 2, 3.0),
        ("4", 1, 1.0),
    ]


def test_many_groups_beat_many_votes():
    # all: 1 x5, 2 x4 -> 1 1 2; identity: 1 1 1; each of the others: 2 alone or twice.
    # 1: 2 + 3 = 5; 2: 1 + 3 + 1 + 1 = 6.
    assert ranking("identity: 1 1 1 1 1; flip0: 2 2; flip1: 2; transpose: 2") == [("2", 4, 6.0), ("1", 5, 5.0)]


def test_a_tie_for_second_goes_to_the_answer_with_more_identity_votes():
    # all: 1 x3, 3 x2, 2 (likelier than 4 and 5) -> 1 3 2; identity -> 1 2 1; flip0 -> 3 4 5; flip1 -> 1
    # 2 and 3 tie at two votes: 3 has more candidates and is likelier, 2 has the identity vote.
    text = "identity: 1 1 2; flip0: 3 3 4 5; flip1: 1"
    assert ranking(text, {"3": -0.1, "2": -0.5}) == [
        ("1", 3, 4.0),
        ("2", 1, 2.0),
        ("3", 2, 2.0),
        ("4", 1, 1.0),
        ("5", 1, 1.0),
    ]


def test_ties_without_identity_votes_go_to_votes_then_likelihood_then_the_first_seen():
    # One group that is all of the candidates: three places, so 2, 3 and 4 tie with two votes each.
    assert order("flip0: 4 3 2 2") == "243"
    assert order("flip0: 4 3 2", {"3": -0.5}) == "342"
    assert order("flip0: 4 3 2") == "432"


def test_answers_that_no_group_voted_for_come_last_by_the_same_rules():
    assert ranking("identity: 5 4 3 2 1", {"1": -1, "2": -2, "3": -3, "4": -4, "5": -5}) == [
        ("1", 1, 2.0),
        ("2", 1, 2.0),
        ("3", 1, 2.0),
        ("4", 1, 0.0),
        ("5", 1, 0.0),
    ]


def majority(tallies, axis):
    """The paper's filling, spelt out: the commonest rows (axis 0) or columns (axis 1) of the commonest shape."""
    votes = [t.answer for t in tallies for _ in range(t.votes)]
    shape = Counter(g.shape for g in votes).most_common(1)[0][0]
    lines = [np.moveaxis(g, axis, 0) for g in votes if g.shape == shape]
    # most_common prefers what came first, here from the better ranked answer.
    common = [Counter(tuple(line[i]) for line in lines).most_common(1)[0][0] for i in range(shape[axis])]
    return np.moveaxis(np.array(common, np.int8), 0, axis)


def test_filling_by_majority_rows_and_columns_is_what_places_left_amount_to():
    rng = np.random.default_rng(0)
    for _ in range(200):
        shapes = rng.integers(1, 4, (2, 2))
        first, second = (rng.integers(0, 3, shape).astype(np.int8) for shape in shapes)
        if rng.random() < 0.7:  # two grids that agree in part
            second = np.where(rng.random(first.shape) < 0.3, 1, first).astype(np.int8)
        picks = rng.integers(0, 2, rng.integers(2, 6))
        group = [Candidate(0, "flip0", "flip0", 0, (), -float(rng.random()), (first, second)[i]) for i in picks]
        tallies = tally(group, ARC)
        filled = [t.key for t in tallies] + [ARC.key(majority(tallies, 0)), ARC.key(majority(tallies, 1))]
        assert cast_votes(tallies) == filled[:3]
