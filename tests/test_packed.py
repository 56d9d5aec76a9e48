"""Variables as one vector: nothing is lost on the way, wherever they wait."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ttt_jax.adapt.course import Adapted
from ttt_jax.adapt.loop import take_slot
from ttt_jax.adapt.packed import Layout, Packed, pack_slot
from ttt_jax.adapt.partial import PartialFolder
from ttt_jax.adapt.saved import load_adapted, saver
from ttt_jax.pipeline import WAITING, Solver, stacked
from ttt_jax.runtime.compile_log import CompileLog

CURVES = {name: [] for name in ("step", "loss", "grad_norm", "learning_rate")}


def tree(seed: int) -> Any:
    rng = np.random.default_rng(seed)
    shapes = {"layers_1": {"b": (3, 5), "a": (4, 3)}, "layers_0": {"scale": (7,), "one": ()}}
    return {
        "lora": jax.tree.map(
            lambda x: rng.normal(size=x).astype(np.float32), shapes, is_leaf=lambda x: isinstance(x, tuple)
        )
    }


def same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    jax.tree.map(np.testing.assert_array_equal, a, b)


def test_a_tree_comes_back_as_it_was():
    one = tree(0)
    packed = Packed.of(one)
    assert packed.vector.shape == (3 * 5 + 4 * 3 + 7 + 1,) == (packed.layout.size,) and not packed.waits_on_device
    same(packed.tree(), one)
    with pytest.raises(AssertionError, match="one type"):
        Layout.of({"a": np.zeros(2, np.float16)})


def test_a_slot_is_packed_as_it_is_taken():
    stack = jax.tree.map(lambda *x: jnp.stack(x), *map(tree, range(3)))
    layout = Layout.of(tree(0))
    for slot in range(3):
        packed = Packed(pack_slot(stack, jnp.int32(slot)), layout)
        assert packed.waits_on_device and not packed.on_host().waits_on_device
        same(packed.tree(), jax.device_get(take_slot(stack, jnp.int32(slot))))
        same(packed.on_host().tree(), tree(slot))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_those_of_a_group_are_stacked_in_the_compute_type_wherever_they_wait(dtype):
    packed = [Packed.of(tree(0)), replace(Packed.of(tree(1)), vector=jnp.asarray(Packed.of(tree(1)).vector))]
    got = stacked(packed, 3, dtype)
    expected = jax.tree.map(lambda *x: jnp.stack(x).astype(dtype), tree(0), tree(1), tree(1))
    same(got, expected)
    on_host = [one.on_host() for one in packed]
    with CompileLog() as log:
        same(jax.device_get(stacked(on_host, 3, dtype)), jax.device_get(expected))
    assert log.count == 0, "host or device: one program"


def test_what_waits_on_the_device_is_bounded(monkeypatch):
    layout = Layout.of(tree(0))
    one = Adapted("a", Packed(jnp.zeros(layout.size), layout), 0, None, CURVES, 0, 0.0)
    other = replace(one, id="b", packed=Packed(jnp.ones(layout.size), layout))
    waits = lambda adapted, ready: Solver.waits(SimpleNamespace(), adapted, ready)  # noqa: E731  # pyright: ignore
    for limit, expected in ((1.5, False), (2.5, True)):
        monkeypatch.setattr("ttt_jax.pipeline.memory_limit", lambda n=limit: n * one.packed.vector.nbytes / WAITING)
        assert waits(one, {}).packed.waits_on_device
        kept = waits(other, {"a": one})
        assert kept.packed.waits_on_device == expected
        same(kept.trainable, other.trainable)
        shared = replace(one, id="c")  # one adapter for several tasks counts once
        assert waits(shared, {"a": one, "d": shared}).packed.waits_on_device == expected


def test_what_is_kept_of_a_run_that_is_left_comes_back(tmp_path):
    layout = Layout.of(tree(3))
    adapted = Adapted("a", Packed(jnp.asarray(Packed.of(tree(3)).vector), layout), 5, None, CURVES, 7, 0.5)
    folder = PartialFolder(tmp_path)
    folder.save("a", adapted.content())
    found = Adapted.of_content(folder.load("a"))
    assert found and (found.steps, found.tokens, found.seconds) == (5, 7, 0.5)
    same(found.trainable, tree(3))


def test_an_adapter_that_was_saved_in_another_type_is_read_in_float32(tmp_path):
    whole = {"lora": {"layers_1": tree(0)["lora"]["layers_1"]}}  # files hold no scalars
    lower = jax.tree.map(lambda x: x.astype(np.float16), whole)
    saver(lower)(tmp_path / "a.safetensors")
    found = load_adapted(tmp_path, "a", whole)
    assert found.failed is None
    same(found.trainable, jax.tree.map(lambda x: x.astype(np.float32), lower))
