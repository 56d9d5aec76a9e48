"""Quantised bases: close to the kernels they stand for, and never whole in full precision in a compiled step."""

from __future__ import annotations

import re
from functools import partial
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.random_checkpoint import LLAMA, write_checkpoint
from tests.test_load_model import run_python
from ttt_jax.adapt.loop import init_state, make_adapt_chunk
from ttt_jax.config import LoraConfig, OptimizerConfig, Remat
from ttt_jax.losses import next_token
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.hf_export import export_hf
from ttt_jax.model.io import load_model, parameter_count
from ttt_jax.model.lora import init_adapter, merge_adapter
from ttt_jax.model.quantize import NF4, dequantize, quantize, quantize_kernel
from ttt_jax.update import make_optimizer

METHODS = ["int8", "nf4"]
# As in scripts/compile_for_tpu.py: no chips are held, so several processes may compile at a time.
LIBTPU = {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}


def kernel(rows: int = 128, columns: int = 48, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.02, (rows, columns)).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 63, 64, 100, 192])
def test_int8_is_off_by_half_a_step_of_its_channel_at_most(rows: int) -> None:
    w = kernel(rows)
    off = np.abs(quantize_kernel(w, "int8").astype(jnp.float32) - w)
    assert np.all(off <= np.abs(w).max(axis=0) / 127 * 0.5001)


@pytest.mark.parametrize("rows", [1, 63, 64, 100, 192])
def test_nf4_takes_the_nearest_level_of_its_block(rows: int) -> None:
    w = kernel(rows)
    quantised = quantize_kernel(w, "nf4")
    actual = np.asarray(quantised.astype(jnp.float32))
    assert actual.shape == quantised.shape == w.shape
    for start in range(0, rows, 64):
        block = w[start : start + 64]
        scale = np.abs(block).max(axis=0).astype(jnp.bfloat16).astype(np.float32)
        levels = NF4[:, None, None] * scale
        nearest = np.abs(levels - block).min(axis=0)
        np.testing.assert_allclose(np.abs(actual[start : start + 64] - block), nearest, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_zeros_and_the_largest_of_a_block_stay_what_they_are(method: str) -> None:
    w = kernel(64)
    w[:, 3] = 0
    w[5] = 0
    w[7, 4] = 2.0
    actual = np.asarray(quantize_kernel(w, method).astype(jnp.float32))
    assert np.all(actual[:, 3] == 0) and np.all(actual[5] == 0)
    assert actual[7, 4] == 2.0


@pytest.mark.parametrize(("method", "bits"), [("int8", 8.3), ("nf4", 4.3)])
def test_bits_of_a_parameter(method: str, bits: float) -> None:
    quantised = quantize_kernel(kernel(128, 512), method)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(quantised)) * 8 / (128 * 512) < bits


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    write_checkpoint(folder, {**LLAMA, "hidden_size": 64, "intermediate_size": 100})
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_a_quantised_base_computes_what_its_dequantised_kernels_do(checkpoint, method: str) -> None:
    model, params, _ = load_model(checkpoint, quantize=method)
    _, full, _ = load_model(checkpoint)
    assert parameter_count(params) == parameter_count(full)
    jax.tree.map(np.testing.assert_array_equal, dequantize(params), dequantize(quantize(full, method)))
    tokens = np.arange(30).reshape(2, 15)
    actual = model.apply({"params": params}, tokens)
    np.testing.assert_allclose(actual, model.apply({"params": dequantize(params)}, tokens), atol=1e-5)
    exact = model.apply({"params": full}, tokens)
    assert 1e-4 < np.abs(actual - exact).mean() / np.abs(exact).mean() < 0.25


@pytest.mark.parametrize("method", METHODS)
def test_adapters_on_a_quantised_base_learn_and_merge(checkpoint, method: str, tmp_path) -> None:
    """Two tasks at once: the loss falls, the base keeps its bits, the merged model is exported."""
    model, base, _ = load_model(checkpoint, quantize=method)
    before = jax.tree.map(np.array, base)
    lora = LoraConfig(rank=4, alpha=8.0)
    model = model.clone(lora_scale=lora.scale, remat="full")
    keys = jax.random.split(jax.random.key(0), 2)
    adapters = jax.vmap(lambda key: init_adapter(key, model.config, lora))(keys)
    tx = make_optimizer(OptimizerConfig(learning_rate=1e-2, schedule="constant"), 20)
    chunk = make_adapt_chunk(next_token, tx, model)
    tokens = np.random.default_rng(0).integers(0, 300, (2, 1, 2, 16))
    batches = {
        "tokens": np.broadcast_to(tokens, (2, 20, 2, 16)).astype(np.int32),
        "positions": np.broadcast_to(np.arange(16, dtype=np.int32)[:, None], (2, 20, 2, 16, 1)),
        "weights": np.ones((2, 20, 2, 16), np.float32),
    }
    state, metrics = chunk(init_state({"lora": adapters}, tx, jnp.full(2, 20)), {"params": base}, batches)
    assert np.all(metrics["loss"][:, -1] < metrics["loss"][:, 0] - 1)
    jax.tree.map(np.testing.assert_array_equal, base, before)

    adapter = jax.tree.map(lambda x: x[0], state.train.trainable["lora"])
    export_hf(tmp_path, model.config, merge_adapter(base, adapter, lora.scale), load_model(checkpoint)[2], jnp.float32)
    again, merged, _ = load_model(tmp_path)
    expected = model.apply({"params": base, "lora": adapter}, tokens[0, 0])
    np.testing.assert_allclose(again.apply({"params": merged}, tokens[0, 0]), expected, atol=1e-4, rtol=1e-4)


BIG = ModelConfig(
    vocab_size=64, hidden_size=128, intermediate_size=384, num_layers=3, num_heads=2, num_kv_heads=2, head_dim=64
)
LORA = LoraConfig(rank=2, alpha=2.0)
STEPS, TASKS, LENGTH = 3, 2, 8


def base_shapes(method: str | None) -> dict:
    shapes = jax.eval_shape(lambda: Decoder(BIG).init(jax.random.key(0), jnp.zeros((1, 2), jnp.int32)))["params"]
    return shapes if method is None else jax.eval_shape(partial(quantize, method=method), shapes)


def kernel_shapes() -> set[tuple[int, ...]]:
    flat = jax.tree.leaves_with_path(base_shapes(None))
    kernels = {leaf.shape for path, leaf in flat if "layers" in str(path) and "kernel" in str(path)}
    return kernels | {shape[::-1] for shape in kernels}


def compile_steps(base: dict, remat: Remat, sharding=None):
    """An adaptation of TASKS tasks over STEPS steps, compiled."""

    def place(tree):
        return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree)

    def start(keys):
        return init_state(
            {"lora": jax.vmap(lambda key: init_adapter(key, BIG, LORA))(keys)}, tx, jnp.full(TASKS, STEPS)
        )

    tx = make_optimizer(OptimizerConfig(), STEPS)
    state = jax.eval_shape(start, jax.eval_shape(lambda: jax.random.split(jax.random.key(0), TASKS)))
    shape = (TASKS, STEPS, 1, LENGTH)
    kinds = {"tokens": (shape, jnp.int32), "positions": ((*shape, 1), jnp.int32), "weights": (shape, jnp.float32)}
    batches = {name: jax.ShapeDtypeStruct(*kind) for name, kind in kinds.items()}
    chunk = make_adapt_chunk(next_token, tx, Decoder(BIG, lora_scale=LORA.scale, remat=remat))
    return chunk.lower(place(state), {"params": place(base)}, place(batches))


@pytest.mark.parametrize("remat", ["full", "products", "nothing"])
@pytest.mark.parametrize("method", METHODS)
def test_no_dequantised_kernel_is_kept_for_the_backward_pass(method: str, remat: Remat) -> None:
    model = Decoder(BIG, lora_scale=LORA.scale, remat=remat)

    def residuals(base) -> list:
        adapter = init_adapter(jax.random.key(0), BIG, LORA)
        tokens = jnp.zeros((1, LENGTH), jnp.int32)
        forward = partial(lambda lora, base: model.apply({"params": base, "lora": lora}, tokens), base=base)
        return jax.tree.leaves(jax.vjp(forward, adapter)[1])

    kept = jax.eval_shape(residuals, base_shapes(method))
    assert kept
    floats = {leaf.shape for leaf in kept if jnp.issubdtype(leaf.dtype, jnp.floating)}
    assert not floats & kernel_shapes()


@pytest.mark.parametrize("method", METHODS)
def test_no_dequantised_kernel_is_carried_from_step_to_step(method: str) -> None:
    """Dequantising does not depend on the step: without care, the compiler does it before the loop, for all layers."""
    lowered = compile_steps(base_shapes(method), remat="full")
    loops = [line for line in lowered.compile().as_text().splitlines() if re.search(r"= \(.*\) while\(", line)]
    carried = {tuple(map(int, dims.split(","))) for line in loops for dims in re.findall(r"f32\[([\d,]+)\]", line)}
    assert carried, "the loop over steps was not found"
    assert not carried & kernel_shapes()


@pytest.mark.parametrize("method", METHODS)
def test_a_quantised_base_keeps_no_task_axis_in_its_matmuls(method: str) -> None:
    text = compile_steps(base_shapes(method), remat="nothing").as_text()
    shapes = "|".join(f"{a}x{b}" for a, b in kernel_shapes())
    dots = [line for line in text.splitlines() if "dot_general" in line and re.search(rf"tensor<({shapes})xf32>", line)]
    assert len(dots) >= 7 * BIG.num_layers
    assert not any("batching_dims" in line for line in dots)


def peak_on_tpu(method: str | None) -> int:
    """Bytes of arguments and temporaries of the compiled steps, in a process of its own."""
    code = (
        "from tests import test_quantize as t\n"
        "from jax.experimental import topologies\n"
        "topology = topologies.get_topology_desc(platform='tpu', topology_name='v5e:2x2')\n"
        "sharding = t.jax.sharding.SingleDeviceSharding(topology.devices[0])\n"
        f"lowered = t.compile_steps(t.base_shapes({method!r}), remat='full', sharding=sharding)\n"
        "memory = lowered.compile().memory_analysis()\n"
        "print(memory.argument_size_in_bytes + memory.temp_size_in_bytes)\n"
    )
    return int(run_python(code, **LIBTPU).splitlines()[-1])


@pytest.mark.tpu
@pytest.mark.skipif(find_spec("libtpu") is None, reason="libtpu is for Linux on x86-64")
def test_the_peak_memory_of_a_step_holds_no_base_in_full_precision() -> None:
    """Compiled for a TPU. (A CPU's compiler undoes recomputation, of activations and of dequantising alike.)"""
    full = peak_on_tpu(None)
    kernels = sum(leaf.size * 4 for p, leaf in jax.tree.leaves_with_path(base_shapes(None)) if "kernel" in str(p))
    one_layer = kernels / BIG.num_layers
    assert full > kernels
    for method, saved in (("int8", 0.74), ("nf4", 0.86)):
        assert peak_on_tpu(method) < full - saved * kernels + one_layer, method
