"""Batched decoding against a naive loop, and the independence of its rows."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import ttt_jax.decode.generate as decoding
from ttt_jax.config import LoraConfig
from ttt_jax.decode.generate import Begun, Prompts, Rules, decode_chunk, generate, prefill
from ttt_jax.decode.sampling import Sampling, row_key
from ttt_jax.decode.syntax import TextSyntax
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.lora import init_adapter
from ttt_jax.runtime.hlo import loop_arrays
from ttt_jax.tasks.arc import ArcDomain

ARC = ArcDomain()
TEXT = TextSyntax()
T, R, WIDTH, N = 3, 4, 64, 24
BASE_SEED = 4  # of a model whose answers end at many different lengths
SAMPLED = {"temperature": 1.0, "top_p": 0.95}
STOP, PAD = ARC.stop_token, ARC.pad_token


@pytest.fixture(scope="module")
def model(tiny_config):
    """With its own head: a tied random model only repeats its input."""
    return Decoder(dataclasses.replace(tiny_config, tie_embeddings=False))


def random_tree(shapes, seed, scale):
    """Matrices scaled by their fan-in, vectors of ones: made by numpy, as eager jax compiles each draw."""
    rng = np.random.default_rng(seed)

    def draw(x):
        return jnp.asarray(
            scale * x.shape[-2] ** -0.5 * rng.normal(size=x.shape) if x.ndim > 1 else np.ones(x.shape), x.dtype
        )

    return jax.tree.map(draw, shapes)


@pytest.fixture(scope="module")
def base(model):
    """Random parameters with logits far enough apart that rounding cannot change the likeliest token."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    return random_tree(shapes, BASE_SEED, 2.0)


@pytest.fixture(scope="module")
def adapters(tiny_config):
    one = jax.eval_shape(lambda: init_adapter(jax.random.key(0), tiny_config, LoraConfig(rank=4)))
    stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((T, *x.shape), x.dtype), one)
    return {"lora": random_tree(stacked, 1, 1.0)}


def make_prompts(seed=0):
    """Random little tasks of one or two demos, written as grids: ragged rows."""
    rng = np.random.default_rng(seed)

    def grid():
        return rng.integers(0, 10, rng.integers(1, 4, 2)).astype(np.int8)

    tokens = np.full((T, R, WIDTH), PAD, np.int32)
    positions = np.zeros((T, R, WIDTH, 3), np.int32)
    lengths = np.zeros((T, R), np.int32)
    for t in range(T):
        for r in range(R):
            prompt = ARC.encode([(grid(), grid()) for _ in range(rng.integers(1, 3))], grid())
            lengths[t, r] = len(prompt)
            tokens[t, r, : len(prompt)] = prompt.tokens
            positions[t, r, : len(prompt)] = prompt.positions
    return Prompts(tokens, positions, lengths)


def place(before, token, at):
    """(sequence, row, column) of a token: the rule of the encoding, restated."""
    index, row, column = at
    if before in (11, 12):
        return (index + 1, 1, 1)
    if before < 10:
        return (index + 1, row, column + 1)
    if before == 10:
        return (index + 1, row + 1, 1)
    return (index + 1, 0, 0)


def legal_tokens(answer):
    """Legal continuations of an answer, straight from its definition: a prefix of some grid of at most 30x30."""
    if answer and answer[-1] == STOP:
        return {STOP, PAD}
    rows = [[]]
    for token in answer:
        if token == 10:
            rows.append([])
        else:
            rows[-1].append(token)
    width = len(rows[0]) if len(rows) > 1 else None
    allowed = set()
    if len(rows) <= 30 and len(rows[-1]) < (width or 30):
        allowed |= set(range(10))
    if rows[-1] and (width is None or len(rows[-1]) == width):
        allowed.add(10)
    if width and not rows[-1]:
        allowed.add(STOP)
    return allowed


def naive(model, base, adapters, prompts, steps, grammar):
    """Greedy decoding of every row by itself, the whole sequence read again for each token."""

    @jax.jit
    def logits_at(adapter, tokens, positions, last):
        variables = {"params": base} if adapter is None else {"params": base, **adapter}
        return jax.nn.log_softmax(model.apply(variables, tokens[None], positions[None])[0, last])

    out_tokens = np.full((T, R, steps), PAD, np.int32)
    out_logprobs, out_lengths = np.zeros((T, R), np.float32), np.zeros((T, R), np.int32)
    for t in range(T):
        adapter = None if adapters is None else jax.tree.map(lambda x, t=t: x[t], adapters)
        for r in range(R):
            n = int(prompts.lengths[t, r])
            tokens = np.full(prompts.tokens.shape[-1] + steps, PAD, np.int32)
            positions = np.zeros((len(tokens), 3), np.int32)
            tokens[:n], positions[:n] = prompts.tokens[t, r, :n], prompts.positions[t, r, :n]
            answer = []
            while len(answer) < steps and STOP not in answer:
                logprobs = np.asarray(logits_at(adapter, tokens, positions, n - 1))
                allowed = sorted(legal_tokens(answer)) if grammar else range(16)
                token = max(allowed, key=lambda a, p=logprobs: p[a])
                tokens[n] = token
                previous = tokens[n - 1], token, positions[n - 1]
                positions[n] = place(*previous) if grammar else positions[n - 1] + 1
                answer.append(token)
                out_logprobs[t, r] += logprobs[token]
                n += 1
            out_tokens[t, r, : len(answer)] = answer
            out_lengths[t, r] = len(answer)
    return out_tokens, out_logprobs, out_lengths


def run(model, base, adapters, prompts, syntax: Any = ARC.syntax, **options: Any):
    options = {"max_new_tokens": N, "chunk": N, "grammar": syntax is ARC.syntax} | options
    return generate(model, base, adapters, prompts, syntax, stop_token=STOP, pad_token=PAD, **options)


def row_keys(seed=0):
    return np.array([[row_key(seed, f"task{t}", 0, r, 0) for r in range(R)] for t in range(T)])


@pytest.mark.parametrize(("grammar", "adapted"), [(True, True), (False, False)])
def test_decoding_equals_a_loop_without_a_cache_token_by_token(model, base, adapters, grammar, adapted):
    prompts = make_prompts()
    adapters = adapters if adapted else None
    tokens, logprobs, lengths = naive(model, base, adapters, prompts, N, grammar)
    got = run(model, base, adapters, prompts, ARC.syntax if grammar else TEXT)
    np.testing.assert_array_equal(got.tokens, tokens)
    np.testing.assert_array_equal(got.lengths, lengths)
    np.testing.assert_allclose(got.logprobs, logprobs, atol=1e-4)
    # The case is worth something: rows differ, also in where they stop.
    assert len(np.unique(tokens.reshape(T * R, -1), axis=0)) > R
    assert len(np.unique(lengths)) >= R


def test_tasks_with_weights_of_their_own_decode_by_them(model, base):
    """Full-weight adaptation: every task brings its own parameters, the shared base plays no part."""
    own = {"params": jax.tree.map(lambda x: jnp.stack([x * (1 + 0.2 * t) for t in range(T)]), base)}
    prompts = make_prompts()
    tokens, _, lengths = naive(model, base, own, prompts, N, True)
    got = run(model, jax.tree.map(jnp.zeros_like, base), own, prompts)
    np.testing.assert_array_equal(got.lengths, lengths)
    np.testing.assert_array_equal(got.tokens, tokens)


def test_the_chunk_size_changes_nothing_and_the_cache_doubles_its_room(model, base, adapters, monkeypatch):
    prompts = make_prompts()
    expected = run(model, base, adapters, prompts)
    grown = watch_growth(monkeypatch)
    got = run(model, base, adapters, prompts, chunk=6)
    assert grown == [WIDTH + 12, WIDTH + N - 1]
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    np.testing.assert_array_equal(got.lengths, expected.lengths)
    np.testing.assert_allclose(got.logprobs, expected.logprobs, atol=1e-4)


def watch_growth(monkeypatch):
    grown = []
    grow = decoding.Cache.grow
    monkeypatch.setattr(decoding.Cache, "grow", lambda self, slots: grown.append(slots) or grow(self, slots))
    return grown


def test_short_answers_never_grow_the_cache(model, base, adapters, monkeypatch):
    prompts = make_prompts()
    lengths = run(model, base, adapters, prompts).lengths
    short = prompts._replace(lengths=np.where(lengths <= 6, prompts.lengths, 0))
    grown = watch_growth(monkeypatch)
    got = run(model, base, adapters, short, chunk=6)
    assert got.lengths.max() > 1
    assert grown == []


def test_one_new_token_is_the_first_of_many(model, base, adapters):
    prompts = make_prompts()
    first = run(model, base, adapters, prompts, max_new_tokens=1)
    many = run(model, base, adapters, prompts)
    assert first.tokens.shape == (T, R, 1)
    np.testing.assert_array_equal(first.tokens[..., 0], many.tokens[..., 0])


def test_prompts_read_in_blocks_give_the_same_answers(model, base, adapters, monkeypatch):
    prompts = make_prompts()
    expected = run(model, base, adapters, prompts)
    monkeypatch.setattr(decoding, "PREFILL_TOKENS", T * 2 * prompts.tokens.shape[-1])
    prefill.clear_cache()  # pyright: ignore[reportAttributeAccessIssue]
    got = run(model, base, adapters, prompts)
    prefill.clear_cache()  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    np.testing.assert_allclose(got.logprobs, expected.logprobs, atol=1e-4)


@pytest.mark.parametrize("sampling", [{}, SAMPLED])
def test_neighbours_leave_a_row_bitwise_unchanged(model, base, adapters, sampling):
    prompts, others = make_prompts(0), make_prompts(7)
    expected = run(model, base, adapters, prompts, keys=row_keys(), **sampling)
    # Everything but row (1, 2): other prompts, other keys, and for the other tasks other adapters, one broken.
    keep = np.zeros((T, R), bool)
    keep[1, 2] = True

    def mix(mine, theirs):
        return np.where(keep.reshape(T, R, *[1] * (mine.ndim - 2)), mine, theirs)

    factor = np.array([np.nan, 1.0, 2.0], np.float32)
    changed = jax.tree.map(lambda x: x * factor.reshape(T, *[1] * (x.ndim - 1)), adapters)
    mixed = Prompts(*map(mix, prompts, others))
    got = run(model, base, changed, mixed, keys=mix(row_keys(), row_keys(5)), **sampling)
    np.testing.assert_array_equal(got.tokens[1, 2], expected.tokens[1, 2])
    assert got.logprobs[1, 2] == expected.logprobs[1, 2]
    assert (got.tokens[2] != expected.tokens[2]).any()


def test_a_row_whose_logits_are_nan_ends_at_once(model, base, adapters):
    broken = jax.tree.map(lambda x: x.at[0].set(jnp.nan), adapters)
    got = run(model, base, broken, make_prompts())
    assert (got.lengths[0] == 0).all()
    assert (got.tokens[0] == PAD).all()
    assert (got.logprobs[0] == 0).all()
    assert (got.lengths[1:] > 0).all()


def test_padding_rows_generate_nothing_and_disturb_nobody(model, base, adapters):
    prompts = make_prompts()
    expected = run(model, base, adapters, prompts)
    lengths = prompts.lengths.copy()
    lengths[0, 1], lengths[2, :] = 0, 0
    lengths[1, 0] = 1
    got = run(model, base, adapters, prompts._replace(lengths=lengths))
    empty = lengths == 0
    assert (got.lengths[empty] == 0).all()
    assert (got.tokens[empty] == PAD).all()
    assert np.isfinite(got.logprobs).all()
    same = lengths == prompts.lengths
    np.testing.assert_array_equal(got.tokens[same], expected.tokens[same])
    np.testing.assert_array_equal(got.logprobs[same], expected.logprobs[same])


def test_nothing_follows_a_stop_token_but_padding(model, base):
    got = run(model, base, None, make_prompts(), TEXT)
    for row, n in zip(got.tokens.reshape(-1, N), got.lengths.reshape(-1), strict=True):
        assert STOP not in row[: n - 1]
        assert (row[n:] == PAD).all()
        assert n == N or row[n - 1] == STOP


def test_grammar_never_lets_an_illegal_token_through(model, base, adapters):
    for seed in range(4):
        got = run(model, base, adapters, make_prompts(), keys=row_keys(seed), **SAMPLED)
        for tokens, n in zip(got.tokens.reshape(-1, N), got.lengths.reshape(-1), strict=True):
            answer = tokens[:n].tolist()
            assert all(token in legal_tokens(answer[:i]) for i, token in enumerate(answer))
            assert answer[-1] != STOP or ARC.parse(answer) is not None
        assert got.lengths.min() < N


def test_sampling_repeats_with_its_keys_and_differs_between_rows(model, base, adapters):
    same_prompt = Prompts(*(np.repeat(np.repeat(x[:1, :1], T, 0), R, 1) for x in make_prompts()))
    same_adapter = jax.tree.map(lambda x: jnp.repeat(x[:1], T, 0), adapters)
    a = run(model, base, same_adapter, same_prompt, keys=row_keys(), **SAMPLED)
    again = run(model, base, same_adapter, same_prompt, keys=row_keys(), **SAMPLED)
    other = run(model, base, same_adapter, same_prompt, keys=row_keys(1), **SAMPLED)
    np.testing.assert_array_equal(a.tokens, again.tokens)
    assert (a.tokens != other.tokens).any()
    assert len(np.unique(a.tokens.reshape(T * R, -1), axis=0)) == T * R


def test_a_rows_draws_go_with_its_key_not_with_its_place(model, base, adapters):
    prompts, keys = make_prompts(), row_keys()
    order = np.array([3, 1, 0, 2])
    a = run(model, base, adapters, prompts, keys=keys, **SAMPLED)
    b = run(model, base, adapters, Prompts(*(x[:, order] for x in prompts)), keys=keys[:, order], **SAMPLED)
    np.testing.assert_array_equal(a.tokens[:, order], b.tokens)


def test_sampling_without_keys_is_refused(model, base):
    with pytest.raises(ValueError, match="keys"):
        run(model, base, None, make_prompts(), temperature=0.5)


def test_a_decoded_token_copies_no_cache_and_the_cache_is_taken_over(model, base, adapters, tiny_config):
    rules, slots = Rules(ARC.syntax, STOP, PAD, Sampling(), True), WIDTH + N - 1
    state = prefill(model, base, adapters, make_prompts(), row_keys(), rules=rules, slots=slots, longest=N)
    text = decode_chunk.lower(model, base, adapters, state, rules=rules).compile().as_text()
    assert text
    size = T * R * tiny_config.num_kv_heads * slots * tiny_config.head_dim
    arrays = loop_arrays(text, size)
    assert len(arrays.written) == 2 * tiny_config.num_layers  # keys and values of every layer, nothing else is as large
    assert not arrays.copied

    decode_chunk(model, base, adapters, state, rules=rules)
    assert all(x.is_deleted() for x in (*state.cache.keys, *state.cache.values))


def test_samples_of_a_prompt_are_those_of_rows_that_repeat_it(model, base, adapters):
    prompts, samples = make_prompts(), 3
    keys = np.array([[row_key(0, f"task{t}", 0, r, s) for r in range(R) for s in range(samples)] for t in range(T)])
    repeated = Prompts(*(np.repeat(x, samples, axis=1) for x in prompts))
    options = {"keys": keys, "chunk": 5, **SAMPLED}
    expected = run(model, base, adapters, repeated, **options)
    got = run(model, base, adapters, prompts, samples=samples, **options)
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    np.testing.assert_array_equal(got.lengths, expected.lengths)
    np.testing.assert_allclose(got.logprobs, expected.logprobs, rtol=1e-5)
    assert len(np.unique(got.tokens[0, :samples], axis=0)) > 1
    none = np.zeros((T, R), np.int32)
    begun = Begun(none, none.astype(np.float32), none - np.inf, none + N)
    with pytest.raises(ValueError, match="goes on once"):
        run(model, base, adapters, prompts, samples=2, begun=begun)
