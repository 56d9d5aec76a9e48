"""The fused kernel for GPUs gives what plain attention to a prefix and a cache gives, and lowers for a GPU."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.config import DecodeConfig, RunConfig
from ttt_jax.decode.blocks import block_rows
from ttt_jax.decode.lots import ScoreShapes
from ttt_jax.decode.score import score_candidates
from ttt_jax.decode.views import make_views
from ttt_jax.model import attention
from ttt_jax.model.attention import cached_attention
from ttt_jax.model.cache import Cache, Prefix
from ttt_jax.model.decode_attention import decode_attention
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.fused_attention import fused_attention
from ttt_jax.run import kernels_of
from ttt_jax.tasks.arc import ArcDomain
from ttt_jax.tasks.task import Task

# T tasks, B rows, L tokens, H heads, K kv heads, E head_dim, S slots, P prefix slots, start; lengths of the prefixes.
CASES = {
    "two tasks, one without a prefix": (2, 3, 32, 4, 2, 64, 96, 200, 32, [130, 0]),
    "whole blocks": (1, 2, 128, 2, 2, 64, 256, 512, 128, [512]),
    "no block is whole": (1, 1, 40, 2, 1, 32, 100, 70, 10, [70]),
    "several blocks of queries": (1, 2, 300, 2, 2, 16, 320, 64, 0, [5]),
    "the last slots": (1, 1, 20, 1, 1, 128, 64, 64, 44, [33]),
}


def inputs(shape, dtype=jnp.float32):
    T, B, L, H, K, E, S, P, start, lengths = shape
    keys = jax.random.split(jax.random.key(0), 5)
    sizes = [(T, B, L, H, E), (T, B, K, S, E), (T, B, K, S, E), (T, K, P, E), (T, K, P, E)]
    arrays = [jax.random.normal(key, size, dtype) for key, size in zip(keys, sizes, strict=True)]
    valid = np.broadcast_to(np.arange(S) < start + L, (T, B, S)).copy()
    valid[..., start // 2] = start == 0  # a hole: padding after a shorter prompt
    return arrays, jnp.asarray(valid), jnp.asarray(lengths, jnp.int32)


def plain(shape, arrays, valid, lengths):
    L, S, P, start = shape[2], shape[6], shape[7], shape[8]
    q, keys, values, prefix_keys, prefix_values = arrays
    mask = valid[:, :, None] & jnp.asarray(np.arange(S) <= (start + np.arange(L))[:, None])[None, None]
    within = jnp.arange(P)[None] < lengths[:, None]
    seen = jnp.broadcast_to(within[:, None, None], (len(q), 1, L, P))

    def one(q, keys, values, mask, prefix_keys, prefix_values, seen):
        return cached_attention(q, keys, values, mask, (prefix_keys, prefix_values, seen))

    return jax.vmap(one)(q, keys, values, mask, prefix_keys, prefix_values, seen)


def fused(start, interpret, arrays, valid, lengths):
    def one(q, keys, values, valid, prefix_keys, prefix_values, length):
        return fused_attention(q, keys, values, valid, start, (prefix_keys, prefix_values, length), interpret)

    q, keys, values, *prefix = arrays
    return jax.vmap(one)(q, keys, values, valid, *prefix, lengths)


@pytest.mark.parametrize("shape", CASES.values(), ids=CASES)
def test_it_is_attention_to_the_prefix_and_the_own_slots_before(shape):
    arrays, valid, lengths = inputs(shape)
    got = fused(jnp.int32(shape[8]), True, arrays, valid, lengths)
    np.testing.assert_allclose(got, plain(shape, arrays, valid, lengths), atol=2e-6)


def test_in_bfloat16_it_is_as_near_to_float32_as_plain_attention():
    shape = CASES["whole blocks"]
    arrays, valid, lengths = inputs(shape)
    exact = plain(shape, arrays, valid, lengths)
    low = [x.astype(jnp.bfloat16) for x in arrays]
    errors = [
        float(jnp.abs(found.astype(jnp.float32) - exact).max())
        for found in (fused(jnp.int32(shape[8]), True, low, valid, lengths), plain(shape, low, valid, lengths))
    ]
    assert errors[0] <= 1.5 * errors[1]


def test_what_has_nothing_to_attend_to_stays_finite():
    shape = CASES["two tasks, one without a prefix"]
    arrays, valid, lengths = inputs(shape)
    got = fused(jnp.int32(shape[8]), True, arrays, jnp.zeros_like(valid), lengths)
    assert np.isfinite(got).all()


@pytest.mark.parametrize(
    "prefix, slots, head_dim", [(2048, 256, 64), (9216, 1024, 64), (4096, 512, 128), (200, 100, 32)]
)
def test_it_lowers_for_a_gpu_and_writes_no_scores(prefix, slots, head_dim):
    def shape(*size, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(size, dtype)

    arrays = [
        shape(8, 4, 128, 8, head_dim), *[shape(8, 4, 8, slots, head_dim)] * 2, *[shape(8, 8, prefix, head_dim)] * 2
    ]  # fmt: skip
    traced = jax.jit(partial(fused, 3, False)).trace(
        arrays, shape(8, 4, slots, dtype=jnp.bool_), shape(8, dtype=jnp.int32)
    )
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "triton" in text and f"x{prefix}xf32" not in text


@pytest.fixture
def on_a_gpu(monkeypatch):
    """As if the fused kernel ran here; how often it was traced."""
    calls = []

    def interpreted(*args):
        calls.append(args)
        return fused_attention(*args, interpret=True)

    monkeypatch.setattr(attention, "fuses", lambda dtype, head_dim: True)
    monkeypatch.setattr(attention, "fused_attention", interpreted)
    jax.clear_caches()
    yield calls
    jax.clear_caches()


@pytest.mark.parametrize("kernels", ["auto", "library"])
def test_scores_are_the_same_through_it(tiny_model, on_a_gpu, kernels):
    model, base = tiny_model
    domain, rng = ArcDomain(), np.random.default_rng(0)
    grids = [rng.integers(0, 10, size).astype(np.int8) for size in [(3, 4), (12, 12), (2, 2), (5, 6)]]
    task = Task("t", ((grids[0], grids[2]),), (grids[3],), None)
    views = [make_views(task, 0, domain, DecodeConfig(views=2), seed=0)]
    shapes = ScoreShapes(length=128, rows=3, rooms=(32, 256))
    found = [
        score_candidates(model.clone(kernels=which), base, None, views, [grids[:3]], domain, shapes)
        for which in ("xla", kernels)
    ]
    assert bool(on_a_gpu) == (kernels == "auto")
    for key, nats in found[0][0].items():
        np.testing.assert_allclose(found[1][0][key], nats, rtol=1e-5)


def test_it_gives_way_where_it_does_not_run():
    assert not attention.fuses(jnp.bfloat16, 64)  # a CPU


def test_rows_at_a_time_are_bounded_by_tokens_and_by_scores_that_are_written(tiny_model, monkeypatch):
    model: Decoder = tiny_model[0]
    heads = model.config.num_heads
    assert block_rows(model, 16, tasks=8, tokens=128, slots=1024) == 8
    assert block_rows(model, 12, tasks=8, tokens=128, slots=1024) == 6
    assert block_rows(model, 16, tasks=8, tokens=128, slots=(1 << 30) // (8 * 128 * heads * 4 * 2)) == 2
    assert block_rows(model, 16, tasks=800, tokens=128, slots=1024) == 1
    monkeypatch.setattr("ttt_jax.decode.blocks.fuses", lambda dtype, head_dim: True)
    assert block_rows(model, 16, tasks=8, tokens=128, slots=1 << 30) == 8
    assert block_rows(model.clone(kernels="xla"), 16, tasks=8, tokens=128, slots=1 << 30) == 1


def test_a_window_is_left_to_plain_attention(tiny_model):
    cache = Cache.empty(tiny_model[0].config, 2, 32, jnp.float32)
    prefix = Prefix(tuple(x[0] for x in cache.keys), tuple(x[0] for x in cache.values), jnp.int32(3))
    cache = replace(cache, prefix=prefix, length=jnp.int32(0))
    assert cache.reading(16).prefix_length is not None
    assert cache.reading(16, window=4).prefix_length is None


@pytest.mark.parametrize("heads, kv_heads", [(4, 4), (4, 2)])
def test_it_is_held_against_plain_attention_before_a_run_takes_it(monkeypatch, heads, kv_heads):
    ours = {"fused_attention": fused_attention, "decode_attention": decode_attention}
    for name, kernel in ours.items():
        monkeypatch.setattr(attention, name, partial(kernel, interpret=True))
    assert attention.fused_fault(heads, kv_heads, 32) is None
    for name in ours:
        with monkeypatch.context() as broken:
            broken.setattr(attention, name, lambda q, *rest, width=0: q)
            assert "differ from plain" in str(attention.fused_fault(heads, kv_heads, 32))


def test_a_run_does_without_it_where_it_does_not_compile(monkeypatch, capsys, tiny_model):
    model = tiny_model[0].clone(dtype=jnp.bfloat16)
    assert kernels_of(RunConfig(), model) == "auto"  # a CPU never takes it
    monkeypatch.setattr("ttt_jax.run.fuses", lambda dtype, head_dim: True)
    assert kernels_of(RunConfig(), model) == "library"  # Triton does not compile for a CPU
    assert "does not work here" in capsys.readouterr().err
    assert kernels_of(RunConfig(kernels="xla"), model) == "xla" and not capsys.readouterr().err
