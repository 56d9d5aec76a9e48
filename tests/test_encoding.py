import time

import numpy as np
import pytest
from grid_strategies import grids, tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.tasks import encoding as enc


def test_a_pair_and_a_query_are_written_as_documented():
    x, y, query = (np.array(g, np.int8) for g in ([[1, 2]], [[3], [4]], [[5]]))
    encoded = enc.encode_pairs([(x, y)], query)
    n = enc.NEWLINE
    assert encoded.tokens.tolist() == [
        *[enc.BOS, enc.INPUT, 1, 2, n, enc.OUTPUT, 3, n, 4, n, enc.END],
        *[enc.INPUT, 5, n, enc.OUTPUT],
    ]
    assert encoded.positions[:, 0].tolist() == list(range(15))
    assert encoded.positions[:, 1:].tolist() == [
        *[[0, 0], [0, 0], [1, 1], [1, 2], [1, 3], [0, 0], [1, 1], [1, 2], [2, 1], [2, 2], [3, 1]],
        *[[0, 0], [1, 1], [1, 2], [0, 0]],
    ]
    assert encoded.outputs.tolist() == [-1] * 6 + [0] * 5 + [-1] * 4
    assert all(a.dtype == np.int32 for a in (encoded.tokens, encoded.positions, encoded.outputs))


@given(tasks(max_side=12))
@settings(max_examples=50, deadline=None)
def test_every_grid_can_be_read_back_from_a_sequence(task):
    encoded = enc.encode_pairs(task.demos, task.queries[0])
    assert len(encoded) == enc.encoded_length(task.demos, task.queries[0])
    for k, (_, y) in enumerate(task.demos):
        answer = encoded.tokens[encoded.outputs == k]
        assert answer[-1] == enc.END
        np.testing.assert_array_equal(enc.parse_grid(answer), y)
        np.testing.assert_array_equal(answer[:-1], enc.grid_tokens(y))
    assert encoded.tokens[-1] == enc.OUTPUT
    assert not encoded.positions[-1, 1:].any()


@given(tasks(max_side=8))
@settings(max_examples=25, deadline=None)
def test_a_prompt_is_the_start_of_its_solved_sequence(task):
    prompt = enc.encode_pairs(task.demos, task.queries[0])
    solved = enc.encode_pairs([*task.demos, (task.queries[0], task.answers[0])])
    for name in ("tokens", "positions", "outputs"):
        np.testing.assert_array_equal(getattr(prompt, name), getattr(solved, name)[: len(prompt)])


@given(grids(), st.lists(st.sampled_from([enc.END, enc.PAD]), max_size=4))
@settings(max_examples=50, deadline=None)
def test_a_grid_is_parsed_with_or_without_its_end(grid, tail):
    tokens = [*enc.grid_tokens(grid), *([enc.END, *tail] if tail else [])]
    parsed = enc.parse_grid(tokens)
    assert parsed is not None and parsed.dtype == np.int8
    np.testing.assert_array_equal(parsed, grid)
    assert len(tokens) - len(tail) <= enc.MAX_ANSWER_TOKENS


N, E = enc.NEWLINE, enc.END


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        [E],
        [N],
        [1, 2],
        [1, 2, E],
        [1, N, 2, E],
        [1, 2, N, 3, N, E],
        [1, N, 2, 3, N, E],
        [1, N, N, E],
        [1, enc.INPUT, N, E],
        [1, enc.PAD, N],
        [1, N, E, 2],
        [1, -1, N],
        [*[1] * 31, N, E],
        [*[1, N] * 31, E],
    ],
)
def test_what_is_no_rectangle_of_colours_is_no_answer(tokens):
    assert enc.parse_grid(tokens) is None


@given(st.lists(st.integers(0, 15), max_size=24))
@settings(max_examples=300, deadline=None)
def test_only_the_writing_of_a_grid_parses(tokens):
    parsed = enc.parse_grid(tokens)
    if parsed is not None:
        body = tokens[: tokens.index(E)] if E in tokens else tokens
        assert enc.grid_tokens(parsed).tolist() == body


def test_encoding_writes_a_million_tokens_a_second():
    rng = np.random.default_rng(0)
    pairs = [tuple(rng.integers(0, 10, (2, 12, 12)).astype(np.int8)) for _ in range(4)]
    best = 0.0
    for _ in range(5):
        start = time.process_time()
        tokens = sum(len(enc.encode_pairs(pairs)) for _ in range(50))
        best = max(best, tokens / (time.process_time() - start))
    assert best > 1e6
