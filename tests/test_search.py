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

from ttt_jax.config import LoraConfig
from ttt_jax.decode.generate import Prompts, generate
from ttt_jax.decode.search import Search, search
from ttt_jax.decode.syntax import TextSyntax
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.lora import init_adapter
from ttt_jax.tasks.arc import ArcDomain

ARC = ArcDomain()
T, R, WIDTH, LONGEST = 2, 3, 8, 4
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
    tokens = np.where(np.arange(WIDTH) < lengths[..., None], rng.integers(0, VOCABULARY, (T, R, WIDTH)), PAD)
    positions = np.broadcast_to(np.arange(WIDTH, dtype=np.int32)[:, None], (T, R, WIDTH, 1)).copy()
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
    tokens = np.zeros((len(tails), WIDTH + LONGEST), np.int32)
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
        above=0.03, passes=50, syntax=TextSyntax(), stop_tokens=(STOP,), pad_token=PAD, grammar=False,
        max_new_tokens=LONGEST, chunk=16, lengths=(WIDTH,),
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def greedy(tiny, prompts, options):
    return generate(
        *tiny, prompts, options.syntax, stop_token=options.stop_tokens, pad_token=options.pad_token,
        max_new_tokens=options.max_new_tokens, chunk=options.chunk, grammar=options.grammar,
    )  # fmt: skip


@pytest.mark.parametrize("above", [0.03, 0.004])
def test_it_finds_exactly_the_completions_that_enumeration_finds(tiny, above):
    prompts, looked = text_prompts(), options(above=above)
    seeds = greedy(tiny, prompts, looked)
    found = search(*tiny, prompts, seeds, looked)
    assert found[1][2] == []
    sizes = []
    for t, r in np.ndindex(T, R):
        if not prompts.lengths[t, r]:
            continue
        seed = tuple(seeds.tokens[t, r, : seeds.lengths[t, r]].tolist())
        expected = {tail: p for tail, p in enumerated(tiny, prompts, t, r).items() if p >= above and tail != seed}
        got = {c.tokens: math.exp(c.logprob) for c in found[t][r]}
        assert got.keys() == expected.keys()
        assert len(found[t][r]) == len(got)
        for tail, p in expected.items():
            assert got[tail] == pytest.approx(p, rel=1e-4)
        assert list(got.values()) == sorted(got.values(), reverse=True)
        sizes.append(len(got))
    assert max(sizes) >= {0.03: 4, 0.004: 20}[above]


def test_a_row_that_set_out_badly_finds_the_greedy_answer_too(tiny):
    prompts, looked = text_prompts(), options(above=0.03)
    seeds = greedy(tiny, prompts, looked)
    bad = seeds._replace(tokens=np.full_like(seeds.tokens, 1), lengths=np.full_like(seeds.lengths, LONGEST))
    found = search(*tiny, prompts, bad, looked)
    for t, r in np.ndindex(T, R):
        likely = (
            {tail for tail, p in enumerated(tiny, prompts, t, r).items() if p >= 0.03}
            if prompts.lengths[t, r]
            else set()
        )
        assert {c.tokens for c in found[t][r]} == likely


def test_fewer_passes_find_a_part_and_none_finds_what_is_not_there(tiny):
    prompts = text_prompts()
    seeds = greedy(tiny, prompts, options())
    found = [search(*tiny, prompts, seeds, options(above=0.004, passes=n)) for n in (1, 2, 50)]
    sets = [{(t, r, c.tokens) for t, r in np.ndindex(T, R) for c in f[t][r]} for f in found]
    assert sets[0] < sets[1] < sets[2]


def test_a_task_is_searched_the_same_whatever_its_neighbour(tiny):
    prompts, looked = text_prompts(), options(above=0.03)
    seeds = greedy(tiny, prompts, looked)
    model, base, adapters = tiny
    expected = search(model, base, adapters, prompts, seeds, looked)
    broken = jax.tree.map(lambda x: np.concatenate([x[:1], np.full_like(x[1:], np.nan)]), adapters)
    got = search(model, base, broken, prompts, seeds, looked)
    for row, same in zip(got[0], expected[0], strict=True):
        assert [c.tokens for c in row] == [c.tokens for c in same]
        np.testing.assert_allclose([c.logprob for c in row], [c.logprob for c in same], rtol=1e-5)
    assert got[1] == [[], [], []]


def test_grids_found_are_those_of_a_depth_first_search_by_hand():
    config = dataclasses.replace(TINY, vocab_size=16, head_dim=12, rope=RopeConfig((1e4, 1e2, 1e2), (2, 2, 2)))
    model, base, adapters = random_variables(config, 6, 3.0)
    # Of a model of random weights no grid is likely: this one cares for two colours, newline and end only.
    base["head"]["kernel"] = np.where(np.isin(np.arange(16), (0, 1, 10, 13)), 2 * base["head"]["kernel"], 0)
    adapters["lora"].pop("head", None)
    rng = np.random.default_rng(0)
    grids = [rng.integers(0, 10, (2, 2)).astype(np.int8) for _ in range(4)]
    tokens, positions = np.full((T, 1, 32), ARC.pad_token, np.int32), np.zeros((T, 1, 32, 3), np.int32)
    lengths = np.zeros((T, 1), np.int32)
    for t in range(T):
        prompt = ARC.encode([(grids[t], grids[t + 1])], grids[t + 2])
        lengths[t] = size = len(prompt)
        tokens[t, 0, :size], positions[t, 0, :size] = prompt.tokens, prompt.positions
    prompts = Prompts(tokens, positions, lengths)
    looked = options(
        above=0.01, syntax=ARC.syntax, stop_tokens=ARC.stop_tokens, pad_token=ARC.pad_token, grammar=True,
        max_new_tokens=16, lengths=(48,),
    )  # fmt: skip
    seeds = greedy((model, base, adapters), prompts, looked)
    found = search(model, base, adapters, prompts, seeds, looked)
    for t in range(T):
        variables = {"params": base, **jax.tree.map(lambda x, t=t: x[t], adapters)}
        expected: dict[tuple[int, ...], float] = {}

        def visit(written, places, logprob, t=t, variables=variables, expected=expected):
            """Depth first, the whole sequence read again at every node."""
            size = int(lengths[t, 0])
            row, at = tokens[t, 0].copy(), positions[t, 0].copy()
            row, at = np.pad(row, (0, 16)), np.pad(at, ((0, 16), (0, 0)))
            row[size : size + len(written)], at[size : size + len(written)] = written, places or np.zeros((0, 3))
            after = np.asarray(all_logprobs(model, variables, row[None], at[None]))[0, size + len(written) - 1]
            for token in legal(written):
                total, longer = logprob + after[token], [*written, token]
                if total < math.log(0.01) or len(longer) > 16:
                    continue
                if token == ARC.stop_token:
                    expected[tuple(longer)] = total
                else:
                    visit(longer, [*places, place(size, longer)], total)

        visit([], [], 0.0)
        seed = tuple(seeds.tokens[t, 0, : seeds.lengths[t, 0]].tolist())
        expected.pop(seed, None)
        assert {c.tokens for c in found[t][0]} == expected.keys()
        for c in found[t][0]:
            assert c.logprob == pytest.approx(expected[c.tokens], abs=1e-3)
    assert sum(len(of_task[0]) for of_task in found) >= 3


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
