import jax
import jax.numpy as jnp
import numpy as np
import pytest
from grid_strategies import grids, tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.tasks import encoding as enc
from ttt_jax.tasks.grid_syntax import GridSyntax

SYNTAX = GridSyntax()
LENGTH = 1024


@jax.jit
def _walk(position, tokens):
    """Positions of the tokens, and which tokens were legal before each."""

    def step(state, token):
        legal = SYNTAX.legal(state)
        state = SYNTAX.advance(state, token)
        return state, (SYNTAX.position(state), legal)

    return jax.lax.scan(step, SYNTAX.start(position), tokens)[1]


def walk(position, tokens):
    """`_walk` padded to one length, so that it compiles once."""
    padded = np.full(LENGTH, enc.PAD, np.int32)
    padded[: len(tokens)] = tokens
    positions, legal = _walk(jnp.asarray(position, jnp.int32), padded)
    return np.asarray(positions)[: len(tokens)], np.asarray(legal)[: len(tokens) + 1]


@given(grids(), grids(max_side=5))
@settings(max_examples=40, deadline=None)
def test_an_answer_walks_through_the_positions_it_is_encoded_with_and_is_legal(answer, query):
    solved = enc.encode_pairs([(query, answer)])
    start = int(np.flatnonzero(solved.outputs == 0)[0])
    tokens = solved.tokens[start:]
    positions, legal = walk(solved.positions[start - 1], tokens)
    np.testing.assert_array_equal(positions, solved.positions[start:])
    assert legal[np.arange(len(tokens)), tokens].all()


@given(tasks(max_side=5, max_demos=3))
@settings(max_examples=25, deadline=None)
def test_whole_sequences_walk_through_their_positions(task):
    encoded = enc.encode_pairs(task.demos, task.queries[0])
    # The first output opens the walk; later inputs, outputs and ends follow by the same rule.
    start = int(np.flatnonzero(encoded.tokens == enc.OUTPUT)[0])
    positions, _ = walk(encoded.positions[start], encoded.tokens[start + 1 :])
    np.testing.assert_array_equal(positions, encoded.positions[start + 1 :])


@given(grids(max_side=4), st.data())
@settings(max_examples=60, deadline=None)
def test_a_token_is_legal_exactly_where_the_tokens_before_allow_it(grid, data):
    tokens = [*enc.grid_tokens(grid).tolist(), enc.END]
    cut = data.draw(st.integers(0, len(tokens) - 1))
    prefix = tokens[:cut]
    _, legal = walk((7, 0, 0), prefix)
    # The grammar a second time, from the prefix alone.
    width = prefix.index(enc.NEWLINE) if enc.NEWLINE in prefix else None
    in_row = cut % (width + 1) if width else cut
    expected = {
        **dict.fromkeys(range(10), width is None or in_row < width),
        enc.NEWLINE: in_row == width if width else in_row > 0,
        enc.END: bool(width) and in_row == 0,
    }
    assert {t: bool(legal[cut][t]) for t in range(enc.VOCAB_SIZE)} == {
        t: expected.get(t, False) for t in range(enc.VOCAB_SIZE)
    }


def legal_after(tokens):
    return set(np.flatnonzero(walk((0, 0, 0), tokens)[1][len(tokens)]))


COLOURS = set(range(10))


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        ([], COLOURS),
        ([1], COLOURS | {enc.NEWLINE}),
        ([1] * 30, {enc.NEWLINE}),
        ([1] * 30 + [enc.NEWLINE], COLOURS | {enc.END}),
        ([1, enc.NEWLINE] * 30, {enc.END}),
        ([1, enc.NEWLINE, 1], {enc.NEWLINE}),
        ([1, 2, enc.NEWLINE, 1], COLOURS),
        ([1, enc.NEWLINE, enc.END], {enc.END, enc.PAD}),
        ([1, enc.NEWLINE, enc.END, enc.PAD, enc.END], {enc.END, enc.PAD}),
    ],
)
def test_the_limits_of_the_grammar(tokens, expected):
    assert legal_after(tokens) == expected


@jax.jit
def _sample(key):
    """A random walk of MAX_ANSWER_TOKENS legal tokens that seldom ends a row early."""

    def step(state, key):
        logits = jnp.zeros(enc.VOCAB_SIZE).at[enc.END].set(-2.0)
        token = jax.random.categorical(key, jnp.where(SYNTAX.legal(state), logits, -jnp.inf))
        return SYNTAX.advance(state, token), token

    state = SYNTAX.start(jnp.zeros(3, jnp.int32))
    return jax.lax.scan(step, state, jax.random.split(key, enc.MAX_ANSWER_TOKENS))[1]


@given(st.integers(0, 2**31 - 1))
@settings(max_examples=25, deadline=None)
def test_any_legal_walk_ends_in_a_grid_within_the_room_reserved(seed):
    tokens = np.asarray(_sample(jax.random.key(seed)))
    assert enc.END in tokens
    assert enc.parse_grid(tokens) is not None
