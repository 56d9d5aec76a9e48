"""The benchmarks run to their end at tiny sizes and their figures hang together; the peer gets the same work."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.bench import ceilings
from ttt_jax.bench.adapt import AdaptBenchConfig, bench_adapt, random_batches
from ttt_jax.bench.ceilings import Ceilings, measure_own_shapes, time_matmul
from ttt_jax.bench.counts import Matmul, adaptation
from ttt_jax.bench.decode import DecodeBenchConfig, bench_decode, live_slots, rewound
from ttt_jax.bench.device import random_params
from ttt_jax.bench.options import PRESETS, BenchConfig
from ttt_jax.bench.peers import PeerSpec, best
from ttt_jax.bench.pretrain import PretrainBenchConfig, bench_pretrain
from ttt_jax.bench.report import Report
from ttt_jax.bench.score import ScoreBenchConfig, bench_score, flops
from ttt_jax.bench.timing import Budget
from ttt_jax.config import AdaptConfig
from ttt_jax.decode.generate import Prompts, Rules, decode_chunk, prefill
from ttt_jax.decode.sampling import Sampling
from ttt_jax.decode.syntax import TextSyntax
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import abstract_params

TINY = PRESETS["tiny"]
CEILINGS = Ceilings(flops=1e11, bandwidth=1e10, matmul_size=512, copy_bytes=1 << 20, spread=0.0)
ROOT = Path(__file__).resolve().parent.parent


def cases(bench, config, budget_seconds=300.0):
    budget, report = Budget(budget_seconds), Report("test", {}, None)
    bench(config, CEILINGS, jnp.float32, budget, report)
    return report.record["cases"], budget


def test_adaptation_is_measured_against_its_ceilings() -> None:
    config = AdaptBenchConfig(presets=("tiny",), remat=("nothing",), calls=20, own_shapes=False, chunk=2)
    (case,), _ = cases(bench_adapt, config)
    assert case["loss"] < 2.5  # what is timed is the real thing: it learns its batch by heart, from 3.2
    seconds = case["step"]["seconds"]
    assert case["tokens_per_second"] == pytest.approx(2 * 2 * 32 / seconds)
    assert case["share_of_matmul_ceiling"] * CEILINGS.flops * seconds == pytest.approx(case["flops_per_token"] * 128)
    assert case["share_of_roofline"] == pytest.approx(case["roofline_seconds"] / seconds)
    assert case["roofline_seconds"] >= case["flops_per_token"] * 128 / CEILINGS.flops
    assert case["memory"]["total"] > case["memory"]["temporary"] > 0


def test_decoding_is_measured_against_the_bandwidth_floor() -> None:
    config = DecodeBenchConfig(presets=("tiny",), tasks=2, views=3, new_tokens=6, calls=1, kernels=("auto", "xla"))
    found, _ = cases(bench_decode, config)
    assert [(case["ragged"], case["kernels"]) for case in found] == [
        (False, "auto"), (False, "xla"), (True, "auto"), (True, "xla")
    ]  # fmt: skip
    for case in found:
        assert case["cache_copies_in_the_loop"] == 0
        assert case["times_floor"] == pytest.approx(case["step"]["seconds"] / case["floor_seconds"])
        # Answers of 1 to 5 and 7 tokens, the first of which comes with the prompt: 1 + 2 + 3 + 4 + 6 in 6 steps.
        rows = 16 / 6 if case["ragged"] else 6
        assert case["tokens_per_second"] == pytest.approx(rows / case["step"]["seconds"])
    assert found[2]["floor_bytes"]["cache"] < found[0]["floor_bytes"]["cache"] / 2


def test_slots_that_have_to_be_read_are_counted_row_by_row() -> None:
    lengths, answers = np.array([[10, 4]]), np.array([[4, 2]])
    # The first row reads 10, 11 and 12 slots in its three steps, the second 4 in one; both write one more.
    assert live_slots(lengths, answers, 3) == (4 / 3, (10 + 11 + 12 + 4) / 3 / 2)


def test_scoring_is_measured_with_either_kind_of_attention(monkeypatch) -> None:
    monkeypatch.setattr("ttt_jax.bench.score.fuses", lambda dtype, head_dim: True)
    config = ScoreBenchConfig(presets=("tiny",), tasks=2, answers=3, answer_tokens=(20, 150), calls=1, rounds=1)
    found, _ = cases(bench_score, config)
    for case, tokens in zip(found, (20, 150), strict=True):
        assert (
            case["kernels"].keys() == {"auto", "library"} and case["largest_difference"] < 1e-3 < case["largest_score"]
        )
        expected = flops(TINY.model, 6 * tokens, 16 + (tokens + 1) / 2) / CEILINGS.flops
        plain = case["kernels"]["library"]
        assert plain["share_of_matmul_ceiling"] * plain["seconds"] == pytest.approx(expected)
    # By hand: two operations for each weight, and for each slot of each head's two products.
    weights = 2 * (32 * 64 * 2 + 32 * 32 * 2 + 3 * 32 * 64) + 32 * 16
    assert flops(TINY.model, 5, 10.0) == 2 * 5 * (weights + 2 * 2 * 64 * 10)


def test_a_rewound_state_decodes_the_same_again() -> None:
    model, tokens = Decoder(TINY.model), np.arange(24, dtype=np.int32).reshape(1, 3, 8) % 16
    base = random_params(TINY.model, jnp.float32)
    rules = Rules(TextSyntax(), -1, 0, Sampling(), grammar=False)
    positions = np.zeros((*tokens.shape, 3), np.int32)
    prompts = Prompts(tokens, positions, np.full((1, 3), 8, np.int32))
    keys = np.zeros((1, 3, 2), np.uint32)
    fresh = prefill(model, base, None, prompts, keys, rules=rules, slots=14, longest=7)
    start = jax.tree.map(jnp.copy, fresh)
    once = decode_chunk(model, base, None, fresh, rules=rules)
    first = np.asarray(once.tokens)
    back = rewound(once, 8).replace(token=start.token, syntax=start.syntax, logprobs=start.logprobs)
    again = decode_chunk(model, base, None, back, rules=rules)
    np.testing.assert_array_equal(np.asarray(again.tokens), first)
    assert int(again.count) == 7


@pytest.mark.parametrize("optimizer", ["adamw", pytest.param("muon", marks=pytest.mark.slow)])
def test_training_is_measured_by_length_and_optimizer(optimizer) -> None:
    config = PretrainBenchConfig(
        presets=("tiny",), lengths=(32,), tokens_per_batch=70, workers=0, calls=1, rounds=1, own_shapes=False,
        optimizers=(optimizer,),
    )  # fmt: skip
    (case,), _ = cases(bench_pretrain, config)
    assert (case["rows"], case["optimizer"]) == (2, optimizer)
    assert case["tokens_per_second"] == pytest.approx(2 * 32 / case["step"]["seconds"])
    assert (case["optimizer_flops"] > 0) == (optimizer == "muon")


def test_nothing_new_starts_once_the_budget_is_used() -> None:
    found, budget = cases(bench_adapt, AdaptBenchConfig(presets=("tiny",)), budget_seconds=0.0)
    assert not found
    assert any("tiny" in what for what in budget.left_out)


def test_own_shapes_are_scaled_up_to_the_whole_step() -> None:
    work = adaptation(TINY.model, TINY.lora, 2, 2, 32)
    own = measure_own_shapes(work, CEILINGS, jnp.float32, Budget(60.0), wanted=0.5, calls=1)
    assert own is not None
    assert 0.5 <= own.covered <= 1
    assert own.seconds == pytest.approx(sum(s["seconds"] for s in own.shapes) / own.covered)


def test_a_product_too_large_to_make_is_timed_in_part_and_scaled(monkeypatch) -> None:
    def a_microsecond_a_row(call, calls):
        made.append([len(product) for product in call()])
        return SimpleNamespace(seconds=1e-6 * sum(made[-1]))

    made: list[list[int]] = []
    monkeypatch.setattr(ceilings, "_seconds", a_microsecond_a_row)
    shape = Matmul("x", rows=1 << 16, inner=64, columns=64)
    whole = time_matmul(shape, jnp.float32)
    monkeypatch.setattr(ceilings, "_MOST_ELEMENTS", 1 << 18)
    assert time_matmul(shape, jnp.float32) == pytest.approx(whole)
    assert [set(rows) for rows in made] == [{1 << 16}, {1 << 12}]


def test_random_parameters_have_the_shape_and_scale_of_fresh_ones() -> None:
    params = random_params(TINY.model, jnp.bfloat16)
    assert jax.tree.map(lambda p: p.shape, params) == jax.tree.map(lambda p: p.shape, abstract_params(TINY.model))
    kernel = np.asarray(params["layers_0"]["mlp"]["down"]["kernel"], np.float32)
    assert kernel.std() == pytest.approx(64**-0.5, rel=0.1)


def test_the_share_of_positions_that_carry_loss_is_as_asked() -> None:
    batch = random_batches(Decoder(TINY.model), AdaptConfig(slots=2, chunk=2, batch_size=4), 256, 0.25, 0)
    assert float(batch["weights"].mean()) == pytest.approx(0.25, abs=0.03)


def test_an_unknown_preset_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"arc-smal;.*arc-small"):
        BenchConfig(presets=("arc-smal",))


def test_a_spec_survives_the_way_to_the_peers_process() -> None:
    spec = PeerSpec("adapt", TINY.model, TINY.lora, 32, (2, 4), 10.0, loss_share=0.5)
    assert PeerSpec.from_json(spec.to_json()) == spec
    assert best([{"tokens_per_second": 1}, {"tokens_per_second": 3}]) == {"tokens_per_second": 3}


def test_importing_a_benchmark_leaves_the_device_alone() -> None:
    """The peer needs the device's memory first: importing must not start jax's backend, nor torch."""
    code = (
        "import sys, ttt_jax.bench.adapt, ttt_jax.bench.decode, ttt_jax.bench.pretrain, ttt_jax.bench.main\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adapt", "decode", "pretrain"])
def test_a_script_writes_its_figures(name, tmp_path) -> None:
    out = tmp_path / "figures.json"
    flags = ["--presets", "tiny", "--calls", "1", "--rounds", "1", "--out", str(out), "--own-shapes", "false"]
    flags += {
        "adapt": ["--remat", "nothing", "--peer.batches", "2"],
        "decode": ["--tasks", "2", "--views", "2", "--new-tokens", "4", "--ragged", "false"],
        "pretrain": ["--lengths", "32", "--tokens-per-batch", "64", "--workers", "0", "--optimizers", "adamw"],
    }[name]
    done = subprocess.run(
        [sys.executable, f"scripts/bench_{name}.py", *flags],
        cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    record = json.loads(out.read_text())
    assert len(record["cases"]) == 1
    assert record["ceilings"]["flops"] > 0
    if importlib.util.find_spec("torch") is None:
        assert any("torch" in what for what in record["left_out"])
    else:
        assert record["peers"]
        assert "x " in done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
