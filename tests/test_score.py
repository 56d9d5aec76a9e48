"""Likelihoods of given answers, against sums made by hand from the model's logits."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from text_tools import tiny_tokenizer

import ttt_jax.decode.lots as lots
from ttt_jax.config import DecodeConfig, LoraConfig, TasksConfig
from ttt_jax.decode import blocks
from ttt_jax.decode.candidates import decode_candidates, score_length, score_queries
from ttt_jax.decode.generate import Prompts, generate
from ttt_jax.decode.lots import ScoreShapes, score_rooms
from ttt_jax.decode.score import score_candidates
from ttt_jax.decode.views import make_views
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.lora import init_adapter
from ttt_jax.runtime.compile_log import CompileLog
from ttt_jax.tasks.arc import ArcDomain
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task

ARC = ArcDomain()
T = 2
SHAPES = ScoreShapes(length=192, rows=4, rooms=(32, 256))


@pytest.fixture(scope="module")
def adapters(tiny_config):
    one = jax.eval_shape(lambda: init_adapter(jax.random.key(0), tiny_config, LoraConfig(rank=4)))
    rng = np.random.default_rng(1)
    return {"lora": jax.tree.map(lambda x: jnp.asarray(0.3 * rng.normal(size=(T, *x.shape)), jnp.float32), one)}


def make_task(seed):
    rng = np.random.default_rng(seed)

    def grid():
        return rng.integers(0, 10, rng.integers(1, 4, 2)).astype(np.int8)

    # More than one query, and demos of many shapes: indices and orders matter.
    return Task(f"task{seed}", tuple((grid(), grid()) for _ in range(3)), (grid(), grid())), [grid(), grid(), grid()]


@partial(jax.jit, static_argnames="model")
def all_logprobs(model, variables, tokens, positions):
    return jax.nn.log_softmax(model.apply(variables, tokens[None], positions[None])[0])


def by_hand(tiny_model: tuple[Decoder, Any], adapters, t, tokens, positions, weights):
    """One sequence, from the logits of the plain call."""
    model, base = tiny_model
    variables = {"params": base}
    if adapters is not None:
        variables |= jax.tree.map(lambda x: x[t], adapters)
    # Zeros behind the sequence, which what precedes them does not see: one shape to compile.
    room = 320 - len(tokens)
    padded = np.pad(tokens, (0, room)), np.pad(positions, ((0, room), (0, 0)))
    logprobs = np.asarray(all_logprobs(model, variables, *padded))
    return sum(weights[i] * logprobs[i - 1, tokens[i]] for i in np.flatnonzero(weights) if i > 0)


def expected_candidate_score(tiny_model: tuple[Decoder, Any], adapters, t, views, answer):
    """Each view's prompt with the answer written after it, summed over views."""
    total = 0.0
    for view in views:
        task = Task("", view.task.demos, view.task.queries, tuple(answer for _ in view.task.queries))
        shown = view.transform.apply(task)
        body = [*(cell for row in shown.answers[view.query].tolist() for cell in [*row, 10]), ARC.stop_token]
        tokens = np.concatenate([view.prompt.tokens, body]).astype(np.int32)
        places = [(r + 1, c + 1) for r, row in enumerate(shown.answers[view.query]) for c in range(len(row) + 1)]
        places.append((len(shown.answers[view.query]) + 1, 1))
        start = len(view.prompt)
        rest = np.array([(start + i, r, c) for i, (r, c) in enumerate(places)], np.int32)
        positions = np.concatenate([view.prompt.positions, rest])
        weights = np.arange(len(tokens)) >= start
        total += by_hand(tiny_model, adapters, t, tokens, positions, weights)
    return total


def grid(rows, columns):
    return np.random.default_rng([rows, columns]).integers(0, 10, (rows, columns)).astype(np.int8)


def test_a_candidates_scores_are_the_likelihoods_of_its_answer_alone_view_by_view(
    tiny_model: tuple[Decoder, Any], adapters, monkeypatch
):
    # Grids of a few tokens and of several passes; room for the attention scores of two long rows at a time.
    shapes = ScoreShapes(length=128, rows=6, rooms=(32, 256))
    monkeypatch.setattr(blocks, "SCORE_BYTES", 4 << 20)
    config = DecodeConfig(views=3)
    tasks = [make_task(0), make_task(1)]
    views = [make_views(task, query, ARC, config, seed=0) for query, (task, _) in enumerate(tasks)]
    sizes = [(1, 1), (12, 12), (5, 6), (2, 25), (11, 11), (1, 30), (10, 13), (3, 2)], [(13, 13), (2, 2)]
    answers = [[grid(*size) for size in of_query] for of_query in sizes]
    got = score_candidates(*tiny_model, adapters, views, answers, ARC, shapes)
    for t in range(T):
        assert list(got[t]) == [ARC.key(a) for a in answers[t]]
    for t, i in [(0, 0), (0, 1), (0, 3), (0, 6), (1, 0), (1, 1)]:
        expected = [expected_candidate_score(tiny_model, adapters, t, [v], answers[t][i]) for v in views[t]]
        np.testing.assert_allclose(got[t][ARC.key(answers[t][i])], expected, rtol=1e-4)


def test_a_decoded_answer_scores_what_decoding_said(tiny_model: tuple[Decoder, Any], adapters):
    # A grammar-bound greedy answer may be unlikely, its log-probability is the model's all the same.
    task, _ = make_task(2)
    views = [[view] for view in make_views(task, 0, ARC, DecodeConfig(views=T), seed=0)]
    prompts = Prompts(np.zeros((T, 1, 96), np.int32), np.zeros((T, 1, 96, 3), np.int32), np.zeros((T, 1), np.int32))
    for t, (view,) in enumerate(views):
        size = prompts.lengths[t, 0] = len(view.prompt)
        prompts.tokens[t, 0, :size], prompts.positions[t, 0, :size] = view.prompt.tokens, view.prompt.positions
    out = generate(
        *tiny_model, adapters, prompts, ARC.syntax, stop_token=ARC.stop_token, pad_token=ARC.pad_token,
        max_new_tokens=931, chunk=930, temperature=2.0, grammar=True, keys=np.ones((T, 1, 2), np.uint32),
    )  # fmt: skip
    answers = [ARC.parse(out.tokens[t, 0, : out.lengths[t, 0]].tolist()) for t in range(T)]
    inverted = [[view.transform.invert(answer)] for (view,), answer in zip(views, answers, strict=True)]
    got = score_candidates(*tiny_model, adapters, views, inverted, ARC, SHAPES)
    for t in range(T):
        assert out.tokens[t, 0, out.lengths[t, 0] - 1] == ARC.stop_token
        np.testing.assert_allclose(next(iter(got[t].values())), out.logprobs[t], rtol=1e-4)


def test_neighbours_and_further_answers_leave_a_score_unchanged(tiny_model: tuple[Decoder, Any], adapters):
    config = DecodeConfig(views=3)
    tasks = [make_task(0), make_task(1)]
    views = [make_views(task, 0, ARC, config, seed=0) for task, _ in tasks]
    answers = [tasks[0][1], tasks[1][1]]
    expected = score_candidates(*tiny_model, adapters, views, answers, ARC, SHAPES)
    broken = jax.tree.map(lambda x: x.at[1].set(jnp.nan), adapters)
    got = score_candidates(*tiny_model, broken, views, answers, ARC, SHAPES)
    assert got[0] == expected[0]
    assert np.isnan(list(got[1].values())).all()
    fewer = score_candidates(*tiny_model, adapters, views, [answers[0][:1], answers[1]], ARC, SHAPES)
    key = ARC.key(answers[0][0])
    np.testing.assert_allclose(fewer[0][key], expected[0][key], rtol=1e-5)
    none = score_candidates(*tiny_model, adapters, [views[0], []], [answers[0], []], ARC, SHAPES)
    np.testing.assert_allclose(list(none[0].values()), list(expected[0].values()), rtol=1e-5)


def test_lots_hold_every_row_once_the_longest_together():
    rng = np.random.default_rng(0)

    def row(length):
        return lots.Row(str(length), None, np.zeros(length), np.zeros((length, 3)))  # pyright: ignore[reportArgumentType]

    rows = [[row(n) for n in rng.integers(1, 500, count)] for count in (5, 0, 9, 1)]
    shapes = ScoreShapes(64, 8, (64, 256, 512))
    batches = list(lots.lot_batches(rows, shapes, 3, 2, True))
    seen = [(t, id(of)) for _, batch in batches for t, lot in batch for of in lot]
    assert sorted(seen) == sorted((t, id(of)) for t, of_query in enumerate(rows) for of in of_query)
    for room in shapes.rooms:
        of_room = [lot for size, batch in batches if size == room for _, lot in batch]
        assert len(of_room) % 3 == 0 and all(
            len(lot) <= 2 and {shapes.room(of.length) for of in lot} <= {room} for lot in of_room
        )
        longest = [lot[0].length for lot in of_room if lot]
        assert longest == sorted(longest, reverse=True)
    plain = list(lots.lot_batches(rows, shapes, 4, 2, False))
    assert all([t for t, _ in batch] == [0, 1, 2, 3] for _, batch in plain)
    assert sum(len(lot) for _, batch in plain for _, lot in batch) == 15


def test_what_is_computed_for_nothing_is_counted(tiny_model: tuple[Decoder, Any], adapters):
    views = [make_views(make_task(t)[0], 0, ARC, DecodeConfig(views=2), seed=0) for t in range(T)]
    counted: list[tuple[int, int]] = []
    answers = [[grid(2, 2), grid(12, 12)], [grid(3, 3)]]  # 7, 157 and 13 tokens
    score_candidates(
        *tiny_model, adapters, views, answers, ARC, SHAPES, on_padding=lambda *tokens: counted.append(tokens)
    )
    # Two lots of four rows, in the room of 32 tokens and in two passes of 128.
    assert counted == [(2 * 4 * 32, 7 + 13), (2 * 4 * 256, 157)] * 2


@pytest.mark.parametrize("adapt", [True, False])
def test_queries_that_are_scored_in_turns_have_the_scores_of_all_at_once(
    tiny_model: tuple[Decoder, Any], adapters, monkeypatch, adapt
):
    # Five queries, of which the longest answers are not the first; one has none, and prompts come from either place.
    config = DecodeConfig(views=2, slots=5, chunk=8, max_new_tokens=24)
    queries = [(t % T, make_views(make_task(t)[0], t % 2, ARC, config, seed=0)) for t in range(5)]
    sizes = [[(2, 2)], [(9, 9), (1, 1)], [], [(12, 12), (3, 3), (2, 5)], [(4, 1)]]
    answers = [[grid(*size) for size in of_query] for of_query in sizes]
    stacked = adapters if adapt else None
    kept = []
    decode_candidates(*tiny_model, stacked, queries, ARC, config, 192, seed=0, on_read=kept.append)
    found = []
    for count, rows, read in ((16, 4, None), (2, 1, None), (3, 2, kept[0])):
        monkeypatch.setattr(lots, "LOTS", count)
        monkeypatch.setattr(lots, "LOT_ROWS", rows)
        found.append(score_queries(*tiny_model, stacked, queries, answers, ARC, 5, SHAPES, read))
    for got in found[1:]:
        for one, other in zip(found[0], got, strict=True):
            assert one.keys() == other.keys()
            np.testing.assert_allclose(list(other.values()), list(one.values()), rtol=1e-5)


def test_what_decoding_has_read_gives_the_scores_of_prompts_read_anew(tiny_model: tuple[Decoder, Any], adapters):
    config = DecodeConfig(views=3, samples=2, temperature=2.0, slots=T, chunk=8, max_new_tokens=24)
    queries = [(1 - t, make_views(make_task(t)[0], 0, ARC, config, seed=0)) for t in range(T)]
    kept = []
    decode_candidates(*tiny_model, adapters, queries, ARC, config, 192, seed=0, on_read=kept.append)
    (read,) = kept
    assert read.cache.slots > 192 + 8, "the cache did not grow"
    answers = [[grid(3, 3), grid(2, 5), grid(1, 1)], [grid(2, 2)]]
    expected, got = (
        score_queries(*tiny_model, adapters, queries, answers, ARC, T, SHAPES, source) for source in (None, read)
    )
    for one, other in zip(expected, got, strict=True):
        assert one.keys() == other.keys()
        np.testing.assert_allclose(list(other.values()), list(one.values()), rtol=1e-5)


def test_no_answers_need_a_program_that_others_did_not(tiny_model: tuple[Decoder, Any], adapters):
    shapes = ScoreShapes(length=160, rows=3, rooms=(64, 256))
    views = [make_views(make_task(t)[0], 0, ARC, DecodeConfig(views=2), seed=0) for t in range(T)]
    with CompileLog() as log:
        score_candidates(*tiny_model, adapters, views, [[grid(1, 2)], [grid(12, 13)]], ARC, shapes)
        assert (log.programs["read_heads"], log.programs["score_tails"]) == (1, 2)
        before = log.count
        for sizes in ([(3, 3)] * 7, [], [(13, 13), (1, 1), (1, 30), (9, 9), (2, 2)], [(10, 10)] * 4):
            answers = [[(grid(*size) + i) % 10 for i, size in enumerate(sizes)], [grid(4, 4)]]
            score_candidates(*tiny_model, adapters, views, answers, ARC, shapes)
        assert log.count == before
    assert log.programs["read_heads"] == 1


@given(st.integers(1, 4000))
def test_rooms_are_few_and_hold_every_answer(longest):
    shapes = ScoreShapes(64, 8, score_rooms(longest))
    rooms = shapes.rooms
    assert list(rooms) == sorted(set(rooms)) and longest <= rooms[-1] < longest + lots.PASS_TOKENS
    assert 4 ** (len(rooms) - 1) <= max(1, longest / lots.PASS_TOKENS)
    assert all(shapes.room(n) in rooms for n in range(1, longest + 1))
    with pytest.raises(ValueError, match="200"):
        ScoreShapes(64, 8, (64, 200))


def test_queries_without_answers_score_nothing(tiny_model: tuple[Decoder, Any], adapters):
    task, grids = make_task(0)
    views = make_views(task, 0, ARC, DecodeConfig(views=2), seed=0)
    assert score_candidates(*tiny_model, adapters, [views, views], [[], []], ARC, SHAPES) == [{}, {}]
    one = score_candidates(*tiny_model, adapters, [views, views], [[], grids[:1]], ARC, SHAPES)
    assert one[0] == {}
    assert len(one[1]) == 1


def test_an_answer_longer_than_every_room_is_scored_all_the_same(tiny_model: tuple[Decoder, Any]):
    task, _ = make_task(0)
    views = make_views(task, 0, ARC, DecodeConfig(views=1), seed=0)
    large = np.zeros((12, 12), np.int8)
    shapes = ScoreShapes(len(views[0].prompt), 1, (32,))
    (got,) = score_candidates(*tiny_model, None, [views], [[large]], ARC, shapes)
    expected = expected_candidate_score(tiny_model, None, 0, views, large)
    np.testing.assert_allclose(got[ARC.key(large)], [expected], rtol=1e-4)


def test_the_length_of_a_groups_prompts_is_the_bucket_of_its_longest_or_beyond_all_of_them():
    views = [(t, make_views(make_task(t)[0], 0, ARC, DecodeConfig(views=3), seed=0)) for t in range(T)]
    longest = max(len(view.prompt) for _, of_query in views for view in of_query)
    assert score_length(views, (longest - 1, longest, 4096)) == longest
    assert score_length(views, (longest - 1,)) >= longest


@pytest.mark.parametrize("show_demos", [True, False])
def test_an_answer_in_words_is_scored_after_the_very_prompt_that_was_decoded(show_demos):
    domain = get_domain("zebra").bind(tiny_tokenizer())
    (task, *_) = domain.read(TasksConfig(domain="zebra", source="zebra/train?sizes=2x3&demos=2&each=1")).tasks
    config = DecodeConfig(views=1, transforms=("order",), show_demos=show_demos)
    (view,) = make_views(task, 0, domain, config, seed=0)
    row = lots.written_row(view, task.answers[0], domain)
    solved = domain.encode_solved(task.demos if show_demos else (), task.queries[0], task.answers[0])
    assert np.array_equal(np.concatenate([row.prompt.tokens, row.tokens]), solved.tokens)
    assert np.array_equal(np.concatenate([row.prompt.positions, row.positions]), solved.positions)
