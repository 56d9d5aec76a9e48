"""The decoding kernel for GPUs gives what plain attention gives, reads no other slots, and lowers for a GPU."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_generate

from ttt_jax.adapt.adapt import Adapter
from ttt_jax.config import DecodeConfig, LoraConfig, RunConfig
from ttt_jax.decode.generate import first_room
from ttt_jax.decode.speculate import draft_rules, take_up
from ttt_jax.model import attention
from ttt_jax.model.attention import cached_attention
from ttt_jax.model.decode_attention import decode_attention
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.lora import init_adapter
from ttt_jax.programs import Programs
from ttt_jax.tasks.registry import get_domain

ARC = get_domain("arc")

# T tasks, B rows, H heads, K kv heads, E head_dim, S slots, width, end, prompts.
CASES = {
    "a head of its own for each": (2, 2, 4, 4, 64, 192, 128, 150, [[128, 3], [64, 100]]),
    "groups of heads": (1, 3, 8, 2, 32, 100, 70, 71, [[1, 69, 70]]),
    "no block is whole": (1, 2, 6, 2, 16, 77, 13, 77, [[13, 5]]),
    "one head, all written": (1, 1, 1, 1, 128, 256, 64, 256, [[64]]),
}


def inputs(shape, dtype=jnp.float32):
    T, B, H, K, E, S, _, _, prompts = shape
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = [(T, B, 1, H, E), (T, B, K, S, E), (T, B, K, S, E)]
    arrays = [jax.random.normal(key, size, dtype) for key, size in zip(keys, sizes, strict=True)]
    return arrays, jnp.asarray(prompts, jnp.int32)


def written(shape, prompts):
    """Which slots a row has: bool[T, B, S]."""
    S, width, end = shape[5:8]
    slot = jnp.arange(S)[None, None]
    return (slot < prompts[..., None]) | ((slot >= width) & (slot < end))


def plain(shape, arrays, prompts):
    return jax.vmap(cached_attention)(*arrays, written(shape, prompts)[:, :, None])


def fused(shape, arrays, prompts, interpret=True):
    width, end = shape[6], jnp.int32(shape[7])
    return jax.vmap(lambda q, k, v, p: decode_attention(q, k, v, p, end, width, interpret))(*arrays, prompts)


@pytest.mark.parametrize("shape", CASES.values(), ids=CASES)
def test_it_is_attention_to_the_prompt_and_to_what_was_written(shape):
    arrays, prompts = inputs(shape)
    np.testing.assert_allclose(fused(shape, arrays, prompts), plain(shape, arrays, prompts), atol=2e-6)


@pytest.mark.parametrize("shape", CASES.values(), ids=CASES)
def test_slots_that_hold_nothing_are_not_read(shape):
    (q, keys, values), prompts = inputs(shape)
    prompts = prompts.at[0, 0].set(-1)
    there = written(shape, prompts) & (prompts >= 0)[..., None]
    poisoned = [jnp.where(there[:, :, None, :, None], x, jnp.nan) for x in (keys, values)]
    got = fused(shape, [q, *poisoned], prompts)
    expected = plain(shape, [q, keys, values], prompts)
    np.testing.assert_array_equal(got[0, 0], 0.0)
    np.testing.assert_allclose(got[prompts >= 0], expected[prompts >= 0], atol=2e-6)


def test_in_bfloat16_it_is_as_near_to_float32_as_plain_attention():
    shape = CASES["a head of its own for each"]
    arrays, prompts = inputs(shape)
    exact = plain(shape, arrays, prompts)
    low = [x.astype(jnp.bfloat16) for x in arrays]
    errors = [
        float(jnp.abs(found.astype(jnp.float32) - exact).max())
        for found in (fused(shape, low, prompts), plain(shape, low, prompts))
    ]
    assert errors[0] <= 1.5 * errors[1]


@pytest.mark.parametrize("width, slots, heads, kv_heads, head_dim", [(2048, 2304, 8, 8, 64), (768, 900, 32, 8, 128)])
def test_it_lowers_for_a_gpu(width, slots, heads, kv_heads, head_dim):
    def shape(*size, dtype=jnp.bfloat16):
        return jax.ShapeDtypeStruct(size, dtype)

    arrays = [shape(8, 16, 1, heads, head_dim), *[shape(8, 16, kv_heads, slots, head_dim)] * 2]
    like = (8, 16, heads, kv_heads, head_dim, slots, width, width + 5, None)
    traced = jax.jit(partial(fused, like, interpret=False)).trace(arrays, shape(8, 16, dtype=jnp.int32))
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "triton" in text and "stablehlo.dot_general" not in text


@pytest.fixture
def on_a_gpu(monkeypatch):
    """As if the kernel ran here; the prompts that it was given."""
    calls = []

    def interpreted(q, keys, values, prompts, end, width):
        jax.debug.callback(lambda p: calls.append(np.asarray(p)), prompts)
        return decode_attention(q, keys, values, prompts, end, width, interpret=True)

    monkeypatch.setattr(attention, "fuses", lambda dtype, head_dim: True)
    monkeypatch.setattr(attention, "decode_attention", interpreted)
    jax.clear_caches()
    yield calls
    jax.clear_caches()


@pytest.fixture
def model(tiny_config):
    """With its own head: a tied random model only repeats its input."""
    return Decoder(dataclasses.replace(tiny_config, tie_embeddings=False))


@pytest.fixture
def base(model):
    shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    return test_generate.random_tree(shapes, 4, 2.0)


@pytest.fixture
def adapters(tiny_config):
    one = jax.eval_shape(lambda: init_adapter(jax.random.key(0), tiny_config, LoraConfig(rank=4)))
    stacked = jax.tree.map(lambda x: jax.ShapeDtypeStruct((test_generate.T, *x.shape), x.dtype), one)
    return {"lora": test_generate.random_tree(stacked, 1, 1.0)}


def test_answers_are_the_same_through_it_and_rows_that_are_done_are_left_out(model, base, adapters, on_a_gpu):
    prompts = test_generate.make_prompts()
    expected = test_generate.run(model.clone(kernels="library"), base, adapters, prompts, chunk=7)
    assert not on_a_gpu
    got = test_generate.run(model, base, adapters, prompts, chunk=7)
    np.testing.assert_array_equal(got.tokens, expected.tokens)
    np.testing.assert_array_equal(got.lengths, expected.lengths)
    np.testing.assert_allclose(got.logprobs, expected.logprobs, atol=1e-4)
    assert len(np.unique(got.lengths)) > 3
    # A row is read once for every token after its first, and never after its last.
    jax.effects_barrier()
    read = sum((prompts >= 0).sum() for prompts in on_a_gpu) / model.config.num_layers
    assert read == (got.lengths - 1).sum()


def test_drafts_that_are_accepted_in_part_are_read_through_it(model, base, adapters, on_a_gpu):
    prompts, longest, chunk = test_generate.make_prompts(), test_generate.N, 7
    expected = test_generate.run(model.clone(kernels="library"), base, adapters, prompts, chunk=chunk)
    rng = np.random.default_rng(0)
    cuts = rng.integers(0, expected.lengths)
    # Right up to the cut, then a token that nobody would have chosen.
    drafts = [
        [(*said[:cut].tolist(), 11) for said, cut in zip(*of_task, strict=True)]
        for of_task in zip(expected.tokens, cuts, strict=True)
    ]
    rules = draft_rules(test_generate.ARC, DecodeConfig(grammar=True))
    got = take_up(model, base, adapters, prompts, drafts, rules, longest, chunk)
    np.testing.assert_array_equal(got.said.tokens, expected.tokens)
    np.testing.assert_allclose(got.said.logprobs, expected.logprobs, atol=1e-4)
    np.testing.assert_array_equal(got.accepted, cuts)
    assert on_a_gpu and len(np.unique(cuts)) > 4


def test_where_free_room_is_not_read_a_cache_has_all_of_it_at_once(model, base, on_a_gpu, tiny_config):
    prompts = test_generate.make_prompts()
    stages: list[str] = []
    test_generate.run(model, base, None, prompts, chunk=7, on_stage=stages.append)
    assert set(stages[1:]) == {f"writing up to {test_generate.N} tokens after {test_generate.WIDTH}"}
    plain = model.clone(kernels="library")
    assert (first_room(model, 7, 24), first_room(model, 7, 5000), first_room(plain, 7, 24)) == (23, 1024, 7)
    windowed = model.clone(config=dataclasses.replace(tiny_config, sliding_window=8))
    assert first_room(windowed, 7, 24) == 7, "the kernel takes no window"


def test_the_programs_of_a_run_are_those_that_it_has_with_all_room_at_once(on_a_gpu, model, base):
    config = RunConfig(arms=("in_context",), decode=DecodeConfig(views=2, slots=2, chunk=4, max_new_tokens=24))
    adapter = Adapter(model, base, config.adapt, 0, test_generate.PAD)
    names = [program.name for program in Programs(adapter, ARC, config).decode(2, 64, "in_context", 0)]
    assert names == ["read 2 x 2 x 64, in_context", "write 24 tokens after 64, in_context"]
    library = Adapter(model.clone(kernels="library"), base, config.adapt, 0, test_generate.PAD)
    assert len(list(Programs(library, ARC, config).decode(2, 64, "in_context", 0))) == 1 + 4 + 3
