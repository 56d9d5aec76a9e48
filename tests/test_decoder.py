"""The decoder's invariants: causality, segments, the cache, positions, adapters."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.config import LoraConfig
from ttt_jax.model import decoder, head
from ttt_jax.model.cache import Cache
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import ModelError, load_model, save_model
from ttt_jax.model.lora import TARGETS, init_adapter, merge_adapter
from ttt_jax.model.rope import norm_and_rotate, rope_table, rotate

CONFIG = ModelConfig(
    vocab_size=16, hidden_size=32, intermediate_size=48, num_layers=2, num_heads=4, num_kv_heads=2, head_dim=8,
    rope=RopeConfig(theta=(1e4, 1e2, 1e2), pairs=(2, 1, 1)), qk_norm=True, tie_embeddings=False,
)  # fmt: skip
MODEL = Decoder(CONFIG)
TOKENS = np.random.default_rng(0).integers(0, 16, (2, 12)).astype(np.int32)
POSITIONS = np.random.default_rng(1).integers(0, 9, (2, 12, 3)).astype(np.int32)
PARAMS = jax.jit(MODEL.init)(jax.random.key(0), TOKENS)["params"]


def some_adapter(config=CONFIG, targets=TARGETS, seed=0):
    adapter = init_adapter(jax.random.key(seed), config, LoraConfig(rank=3, targets=targets))
    leaves, tree = jax.tree.flatten(adapter)
    keys = jax.random.split(jax.random.key(seed + 1), len(leaves))
    return tree.unflatten([x + 0.2 * jax.random.normal(k, x.shape) for x, k in zip(leaves, keys, strict=True)])


apply = jax.jit(Decoder.apply, static_argnums=0, static_argnames="method")  # op by op, every op would compile


@partial(jax.jit, static_argnames="slots")
def begin(variables, tokens, positions, slots):
    """Reads into an empty cache: known to be empty while tracing, as in prefill."""
    cache = Cache.empty(CONFIG, tokens.shape[0], slots, jnp.float32)
    return MODEL.apply(variables, tokens, positions, None, cache, method="hidden")


def logits(tokens=TOKENS, positions=POSITIONS, segments=None, params=PARAMS, adapter=None, model=MODEL):
    variables = {"params": params} if adapter is None else {"params": params, "lora": adapter}
    return np.asarray(apply(model, variables, tokens, positions, segments))


def test_no_position_sees_what_comes_after_it():
    """By gradient: the hidden state of position i does not move with the embeddings after i."""
    table = PARAMS["embed"]["embedding"]

    @jax.jit
    @jax.grad
    def moves(shifts, position):
        # One embedding row for every position, so that each can be moved alone.
        model = Decoder(replace(CONFIG, vocab_size=12))
        rows = table[TOKENS[0]] + shifts
        params = {**PARAMS, "embed": {"embedding": rows}}
        hidden, _ = model.apply({"params": params}, jnp.arange(12)[None], POSITIONS[:1], method="hidden")
        return hidden[0, position].sum()

    for position in (0, 5, 11):
        moved = np.abs(np.asarray(moves(jnp.zeros((12, 32)), position))).sum(axis=1)
        assert (moved[position + 1 :] == 0).all()
        assert (moved[: position + 1] > 0).all()


def test_packed_sequences_do_not_see_each_other():
    segments = np.array([[1] * 5 + [2] * 6 + [0]] * 2, np.int32)
    packed = logits(segments=segments)
    for part in (slice(0, 5), slice(5, 11)):
        alone = logits(TOKENS[:, part], POSITIONS[:, part])
        np.testing.assert_allclose(packed[:, part], alone, atol=1e-5)
    assert np.isfinite(packed).all()
    assert np.abs(packed[:, 5:11] - logits()[:, 5:11]).max() > 1e-3, "without segments they do see each other"


@pytest.mark.parametrize("split", [(12,), (7, 1, 1, 1, 1, 1), (4, 5, 3)])
def test_reading_in_pieces_through_the_cache_equals_reading_at_once(split):
    variables = {"params": PARAMS, "lora": some_adapter()}
    start = split[0]
    hidden, cache = begin(variables, TOKENS[:, :start], POSITIONS[:, :start], 12)
    pieces, cache = [hidden], cache.grow(16)
    for size in split[1:]:
        part = slice(start, start + size)
        hidden, cache = apply(MODEL, variables, TOKENS[:, part], POSITIONS[:, part], None, cache, method="hidden")
        pieces.append(hidden)
        start += size
    got = apply(MODEL, variables, jnp.concatenate(pieces, axis=1), method="logits")
    np.testing.assert_allclose(np.asarray(got), logits(adapter=some_adapter()), atol=2e-5)


def test_right_padding_in_the_cache_is_invisible():
    lengths = jnp.asarray([4, 7])
    variables = {"params": PARAMS}
    _, cache = begin(variables, TOKENS[:, :7], POSITIONS[:, :7], 10)
    cache = cache.with_prompt_lengths(lengths)
    new = slice(10, 11)
    hidden, _ = apply(MODEL, variables, TOKENS[:, new], POSITIONS[:, new], None, cache, method="hidden")
    got = np.asarray(apply(MODEL, variables, hidden, method="logits"))[:, 0]
    for row, length in enumerate((4, 7)):
        kept = [*range(length), 10]
        alone = logits(TOKENS[row : row + 1, kept], POSITIONS[row : row + 1, kept])
        np.testing.assert_allclose(got[row], alone[0, -1], atol=2e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_position_axis_counts_and_only_by_differences(axis):
    shifted = POSITIONS.copy()
    shifted[..., axis] += 5
    np.testing.assert_allclose(logits(positions=shifted), logits(), atol=2e-4)
    moved = POSITIONS.copy()
    moved[:, 6:, axis] += 5
    assert np.abs(logits(positions=moved)[:, 6:] - logits()[:, 6:]).max() > 1e-3


def test_normalised_and_rotated_heads_have_the_gradients_of_the_two_steps():
    x, dy = (jax.random.normal(jax.random.key(seed), (2, 12, 3, 8)) for seed in (0, 1))
    scale = 1 + 0.3 * jax.random.normal(jax.random.key(2), (8,))
    table = rope_table(CONFIG, POSITIONS)

    def two_steps(x, scale):
        normed = x * jax.lax.rsqrt(jnp.mean(x * x, axis=-1, keepdims=True) + 1e-5) * scale.reshape(1, 1, 1, -1)
        return rotate(normed, table)

    def outcome(f):
        y, pull = jax.vjp(f, x, scale)
        return y, pull(dy)

    expected, got = jax.jit(lambda: (outcome(two_steps), outcome(lambda x, s: norm_and_rotate(x, s, table, 1e-5))))()
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), expected, got)


def test_positions_of_the_wrong_number_of_axes_are_refused():
    with pytest.raises(ValueError, match=r"1 axes.* 3"):
        logits(positions=POSITIONS[..., :1])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("tied", [False, True])
def test_an_adapter_on_any_layer_acts_as_its_product_added_to_the_weights(target, tied):
    config = replace(CONFIG, tie_embeddings=tied)
    model = Decoder(config, lora_scale=0.7)
    params = jax.jit(model.init)(jax.random.key(2), TOKENS)["params"]
    adapter = some_adapter(config, (target,))
    adapted = logits(params=params, adapter=adapter, model=model)
    assert np.abs(adapted - logits(params=params, model=model)).max() > 1e-3
    if target == "head" and tied:
        # The head is the embedding's transpose: an untied head of the same weights takes the merge.
        head = {"kernel": params["embed"]["embedding"].T}
        model, params = Decoder(replace(config, tie_embeddings=False)), {**params, "head": head}
    merged = merge_adapter(params, adapter, 0.7)
    np.testing.assert_allclose(adapted, logits(params=merged, model=model), atol=2e-5)


def test_a_fresh_adapter_changes_nothing_bitwise():
    fresh = init_adapter(jax.random.key(0), CONFIG, LoraConfig(rank=3, targets=TARGETS))
    np.testing.assert_array_equal(logits(adapter=fresh), logits())


def test_an_unknown_target_is_refused_by_name():
    with pytest.raises(ValueError, match="query"):
        init_adapter(jax.random.key(0), CONFIG, LoraConfig(targets=("query",)))


def test_token_logprobs_are_those_of_the_logits_whatever_the_chunk(monkeypatch):
    expected = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits())), TOKENS[..., None], axis=-1)[..., 0]

    def total(params):
        hidden, _ = MODEL.apply({"params": params}, TOKENS, POSITIONS, method="hidden")
        logprobs = MODEL.apply({"params": params}, hidden, TOKENS, method="token_logprobs")
        return logprobs.sum(), logprobs

    whole_grad, whole = jax.jit(jax.grad(total, has_aux=True))(PARAMS)
    monkeypatch.setattr(head, "LOGIT_CHUNK", 5 * 16)  # 24 positions in chunks of five
    grad, chunked = jax.jit(jax.grad(lambda params: total(params), has_aux=True))(PARAMS)
    np.testing.assert_allclose(np.asarray(whole), expected, atol=1e-5)
    np.testing.assert_allclose(np.asarray(chunked), expected, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-4), whole_grad, grad)


@pytest.mark.parametrize("remat", ["products", "full"])
def test_rematerialised_layers_give_the_same_gradients(remat):
    def loss(params, model):
        return jnp.square(model.apply({"params": params}, TOKENS, POSITIONS)).mean()

    plain, again = (
        jax.jit(jax.grad(loss), static_argnums=1)(PARAMS, model) for model in (MODEL, Decoder(CONFIG, remat=remat))
    )
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain, again)


def test_a_large_vocabulary_is_looked_up_to_the_same_values(monkeypatch):
    expected = logits()
    monkeypatch.setattr(decoder, "ONE_HOT_VOCABULARY", 0)
    got = jax.jit(lambda params: MODEL.apply({"params": params}, TOKENS, POSITIONS))(PARAMS)  # traced afresh
    np.testing.assert_allclose(np.asarray(got), expected, atol=1e-6)


def test_bfloat16_stays_close_to_float32():
    low = logits(model=Decoder(CONFIG, dtype=jnp.bfloat16))
    assert low.dtype == np.float32
    assert np.abs(low - logits()).max() < 0.05 * np.abs(logits()).max()


def test_a_saved_model_loads_again_and_a_wrong_one_is_refused_by_name(tmp_path):
    save_model(tmp_path / "m", CONFIG, PARAMS, dtype=jnp.float32)
    model, params, domain = load_model(tmp_path / "m")
    np.testing.assert_array_equal(logits(params=params, model=model), logits())
    assert domain.name == "arc"
    save_model(tmp_path / "n", replace(CONFIG, intermediate_size=40), PARAMS)
    with pytest.raises(ModelError, match=r"layers_0\.mlp\.down\.kernel has shape \(48, 32\)"):
        load_model(tmp_path / "n")
    save_model(tmp_path / "o", replace(CONFIG, num_layers=3), PARAMS)
    with pytest.raises(ModelError, match="missing layers_2"):
        load_model(tmp_path / "o")
    with pytest.raises(ModelError, match="arc-small"):
        load_model("arc-smal")
