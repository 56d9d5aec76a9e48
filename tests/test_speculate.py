"""Decoding by drafts against decoding every view by itself, token by token: drafts may save work and change nothing."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ttt_jax.decode.speculate as speculation
from ttt_jax.config import DecodeConfig, LoraConfig
from ttt_jax.decode.candidates import decode_candidates, score_queries
from ttt_jax.decode.generate import Prompts, Rules, generate
from ttt_jax.decode.lots import ScoreShapes
from ttt_jax.decode.sampling import Sampling
from ttt_jax.decode.speculate import Speculated, drafts_of, summed, take_up
from ttt_jax.decode.syntax import TextSyntax
from ttt_jax.decode.views import make_views
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.lora import init_adapter
from ttt_jax.tasks.arc import ArcDomain
from ttt_jax.tasks.task import Task

ARC = ArcDomain()
T, VIEWS, LONGEST, WIDTH = 3, 6, 24, 96
STOP, NEWLINE = ARC.stop_token, 10
PLAIN = DecodeConfig(views=VIEWS, slots=T, chunk=6, max_new_tokens=LONGEST)
DRAFTS = dataclasses.replace(PLAIN, speculate=True)


@pytest.fixture(scope="module")
def model(tiny_config):
    """With its own head: a tied random model only repeats its input."""
    return Decoder(dataclasses.replace(tiny_config, tie_embeddings=False))


def drawn(shapes, seed, scale):
    rng = np.random.default_rng(seed)

    def draw(x):
        value = scale * x.shape[-2] ** -0.5 * rng.normal(size=x.shape) if x.ndim > 1 else np.ones(x.shape)
        return jnp.asarray(value, x.dtype)

    return jax.tree.map(draw, shapes)


@pytest.fixture(scope="module")
def random(model):
    """A model whose views hardly ever agree: its answers are of many lengths."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    return drawn(shapes, 4, 2.0)


@pytest.fixture(scope="module")
def adapters(tiny_config):
    one = jax.eval_shape(lambda: init_adapter(jax.random.key(0), tiny_config, LoraConfig(rank=4)))
    stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((T, *x.shape), x.dtype), one)
    return {"lora": drawn(stacked, 1, 1.0)}


def constant(random, best: list[int]) -> Any:
    """A model that always likes the tokens `best`, the first most, whatever it reads."""
    base: Any = jax.tree.map(lambda x: x, random)
    base["embed"]["embedding"] = jnp.ones_like(base["embed"]["embedding"])
    for name in base:
        if name.startswith("layers"):
            for part, kernel in (("attn", "o"), ("mlp", "down")):
                base[name][part][kernel]["kernel"] = jnp.zeros_like(base[name][part][kernel]["kernel"])
    likes = np.zeros(base["head"]["kernel"].shape, np.float32)
    likes[:, best] = np.linspace(0.3, 0.2, len(best))
    base["head"]["kernel"] = jnp.asarray(likes)
    return base


def small_tasks(demos=1):
    rng = np.random.default_rng(0)

    def grid():
        return rng.integers(0, 10, rng.integers(1, 4, 2)).astype(np.int8)

    return [Task(f"task{t}", tuple((grid(), grid()) for _ in range(demos)), (grid(),)) for t in range(T)]


def queries(config=PLAIN, count=T):
    return [(t, make_views(task, 0, ARC, config, seed=0)) for t, task in enumerate(small_tasks()[:count])]


def decoded(model, base, adapters, config, asked=None, **options):
    how: list[Speculated] = []
    asked = queries(config) if asked is None else asked
    found = decode_candidates(
        model, base, adapters, asked, ARC, config, WIDTH, seed=0, on_speculated=how.append, **options
    )
    return found, how


def assert_same(found, expected):
    for of_query, same in zip(found, expected, strict=True):
        for a, b in zip(of_query, same, strict=True):
            np.testing.assert_allclose(a.logprob, b.logprob, rtol=1e-5, atol=1e-5)
            assert dataclasses.replace(a, logprob=0.0, answer=None) == dataclasses.replace(b, logprob=0.0, answer=None)
            np.testing.assert_array_equal(a.answer, b.answer)


# -- Real drafts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("adapted", [True, False])
def test_views_that_disagree_answer_as_if_each_were_decoded_by_itself(model, random, adapters, adapted):
    own = adapters if adapted else None
    expected, none = decoded(model, random, own, PLAIN)
    found, (how,) = decoded(model, random, own, DRAFTS)
    assert_same(found, expected)
    assert none == []
    # The case is worth something: there are drafts, not all are of use, and rows go on to various lengths.
    assert (how.offered > 0).any() and (how.accepted < how.offered).any()
    assert len(np.unique(how.after)) > 3
    lengths = np.array([[len(c.tokens) for c in of_query] for of_query in expected])
    np.testing.assert_array_equal(how.accepted + how.after, lengths[:, 1:])
    np.testing.assert_array_equal(how.first, lengths[:, 0])


def test_views_that_agree_take_their_drafts_over_and_decode_nothing(model, random):
    # 1 x 1 grids of colour 0, which no transform changes.
    base = constant(random, [STOP, NEWLINE, 0])
    expected, _ = decoded(model, base, None, PLAIN)
    found, (how,) = decoded(model, base, None, DRAFTS)
    assert_same(found, expected)
    assert found[0][0].tokens == (0, NEWLINE, STOP)
    counts = summed(how.counts())
    drafts = T * (VIEWS - 1)
    assert counts == {
        "drafts": drafts, "offered": 3 * drafts, "accepted": 3 * drafts, "whole": drafts,
        "steps": pytest.approx(2), "plain_steps": pytest.approx(2),
    }  # fmt: skip


def test_a_colour_that_views_show_in_others_is_where_they_part(model, random):
    base = constant(random, [STOP, NEWLINE, 3])
    expected, _ = decoded(model, base, None, PLAIN)
    found, (how,) = decoded(model, base, None, DRAFTS)
    assert_same(found, expected)
    shown = np.array([[view.transform.colours[3] for view in views[1:]] for _, views in queries()])
    np.testing.assert_array_equal(how.accepted, np.where(shown == 3, 3, 0))
    assert (how.after[shown != 3] == 3).all()


def test_an_answer_that_comes_to_no_end_is_no_draft(model, random):
    base = constant(random, [0])  # a row of thirty cells
    expected, _ = decoded(model, base, None, PLAIN)
    found, (how,) = decoded(model, base, None, DRAFTS)
    assert_same(found, expected)
    assert (how.offered == 0).all() and (how.after == LONGEST).all()
    assert {k: v for k, v in summed(how.counts()).items() if k != "plain_steps"} == {
        "drafts": 0, "offered": 0, "accepted": 0, "whole": 0, "steps": pytest.approx(2 * (LONGEST - 1)),
    }  # fmt: skip


def test_any_slots_give_the_same_answers(model, random, adapters):
    expected, _ = decoded(model, random, adapters, DRAFTS)
    found, how = decoded(model, random, adapters, dataclasses.replace(DRAFTS, slots=2))
    assert_same(found, expected)
    assert [len(of.first) for of in how] == [2, 1]


def test_a_neighbour_that_is_broken_changes_nothing(model, random, adapters):
    expected, _ = decoded(model, random, adapters, DRAFTS)
    broken = jax.tree.map(lambda x: x.at[1].set(jnp.nan), adapters)
    found, (how,) = decoded(model, random, broken, DRAFTS)
    assert_same([found[0], found[2]], [expected[0], expected[2]])
    assert all(c.tokens == () for c in found[1]) and not how.offered[1].any()


# -- Drafts made up ----------------------------------------------------------------------------------------


def wrong_from(tokens, k):
    """The answer with another token in place k; a colour, or where that is what was there, another."""
    return (*tokens[:k], 1 if tokens[k] != 1 else 2, *tokens[k + 1 :])


@pytest.mark.parametrize("logit_bytes", [1 << 28, 1 << 10])
def test_the_longest_agreeing_beginning_is_accepted_wherever_a_draft_goes_wrong(
    model, random, adapters, monkeypatch, logit_bytes
):
    monkeypatch.setattr(speculation, "LOGIT_BYTES", logit_bytes)
    speculation.check.clear_cache()
    expected, _ = decoded(model, random, adapters, PLAIN)
    greedy = [[c.tokens for c in of_query] for of_query in expected]
    lengths = {len(tokens) for of_query in greedy for tokens in of_query}
    assert LONGEST in lengths and min(lengths) < LONGEST, "answers that end, and answers that are cut off"
    rng, tried = np.random.default_rng(0), set()
    for trial in range(6):
        drafts, accepted = [], []
        for of_query in greedy:
            drafts.append([])
            for tokens in of_query[1:]:
                n = len(tokens)
                k = int(rng.integers(n))
                kind = ("right", "wrong", "first", "last", "short", "none")[(trial + len(accepted)) % 6]
                draft, right = {
                    "right": (tokens, n),
                    "wrong": (wrong_from(tokens, k), k),
                    "first": (wrong_from(tokens, 0), 0),
                    "last": (wrong_from(tokens, n - 1), n - 1),
                    "short": (tokens[:k], k),
                    "none": ((), 0),
                }[kind]
                tried.add((kind, n == LONGEST))
                drafts[-1].append(draft)
                accepted.append(right)
        given = iter(drafts)
        monkeypatch.setattr(speculation, "drafts_of", lambda *args, given=given: next(given))
        found, (how,) = decoded(model, random, adapters, DRAFTS)
        assert_same(found, expected)
        assert how.accepted.ravel().tolist() == accepted
    assert {("right", True), ("right", False), ("last", True), ("last", False), ("short", True)} <= tried
    speculation.check.clear_cache()


@pytest.mark.parametrize("window", [None, 5])
def test_text_of_any_stop_token_is_taken_up_and_gone_on_with(window):
    # No grammar, several stop tokens, attention that counts what was read and not what was dropped.
    config = ModelConfig(
        24, 32, 64, 2, 4, 2, 8, RopeConfig((1e4,), (4,)), tie_embeddings=False, sliding_window=window,
        windowed_layers=(0,),
    )  # fmt: skip
    text = Decoder(config)
    base = drawn(jax.eval_shape(text.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"], 2, 2.0)
    rng = np.random.default_rng(3)
    lengths = rng.integers(3, 17, (2, 8)).astype(np.int32)
    lengths[1, 7] = 0  # a row without a prompt
    positions = np.broadcast_to(np.arange(16, dtype=np.int32)[:, None], (2, 8, 16, 1)).copy()
    prompts = Prompts(rng.integers(3, 24, (2, 8, 16)).astype(np.int32), positions, lengths)
    rules = Rules(TextSyntax(), (0, 1), 2, Sampling(), grammar=True)
    expected = generate(
        text,
        base,
        None,
        prompts,
        rules.syntax,
        stop_token=(0, 1),
        pad_token=2,
        max_new_tokens=12,
        chunk=3,
        grammar=True,
    )
    greedy = np.empty((2, 8), object)
    for t, r in np.ndindex(2, 8):
        greedy[t, r] = tuple(expected.tokens[t, r, : expected.lengths[t, r]].tolist())
    assert {said[-1] for said in greedy.ravel() if said} >= {0, 1} and (expected.lengths == 12).any()

    def wrong(said, k):
        """The first k tokens, and one that does not follow; all of it where nothing can follow."""
        return (*said[:k], 23 if said[k] != 23 else 22) if k < len(said) else said

    cuts = [min(int(rng.integers(13)), len(said)) for said in greedy.ravel()]
    whole = [len(said) for said in greedy.ravel()]
    for change, agree in ((lambda said, k: said, whole), (lambda said, k: said[:k], cuts), (wrong, cuts)):
        drafts = [change(said, k) for said, k in zip(greedy.ravel(), cuts, strict=True)]
        got = take_up(text, base, None, prompts, [drafts[:8], drafts[8:]], rules, 12, 3)
        np.testing.assert_array_equal(got.said.tokens, expected.tokens)
        np.testing.assert_array_equal(got.said.lengths, expected.lengths)
        np.testing.assert_allclose(got.said.logprobs, expected.logprobs, rtol=1e-5, atol=1e-5)
        assert got.accepted.ravel().tolist() == agree
    assert len(set(cuts)) > 4


def test_a_draft_is_what_the_first_view_means_written_in_the_others():
    config = dataclasses.replace(PLAIN, views=12)
    ((_, views),) = queries(config, 1)
    answer = np.array([[1, 2, 3], [4, 5, 0]], np.int8)
    said = (1, 2, 3, NEWLINE, 4, 5, 0, NEWLINE, STOP)
    for view, draft in zip(views[1:], drafts_of(views, said, ARC, 931), strict=True):
        assert draft[-1] == STOP
        shown = ARC.parse(draft)
        np.testing.assert_array_equal(view.transform.invert(shown), answer)
    assert {len(draft) for draft in drafts_of(views, said, ARC, 931)} == {9, 10}, "a turned grid has more rows"
    assert {len(draft) for draft in drafts_of(views, said, ARC, 9)} == {9}
    assert drafts_of(views, said[:-1], ARC, 931) == [()] * 11, "a grid that was cut off is no answer"


class Chatty(ArcDomain):
    """Answers that begin with a token of no meaning."""

    def decoded(self, tokens, task):
        return super().decoded(tokens[1:], task)


class Unwritable(ArcDomain):
    def encode(self, demos, query=None):
        if query is None:
            raise ValueError("what the model said is no answer")
        return super().encode(demos, query)


def test_what_is_written_otherwise_than_the_domain_would_is_offered_as_it_was_said():
    ((_, views),) = queries(PLAIN, 1)
    said = (7, 1, NEWLINE, STOP)
    assert drafts_of(views, said, Chatty(), 931) == [said] * (VIEWS - 1)
    assert drafts_of(views, (1, NEWLINE, STOP, 4, STOP), ARC, 931) == [()] * (VIEWS - 1), "nothing after the end"
    assert drafts_of(views, said[1:], Unwritable(), 931) == [said[1:]] * (VIEWS - 1)


# -- With what comes after decoding ------------------------------------------------------------------------


@pytest.mark.slow
def test_search_finds_the_same_beside_the_same_answers(model, random, adapters):
    # Of a model of random weights few grids are likely: this one cares for two colours, newline and end only.
    liked = np.isin(np.arange(16), (0, 1, NEWLINE, STOP))
    base = {**random, "head": {"kernel": np.where(liked, 1.5 * np.asarray(random["head"]["kernel"]), 0)}}
    looked = {"search_above": 0.02, "search_passes": 4, "views": 3}
    asked = queries(dataclasses.replace(PLAIN, views=3))
    expected, _ = decoded(model, base, adapters, dataclasses.replace(PLAIN, **looked), asked)
    found, how = decoded(model, base, adapters, dataclasses.replace(DRAFTS, **looked), asked)
    assert any(c.searched for of_query in expected for c in of_query) and how
    assert_same(found, expected)


def test_scoring_takes_up_what_both_passes_have_read(model, random, adapters):
    kept: list[Any] = []
    decoded(model, random, adapters, DRAFTS, on_read=kept.append)
    answers = [[np.zeros((1, 1), np.int8), np.array([[1, 2], [3, 4]], np.int8)] for _ in range(T)]
    shapes = ScoreShapes(length=WIDTH, rows=2, rooms=(32,))
    rest = (model, random, adapters, queries(), answers, ARC, T, shapes)
    (read,) = kept
    assert [read.of_view(v)[1] for v in range(4)] == [0, 0, 1, 2] and read.of_view(0)[0] is read.first
    for a, b in zip(score_queries(*rest, read), score_queries(*rest), strict=True):
        assert a is not None and b is not None and a.keys() == b.keys()
        for key in a:
            assert len(set(b[key])) == VIEWS
            np.testing.assert_allclose(a[key], b[key], rtol=1e-4)
