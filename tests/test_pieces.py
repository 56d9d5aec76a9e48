"""Sequences put together from kept pieces are those of the plain path: change the grids, then write them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from grid_strategies import small_task, tasks
from hypothesis import given, settings
from hypothesis import strategies as st

from ttt_jax.tasks.arc import ArcDomain
from ttt_jax.tasks.pieces import GridRewriter
from ttt_jax.tasks.task import keyed_rng
from ttt_jax.tasks.transforms import KINDS, GridTransform, transform_task

DOMAIN = ArcDomain()
kinds = st.lists(st.sampled_from(KINDS), unique=True, max_size=4).map(tuple)


def rows(room: int) -> tuple[np.ndarray, np.ndarray]:
    """A row of tokens and of positions, with something in it that must not be taken for what was written."""
    return np.full(room, 99, np.int32), np.full((room, 3), 99, np.int32)


def assert_writes(rewriter: GridRewriter, pairs, transform, expected, room: int) -> None:
    tokens, positions = rows(room)
    spans = rewriter.write(pairs, transform, tokens, positions)
    size = len(expected)
    if size > room:
        assert spans is None and (tokens == 99).all() and (positions == 99).all()
        return
    assert spans is not None
    outputs = np.full(size, -1)
    for k, (start, stop) in enumerate(spans):
        outputs[start:stop] = k
    np.testing.assert_array_equal(tokens[:size], expected.tokens)
    np.testing.assert_array_equal(positions[:size], expected.positions)
    np.testing.assert_array_equal(outputs, expected.outputs)
    assert (tokens[size:] == 99).all() and (positions[size:] == 99).all()


@given(tasks(max_side=9), kinds, st.integers(0, 2**31), st.data())
@settings(max_examples=60, deadline=None)
def test_any_pairs_under_any_transform_are_written_as_the_changed_grids_are_encoded(task, of_kinds, seed, data):
    rewriter, rng = GridRewriter(task.demos), np.random.default_rng(seed)
    for _ in range(4):  # the later ones find pieces of the earlier ones
        chosen = data.draw(st.permutations(range(len(task.demos))).map(lambda order: order[: 1 + seed % len(order)]))
        pairs = [task.demos[i] for i in chosen]
        transform = transform_task(of_kinds, task.__class__("t", tuple(pairs), (pairs[0][0],)), rng)
        expected = DOMAIN.encode(transform.apply_pairs(pairs))
        assert_writes(rewriter, chosen, transform, expected, len(expected) + 2)
        assert_writes(rewriter, chosen, transform, expected, len(expected))
        assert_writes(rewriter, chosen, transform, expected, len(expected) - 1)
        plain = DOMAIN.encode(pairs)
        assert rewriter.length(chosen) == len(plain)
        assert_writes(rewriter, chosen, None, plain, len(plain))


def test_pairs_after_those_that_an_order_names_keep_their_places():
    task = small_task(demos=4)
    a, b, c, d = task.demos
    expected = DOMAIN.encode([c, a, b, d])
    assert_writes(GridRewriter(task.demos), (0, 1, 2, 3), GridTransform(order=(2, 0, 1)), expected, 1000)


def test_what_is_kept_of_a_task_of_the_largest_grids_stays_below_two_megabytes():
    task, rng = small_task(demos=10, side=30), np.random.default_rng(0)
    rewriter = GridRewriter(task.demos)
    tokens, positions = rows(20_000)
    for _ in range(100):
        transform = transform_task(("symmetries", "colours", "order"), task, rng)
        assert rewriter.write(range(10), transform, tokens, positions)
    pieces = rewriter._kept.values()
    assert len(pieces) == 80
    arrays = {id(a): a.nbytes for piece in pieces for a in (piece.tokens, piece.places)}
    assert sum(arrays.values()) < 2e6


def test_grids_of_a_subclass_take_the_plain_path():
    class Mirrored(ArcDomain):
        def encode(self, demos, query=None):
            return super().encode([(x[:, ::-1], y) for x, y in demos], query)

    assert Mirrored().rewriter(small_task().demos) is None


@pytest.mark.parametrize("key", [(0, "00576224", 3, 1), ("a", "b"), (2**32 + 5, 0), (0, 0, 0)])
def test_a_keyed_generator_is_that_of_the_list_of_its_words(key):
    words = []
    for part in key:
        digest = hashlib.blake2b(str(part).encode(), digest_size=8).digest()
        halves = [int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")]
        words += halves if isinstance(part, str) else [part % 2**32]
    plain = np.random.Generator(np.random.PCG64(np.random.SeedSequence(words)))
    np.testing.assert_array_equal(keyed_rng(*key).integers(2**60, size=4), plain.integers(2**60, size=4))
