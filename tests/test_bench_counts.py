"""Useful work counted from shapes agrees with what XLA counts, with hand calculations and with real parameters."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from ttt_jax.bench import counts
from ttt_jax.bench.options import ALL_LINEAR, PRESETS
from ttt_jax.config import LoraConfig
from ttt_jax.losses import next_token
from ttt_jax.model.config import RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import abstract_params, parameter_count
from ttt_jax.model.lora import init_adapter

LLAMA = PRESETS["llama-1b"]
ARC = PRESETS["arc-small"]


def test_the_llama_shape_has_its_parameters_and_needs_its_known_operations() -> None:
    """1.24B parameters; about 5.6 GFLOP a token with r 128 adapters (4N, six times the adapters, attention)."""
    assert parameter_count(abstract_params(LLAMA.model)) == pytest.approx(1.2358e9, rel=1e-3)
    work = counts.adaptation(LLAMA.model, LLAMA.lora, 16, 2, 1024)
    assert work.tokens == 16 * 2 * 1024
    assert work.flops / work.tokens == pytest.approx(5.6e9, rel=0.01)


def test_sixteen_adapters_of_rank_128_are_as_large_as_the_base() -> None:
    floor = counts.decoding_bytes(LLAMA.model, LLAMA.lora, 16, 16, valid=0)
    assert floor.adapters == pytest.approx(2.45e9, rel=0.01)
    assert floor.base == pytest.approx(2.47e9, rel=0.01)


@pytest.mark.parametrize("preset", [LLAMA, ARC], ids=["llama-1b", "arc-small"])
def test_decoding_reads_each_matrix_once(preset) -> None:
    """The bytes are those of the real trees: base matrices (an untied embedding is only looked up) and adapters."""
    params = abstract_params(preset.model)
    matrices = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2)
    if not preset.model.tie_embeddings:
        matrices -= params["embed"]["embedding"].size
    adapter = jax.eval_shape(lambda: init_adapter(jax.random.key(0), preset.model, preset.lora))
    one, four = (counts.decoding_bytes(preset.model, preset.lora, tasks, 8, valid=100) for tasks in (1, 4))
    assert one.base == four.base == 2 * matrices
    assert one.adapters == 2 * sum(leaf.size for leaf in jax.tree.leaves(adapter))
    assert four.adapters == 4 * one.adapters
    assert four.cache == 4 * one.cache
    assert counts.decoding_bytes(preset.model, None, 1, 8, valid=100).adapters == 0


def test_the_cache_costs_its_valid_slots_and_the_one_written() -> None:
    c = ARC.model
    slot = 2 * c.num_layers * c.num_kv_heads * c.head_dim * 2
    assert counts.decoding_bytes(c, None, 3, 5, valid=7).cache == 15 * 8 * slot


def test_training_counts_six_operations_a_weight_and_token() -> None:
    c = ARC.model
    work = counts.training(c, 4, 256)
    params = abstract_params(c)
    weights = sum(leaf.size for leaf in jax.tree.leaves(params) if leaf.ndim == 2) - params["embed"]["embedding"].size
    assert work.attention is not None
    assert work.flops - work.attention.flops == 6.0 * weights * work.tokens


def test_causal_attention_is_half_of_full_attention() -> None:
    one = counts.CausalAttention(batch=2, length=4096, heads=4, kv_heads=2, head_dim=64, layers=3, backward=False)
    full = 3 * 2 * 2 * 2 * 4096 * 4096 * 4 * 64
    assert one.flops == pytest.approx(full / 2, rel=1e-3)
    assert dataclasses.replace(one, backward=True).flops == 3 * one.flops


def test_the_frozen_base_is_counted_as_xla_counts_it() -> None:
    """Of short sequences, which have next to no attention, XLA's own count is ours and its elementwise work."""
    c = dataclasses.replace(
        ARC.model, rope=RopeConfig(), hidden_size=64, intermediate_size=256, num_layers=3, num_heads=2,
        num_kv_heads=2, head_dim=32, vocab_size=300, qk_norm=False,
    )  # fmt: skip
    lora = LoraConfig(rank=16, targets=ALL_LINEAR)
    model, length = Decoder(c), 8
    base = abstract_params(c)
    adapter = jax.eval_shape(lambda: init_adapter(jax.random.key(0), c, lora))
    batch = {
        "tokens": jax.ShapeDtypeStruct((4, length), jnp.int32),
        "positions": jax.ShapeDtypeStruct((4, length, 1), jnp.int32),
        "weights": jax.ShapeDtypeStruct((4, length), jnp.float32),
    }
    step = jax.grad(lambda lora, base, batch: next_token({"lora": lora}, {"params": base}, batch, model)[0])
    counted = jax.jit(step).lower(adapter, base, batch).compile().cost_analysis()["flops"]
    ours = counts.adaptation(c, lora, 1, 4, length).flops
    # XLA also counts elementwise work and both halves of attention: a few per cent more, never less.
    assert ours == pytest.approx(counted, rel=0.1)
    assert ours <= counted


def test_positions_without_loss_need_no_head() -> None:
    whole, half = (counts.adaptation(LLAMA.model, LLAMA.lora, 2, 2, 512, loss_share=share) for share in (1.0, 0.5))
    head = 4.0 * LLAMA.model.hidden_size * LLAMA.model.vocab_size * 1024
    assert whole.flops - half.flops == pytest.approx(head)


def test_merging_shapes_keeps_the_operations() -> None:
    work = counts.adaptation(ARC.model, ARC.lora, 4, 2, 128)
    merged = counts.merged(work.matmuls)
    assert len(merged) < len(work.matmuls)
    assert sum(m.flops for m in merged) == sum(m.flops for m in work.matmuls)


def test_the_roofline_takes_the_slower_of_the_two_ceilings() -> None:
    work = counts.Work((counts.Matmul("x", 1000, 10, 1000),), None, state_bytes=0.0, tokens=1)
    flops, moved = 2e7, 2 * (10_000 + 10_000 + 1_000_000)
    assert work.roofline(1e9, 1e12) == pytest.approx(flops / 1e9)
    assert work.roofline(1e15, 1e9) == pytest.approx(moved / 1e9)
    assert dataclasses.replace(work, state_bytes=1e9).roofline(1e15, 1e9) == pytest.approx(moved / 1e9 + 1)


def test_the_share_of_an_orthogonalised_update_is_small() -> None:
    """Newton-Schulz of all layers is under 3% of a training step of 131072 tokens: it must not take more time."""
    step = counts.training(ARC.model, 128, 1024).flops
    assert 0 < counts.newton_schulz(ARC.model) < 0.03 * step
