"""The peer of the benchmarks does the work that ours does: same weights, same adapters in number, same loss."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from ttt_jax.bench import counts
from ttt_jax.bench.options import PRESETS
from ttt_jax.bench.peers import PeerSpec, add_adapter, build_model, measure_settings, run_peer
from ttt_jax.bench.timing import Budget
from ttt_jax.losses import next_token
from ttt_jax.model.config import RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.hf import params_from_hf
from ttt_jax.model.lora import init_adapter

pytestmark = pytest.mark.parity

TINY = PRESETS["tiny"]
# The peer's rope has the sequence axis alone.
SHAPE = dataclasses.replace(TINY.model, rope=RopeConfig())


@pytest.mark.parametrize("qk_norm", [False, True])
def test_the_peers_loss_on_the_same_weights_and_tokens_is_ours(qk_norm) -> None:
    config = dataclasses.replace(SHAPE, qk_norm=qk_norm)
    torch.manual_seed(0)
    model = build_model(config, torch.float32, "cpu")
    params = params_from_hf({name: t.numpy() for name, t in model.state_dict().items()}, config)
    tokens = np.random.default_rng(0).integers(0, 16, (2, 24)).astype(np.int32)
    theirs = model(input_ids=torch.tensor(tokens).long(), labels=torch.tensor(tokens).long()).loss
    index = np.arange(24, dtype=np.int32)[None, :, None]
    batch = {
        "tokens": jnp.asarray(tokens),
        "positions": jnp.asarray(np.broadcast_to(index, (2, 24, 1))),
        "weights": jnp.ones((2, 24)),
    }
    ours, _ = next_token({"params": params}, {}, batch, Decoder(config))
    assert float(ours) == pytest.approx(theirs.item(), abs=1e-5)


def test_the_peer_trains_as_many_weights_as_ours() -> None:
    model = add_adapter(build_model(SHAPE, torch.float32, "cpu"), TINY.lora, float32=True)
    theirs = sum(p.numel() for p in model.parameters() if p.requires_grad)
    adapter = jax.eval_shape(lambda: init_adapter(jax.random.key(0), SHAPE, TINY.lora))
    assert theirs == sum(leaf.size for leaf in jax.tree.leaves(adapter))
    assert counts.decoding_bytes(SHAPE, TINY.lora, 1, 1, 0, itemsize=1).adapters == theirs


def test_the_peer_learns_its_batch() -> None:
    spec = PeerSpec("train", SHAPE, TINY.lora, 16, (2,), 60.0, calls=20, rounds=2)
    (result,) = measure_settings(spec)
    assert result["loss"] < 2.0  # from ln 16 = 2.8
    assert result["tokens_per_second"] == pytest.approx(32 / result["step"]["seconds"])


def test_every_setting_of_a_process_of_its_own_comes_back() -> None:
    budget = Budget(300.0)
    spec = PeerSpec("decode", SHAPE, TINY.lora, 16, (1, 2), 200.0, new_tokens=3, rounds=1)
    results = run_peer(spec, budget)
    assert [(r["setting"], r["batch"]) for r in results] == [
        ("adapter apart", 1),
        ("adapter apart", 2),
        ("adapter merged", 2),
    ]
    assert not budget.left_out


def test_a_peer_without_time_leaves_all_out_but_its_first_setting() -> None:
    budget = Budget(300.0)
    spec = PeerSpec("adapt", SHAPE, TINY.lora, 16, (2, 4), 0.0, rounds=1)
    assert len(run_peer(spec, budget)) <= 1
    assert any("no time left" in what for what in budget.left_out)
