"""Linear layers: an adapter added to its kernel acts as one beside it; products are kept where a policy says so."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from ttt_jax.bench.counts import tree_bytes
from ttt_jax.bench.options import PRESETS
from ttt_jax.config import LoraConfig, Remat
from ttt_jax.model import linear
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.linear import merging_pays, project
from ttt_jax.model.lora import init_adapter, target_shapes

TASKS, ROWS, LENGTH, IN, OUT, RANK, SCALE = 3, 2, 5, 8, 12, 2, 0.7


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


def outcome(merges: bool, monkeypatch, dtype=jnp.float32):
    """Result and gradients of a layer under a base of one and adapters of three tasks."""
    monkeypatch.setattr(linear, "merging_pays", lambda *shape: merges)
    x, kernel, bias = normal(0, TASKS, ROWS, LENGTH, IN), normal(1, IN, OUT), normal(2, OUT)
    a, b, dy = normal(3, TASKS, IN, RANK), normal(4, TASKS, RANK, OUT), normal(5, TASKS, ROWS, LENGTH, OUT)

    def layer(x, kernel, a, b):
        one = lambda x, a, b: project(x, {"kernel": kernel, "bias": bias, "a": a, "b": b}, SCALE, dtype)  # noqa: E731
        return jax.vmap(one)(x, a, b)

    def both(*args):
        y, pull = jax.vjp(layer, *args)
        return y, pull(dy.astype(y.dtype))

    return jax.jit(both)(x, kernel, a, b)


def test_an_adapter_added_to_the_kernel_acts_as_one_beside_it(monkeypatch) -> None:
    beside, added = outcome(False, monkeypatch), outcome(True, monkeypatch)
    for one, other in zip(jax.tree.leaves(beside), jax.tree.leaves(added), strict=True):
        assert np.abs(np.asarray(one)).max() > 0.1
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5, atol=1e-5)


def test_in_bfloat16_the_sum_is_rounded_and_little_else(monkeypatch) -> None:
    exact, low = outcome(False, monkeypatch), outcome(True, monkeypatch, jnp.bfloat16)
    for one, other in zip(jax.tree.leaves(exact), jax.tree.leaves(low), strict=True):
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        assert np.abs(one - other).max() < 0.03 * np.abs(one).max()


def test_the_shipped_model_is_adapted_on_merged_kernels_and_decoded_on_separate_ones() -> None:
    small, large = PRESETS["arc-small"], PRESETS["llama-1b"]
    for preset, tokens, merges in ((small, 4096, True), (small, 16, False), (large, 2048, False), (large, 16, False)):
        shapes = target_shapes(preset.model)
        for name in ("q", "gate", "up", "down"):
            assert merging_pays(tokens, *shapes[name], preset.lora.rank) == merges


def kept_and_computed(remat: Remat) -> tuple[int, float]:
    """Bytes that the backward pass of an adapted model is handed, and the operations of a gradient."""
    config = replace(PRESETS["tiny"].model, num_layers=4)
    model = Decoder(config, remat=remat)
    base = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 2), jnp.int32))["params"]
    adapter = jax.eval_shape(partial(init_adapter, config=config, lora=LoraConfig(rank=2)), jax.random.key(0))
    tokens = jax.ShapeDtypeStruct((32, 8), jnp.int32)
    positions = jax.ShapeDtypeStruct((32, 8, 3), jnp.int32)

    def hidden(lora, base, tokens, positions):
        return model.apply({"params": base, "lora": lora}, tokens, positions, method="hidden")[0].sum()

    def backward(lora, *args):
        return jax.vjp(lambda lora: hidden(lora, *args), lora)[1]

    residuals = jax.eval_shape(backward, adapter, base, tokens, positions)
    cost = jax.jit(jax.grad(hidden)).lower(adapter, base, tokens, positions).cost_analysis()
    return tree_bytes(residuals), cost["flops"]


def test_remat_trades_memory_for_operations() -> None:
    kept, computed = zip(*(kept_and_computed(remat) for remat in ("nothing", "products", "full")), strict=True)
    assert kept[2] < 0.5 * kept[1] < 0.5 * 0.8 * kept[0]
    assert computed[0] < computed[1] < 1.1 * computed[0]
    assert computed[2] > 1.2 * computed[0]
