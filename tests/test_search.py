"""Search over completions against the enumeration of all of them, and against depth-first search by hand."""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.config import DecodeConfig, LoraConfig
from ttt_jax.decode.candidates import decode_candidates
from ttt_jax.decode.generate import Prompts, generate
from ttt_jax.decode.search import Search, search, search_rooms
from ttt_jax.decode.syntax import TextSyntax
from ttt_jax.decode.views import make_views
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.lora import init_adapter
from ttt_jax.tasks.arc import ArcDomain
from ttt_jax.tasks.task import Task

ARC = ArcDomain()
LIKELY, ABOVE = 0.004, 0.01
T, R, WIDTH, LONGEST = 2, 3, 8, 4
ROOM = WIDTH + LONGEST
STOP, PAD, VOCABULARY = 0, 4, 5
TINY = ModelConfig(VOCABULARY, 16, 24, 1, 2, 1, 8, RopeConfig((1e4,), (4,)), tie_embeddings=False)


def random_variables(config: ModelConfig, seed: int, scale: float) -> tuple[Decoder, Any, Any]:
    """A model, parameters far from uniform predictions, and an adapter for each of T tasks."""
    model = Decoder(config)
    rng = np.random.default_rng(seed)

    def draw(x, factor):
        return (factor * x.shape[-2] ** -0.5 * rng.normal(size=x.shape)).astype(x.dtype)

    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))["params"]
    base = jax.tree.map(lambda x: draw(x, scale) if x.ndim > 1 else np.ones(x.shape, x.dtype), shapes)
    one = jax.eval_shape(lambda: init_adapter(jax.random.key(0), config, LoraConfig(rank=2)))
    return model, base, {"lora": jax.tree.map(lambda x: np.stack([draw(x, 1.0) for _ in range(T)]), one)}


@pytest.fixture(scope="module")
def tiny():
    return random_variables(TINY, 0, 1.5)


def text_prompts() -> Prompts:
    rng = np.random.default_rng(1)
    lengths = rng.integers(2, WIDTH + 1, (T, R)).astype(np.int32)
    lengths[1, 2] = 0  # a row without a prompt
    tokens = np.where(np.arange(ROOM) < lengths[..., None], rng.integers(0, VOCABULARY, (T, R, ROOM)), PAD)
    positions = np.broadcast_to(np.arange(ROOM, dtype=np.int32)[:, None], (T, R, ROOM, 1)).copy()
    return Prompts(tokens.astype(np.int32), positions, lengths)


@partial(jax.jit, static_argnames="model")
def all_logprobs(model, variables, tokens, positions):
    return jax.nn.log_softmax(model.apply(variables, tokens, positions))


def enumerated(tiny, prompts, t, r) -> dict[tuple[int, ...], float]:
    """Every completion of a row that ends with a stop token within LONGEST tokens: its probability."""
    model, base, adapters = tiny
    variables = {"params": base, **jax.tree.map(lambda x: x[t], adapters)}
    size = int(prompts.lengths[t, r])
    tails = np.array(list(itertools.product(range(VOCABULARY), repeat=LONGEST)), np.int32)
    # Zeros behind the sequence, which what precedes them does not see: one shape to compile.
    tokens = np.zeros((len(tails), ROOM), np.int32)
    tokens[:, :size], tokens[:, size : size + LONGEST] = prompts.tokens[t, r, :size], tails
    logprobs = np.asarray(all_logprobs(model, variables, tokens, None))
    found = {}
    for i, tail in enumerate(tails.tolist()):
        if STOP in tail:
            written = tail[: tail.index(STOP) + 1]
            found[tuple(written)] = math.exp(sum(logprobs[i, size - 1 + j, token] for j, token in enumerate(written)))
    return found


def options(**changes: Any) -> Search:
    plain = Search(
        above=LIKELY, passes=50, syntax=TextSyntax(), stop_tokens=(STOP,), pad_token=PAD, grammar=False,
        max_new_tokens=LONGEST, rooms=(2, LONGEST),
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def greedy(tiny, prompts, options):
    return generate(
        *tiny, prompts, options.syntax, stop_token=options.stop_tokens, pad_token=options.pad_token,
        max_new_tokens=options.max_new_tokens, chunk=16, grammar=options.grammar,
    )  # fmt: skip


def test_it_finds_exactly_the_completions_that_enumeration_finds(tiny):
    prompts, looked = text_prompts(), options()
    seeds = greedy(tiny, prompts, looked)
    found = search(*tiny, prompts, seeds, looked)
    assert found[1][2] == []
    sizes = []
    for t, r in np.ndindex(T, R):
        if not prompts.lengths[t, r]:
            continue
        seed = tuple(seeds.tokens[t, r, : seeds.lengths[t, r]].tolist())
        expected = {tail: p for tail, p in enumerated(tiny, prompts, t, r).items() if p >= LIKELY and tail != seed}
        got = {c.tokens: math.exp(c.logprob) for c in found[t][r]}
        assert got.keys() == expected.keys()
        assert len(found[t][r]) == len(got)
        for tail, p in expected.items():
            assert got[tail] == pytest.approx(p, rel=1e-4)
        assert list(got.values()) == sorted(got.values(), reverse=True)
        sizes.append(len(got))
    assert max(sizes) >= 20


@pytest.mark.parametrize(("chunk", "longest"), [(128, 931), (128, 16), (1, 1), (16, 40), (64, 4096)])
def test_rooms_are_few_and_hold_every_answer(chunk, longest):
    rooms = search_rooms(chunk, longest)
    assert rooms[-1] == longest and list(rooms) == sorted(set(rooms))
    assert 4 ** (len(rooms) - 1) <= max(1, longest / chunk)


def test_rooms_that_do_not_hold_every_answer_are_refused():
    for rooms in ((2, LONGEST + 1), (LONGEST, 2)):
        with pytest.raises(ValueError, match="rooms"):
            options(rooms=rooms)


def test_a_row_that_set_out_badly_finds_the_greedy_answer_too(tiny):
    prompts, looked = text_prompts(), options()
    seeds = greedy(tiny, prompts, looked)
    bad = seeds._replace(tokens=np.full_like(seeds.tokens, 1), lengths=np.full_like(seeds.lengths, LONGEST))
    found = search(*tiny, prompts, bad, looked)
    for t, r in np.ndindex(T, R):
        likely = (
            {tail for tail, p in enumerated(tiny, prompts, t, r).items() if p >= LIKELY}
            if prompts.lengths[t, r]
            else set()
        )
        assert {c.tokens for c in found[t][r]} == likely


def test_fewer_passes_find_a_part_and_none_finds_what_is_not_there(tiny):
    prompts = text_prompts()
    seeds = greedy(tiny, prompts, options())
    found = [search(*tiny, prompts, seeds, options(passes=n)) for n in (1, 2, 50)]
    sets = [{(t, r, c.tokens) for t, r in np.ndindex(T, R) for c in f[t][r]} for f in found]
    assert sets[0] < sets[1] < sets[2]


def test_a_task_is_searched_the_same_whatever_its_neighbour(tiny):
    prompts, looked = text_prompts(), options()
    seeds = greedy(tiny, prompts, looked)
    model, base, adapters = tiny
    expected = search(model, base, adapters, prompts, seeds, looked)
    broken = jax.tree.map(lambda x: np.concatenate([x[:1], np.full_like(x[1:], np.nan)]), adapters)
    got = search(model, base, broken, prompts, seeds, looked)
    for row, same in zip(got[0], expected[0], strict=True):
        assert [c.tokens for c in row] == [c.tokens for c in same]
        np.testing.assert_allclose([c.logprob for c in row], [c.logprob for c in same], rtol=1e-5)
    assert got[1] == [[], [], []]


@pytest.fixture(scope="module")
def decoded():
    """(model, base, adapters, queries, candidates) of two grid tasks under two views, searched."""
    config = dataclasses.replace(TINY, vocab_size=16, head_dim=12, rope=RopeConfig((1e4, 1e2, 1e2), (2, 2, 2)))
    model, base, adapters = random_variables(config, 6, 3.0)
    # Of a model of random weights no grid is likely: this one cares for two colours, newline and end only.
    base["head"]["kernel"] = np.where(np.isin(np.arange(16), (0, 1, 10, 13)), 2 * base["head"]["kernel"], 0)
    rng = np.random.default_rng(0)
    grids = [rng.integers(0, 10, (2, 2)).astype(np.int8) for _ in range(4)]
    tasks = [Task(f"task{t}", ((grids[t], grids[t + 1]),), (grids[t + 2],)) for t in range(T)]
    options = DecodeConfig(views=2, slots=T, chunk=16, max_new_tokens=16, search_above=ABOVE, search_passes=50)
    queries = [(t, make_views(task, 0, ARC, options, seed=0)) for t, task in enumerate(tasks)]
    candidates = decode_candidates(model, base, adapters, queries, ARC, options, 64, seed=0)
    return model, base, adapters, queries, candidates


def test_grids_found_are_those_of_a_depth_first_search_by_hand(decoded):
    model, base, adapters, queries, candidates = decoded
    count = 0
    for (t, views), of_query in zip(queries, candidates, strict=True):
        variables = {"params": base, **jax.tree.map(lambda x, t=t: x[t], adapters)}
        for view in views:
            expected = depth_first(model, variables, view.prompt, math.log(ABOVE))
            of_view = [c for c in of_query if c.view == view.transform.name]
            greedy = next(c.tokens for c in of_view if not c.searched)
            expected.pop(greedy, None)
            found = {c.tokens: c.logprob for c in of_view if c.searched}
            assert found.keys() == expected.keys()
            for tokens, logprob in found.items():
                assert logprob == pytest.approx(expected[tokens], abs=1e-3)
            count += len(found)
    assert count >= 4


def test_what_is_found_is_mapped_back_and_told_from_greedy_answers(decoded):
    *_, queries, candidates = decoded
    for (_, views), of_query in zip(queries, candidates, strict=True):
        assert [c.searched for c in of_query[: len(views)]] == [False] * len(views)
        for view in views:
            of_view = [c for c in of_query if c.view == view.transform.name]
            assert [c.sample for c in of_view] == list(range(len(of_view)))
            assert of_view[1:] == sorted(of_view[1:], key=lambda c: -c.logprob)
            for candidate in of_view:
                if candidate.searched:
                    shown = ARC.parse(candidate.tokens)
                    np.testing.assert_array_equal(candidate.answer, view.transform.invert(shown))


def depth_first(model, variables, prompt, floor: float) -> dict[tuple[int, ...], float]:
    """Log-probabilities of the grids of a floor or more; the whole sequence is read again at every node."""
    found: dict[tuple[int, ...], float] = {}
    size = len(prompt)
    tokens, positions = np.zeros(48, np.int32), np.zeros((48, 3), np.int32)
    tokens[:size], positions[:size] = prompt.tokens, prompt.positions

    def visit(written: list[int], logprob: float) -> None:
        end = size + len(written)
        if written:
            tokens[end - 1], positions[end - 1] = written[-1], place(size, written)
        after = np.asarray(all_logprobs(model, variables, tokens[None], positions[None]))[0, end - 1]
        for token in legal(written):
            total, longer = logprob + float(after[token]), [*written, token]
            if total < floor or len(longer) > 16:
                continue
            if token == ARC.stop_token:
                found[tuple(longer)] = total
            else:
                visit(longer, total)

    visit([], 0.0)
    return found


def legal(written: list[int]) -> list[int]:
    """What may follow: a prefix of some grid, by definition."""
    rows = [[]]
    for token in written:
        if token == 10:
            rows.append([])
        else:
            rows[-1].append(token)
    width = len(rows[0]) if len(rows) > 1 else 30
    may = list(range(10)) if len(rows[-1]) < width and len(rows) <= 30 else []
    if rows[-1] and (len(rows) == 1 or len(rows[-1]) == width):
        may.append(10)
    if len(rows) > 1 and not rows[-1]:
        may.append(ARC.stop_token)
    return may


def place(size: int, written: list[int]) -> tuple[int, int, int]:
    """(sequence, row, column) of the last token of an answer after a prompt of `size` tokens."""
    newlines = [i for i, token in enumerate(written[:-1]) if token == 10]
    column = len(written) - 1 - (newlines[-1] + 1 if newlines else 0)
    return size + len(written) - 1, len(newlines) + 1, column + 1
