"""Adaptation and decoding compile for TPU chips, without one; the reader of compiled programs sees what it should."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from ttt_jax.runtime import hlo

ROOT = Path(__file__).resolve().parent.parent
LAYERS, SLOTS = 4, 64
# The shape of `arc-small` (configs/arc/small_pretrain.yaml), two of its eight layers: a rope of three axes.
SMALL = {
    "vocab_size": 16,
    "hidden_size": 512,
    "intermediate_size": 1408,
    "num_layers": 2,
    "num_heads": 8,
    "num_kv_heads": 8,
    "head_dim": 64,
    "rope": {"theta": [10_000, 100, 100], "pairs": [16, 8, 8]},
    "qk_norm": True,
    "tie_embeddings": False,
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory) -> dict[str, dict]:
    """What scripts/compile_for_tpu.py says of the small model on four v5e chips, by the first word of its name."""
    folder = tmp_path_factory.mktemp("tpu")
    (folder / "config.json").write_text(json.dumps({"format": "ttt_jax/1", "tokenizer": "arc", "model": SMALL}))
    flags = {
        "model": folder,
        "topology": "v5e:2x2",
        "length": 256,
        "json": folder / "programs.json",
        "adapt.slots": 2,
        "adapt.chunk": 4,
        "adapt.batch_size": 2,
        "decode.slots": 2,
        "decode.views": 4,
    }
    command = [sys.executable, str(ROOT / "scripts" / "compile_for_tpu.py")]
    command += [str(word) for name, value in flags.items() for word in (f"--{name}", value)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    case = json.loads((folder / "programs.json").read_text())["v5e:2x2"]
    assert case["chips"] == 4
    return {p["name"].split(",")[0]: p for p in case["programs"]}


needs_libtpu = pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() != "x86_64" or find_spec("libtpu") is None,
    reason="libtpu is for Linux on x86-64",
)


@pytest.mark.tpu
@needs_libtpu
class TestFourChips:
    def test_adaptation_prefill_and_decoding_fit_the_chips(self, programs) -> None:
        assert set(programs) == {"adapt", "prefill", "decode"}
        for program in programs.values():
            assert program["tasks"] == 8
            assert 0 < program["bytes"]["total"] < 4 * 2**30, program
            assert program["flops"] > 0

    def test_state_and_cache_are_taken_over_and_not_held_twice(self, programs) -> None:
        for name in ("adapt", "decode"):
            sizes = programs[name]["bytes"]
            assert sizes["aliased"] > 0.99 * sizes["outputs"], (name, sizes)

    def test_tasks_over_a_replicated_base_need_no_collective(self, programs) -> None:
        assert programs["adapt"]["collectives"] == {}
        assert programs["prefill"]["collectives"] == {}

    def test_decoding_only_asks_whether_all_rows_are_done(self, programs) -> None:
        (collective,) = programs["decode"]["collectives"]
        assert collective.startswith("all-reduce") and collective.endswith("[]"), collective

    def test_layouts_are_reported_and_add_little_at_this_size(self, programs) -> None:
        for name in ("adapt", "prefill", "decode"):
            sizes = programs[name]["padding"]["arguments"]
            assert sizes["bytes"] <= sizes["padded"] < 1.1 * sizes["bytes"]
        # Keys and values of all layers: 2 tasks, 4 rows, 8 heads, 256 + 128 slots of 64, bfloat16.
        cache = 2 * SMALL["num_layers"] * 2 * 4 * 8 * (256 + 128) * 64 * 2
        assert programs["decode"]["padding"]["cache"]["bytes"] == cache

    def test_the_least_time_is_below_what_the_compiler_counts(self, programs) -> None:
        floor = programs["adapt"]["floor"]
        assert 0 < floor["products"] <= floor["seconds"]
        assert floor["seconds"] < 20 * programs["adapt"]["flops"] / 197e12

    def test_a_decoded_token_copies_no_cache(self, programs) -> None:
        found = programs["decode"]["cache"]
        assert found["written"] == 2 * SMALL["num_layers"]  # keys and values: these are the arrays that were looked for
        assert found["copied"] == []

    def test_a_step_costs_what_a_forward_pass_and_input_gradients_cost(self, programs) -> None:
        parameters, tokens = SMALL["num_layers"] * (4 * 512 * 512 + 3 * 512 * 1408), 2 * 2 * 256
        # 4 operations a frozen parameter and token, and no more than half of that for adapters and attention.
        assert 4 < programs["adapt"]["flops"] / (parameters * tokens) < 8


def decode_like(step, cache, steps: int = 5) -> str:
    """The text of a loop that takes `step(cache, i) -> cache`."""

    def loop(cache):
        return jax.lax.while_loop(lambda c: c[1] < steps, lambda c: (step(*c), c[1] + 1), (cache, 0))[0]

    return jax.jit(loop, donate_argnums=0).lower(cache).compile().as_text()


def write(array: jax.Array, i: jax.Array) -> jax.Array:
    """One slot of [SLOTS, 8], written in place."""
    return jax.lax.dynamic_update_slice_in_dim(array, jnp.full((1, 8), i, array.dtype), i, axis=0)


def test_a_loop_that_writes_its_cache_in_place_copies_nothing() -> None:
    cache = tuple(jnp.zeros((SLOTS, 8)) for _ in range(LAYERS))
    written, copied = hlo.loop_arrays(decode_like(lambda c, i: tuple(write(x, i) for x in c), cache), SLOTS * 8)
    assert len(written) == LAYERS
    assert copied == ()


def test_a_cache_scanned_over_layers_is_seen_as_copied() -> None:
    def step(cache, i):
        return jax.lax.scan(lambda _, layer: (None, write(layer, i) * 1.5), None, cache)[1]

    assert hlo.loop_arrays(decode_like(step, jnp.zeros((LAYERS, SLOTS, 8))), LAYERS * SLOTS * 8).copied


def test_a_loop_mapped_over_tasks_is_seen_to_select_over_the_whole_cache() -> None:
    def one_task(cache, steps):
        return jax.lax.while_loop(lambda c: c[1] < steps, lambda c: (write(*c), c[1] + 1), (cache, 0))[0]

    mapped = jax.jit(jax.vmap(one_task), donate_argnums=0)
    text = mapped.lower(jnp.zeros((3, SLOTS, 8)), jnp.arange(3)).compile().as_text()
    assert hlo.loop_arrays(text, 3 * SLOTS * 8).copied


def test_layouts_are_read_with_their_tiles() -> None:
    text = (
        "ENTRY %main.1 (x: bf16[4,100,64], y: f32[3], z: pred[5]) -> f32[3] {\n"
        "  %x = bf16[4,100,64]{2,1,0:T(8,128)(2,1)} parameter(0), sharding={replicated}\n"
        "  %y = f32[3]{0:T(128)} parameter(1)\n"
        "  %z = pred[5]{0} parameter(2)\n"
        "  ROOT %r = f32[3]{0:T(128)} negate(%y)\n"
        "}\n"
    )
    x, y, z = hlo.arguments(text)
    assert (x.shape, x.bytes, x.padded) == ((4, 100, 64), 4 * 100 * 64 * 2, 4 * 104 * 128 * 2)
    assert (y.bytes, y.padded) == (12, 512)
    assert (z.bytes, z.padded) == (5, 5)
    # The same array with its slots along the lanes.
    (turned,) = hlo.arrays("bf16[4,100,64]{1,2,0:T(8,128)(2,1)}")
    assert turned.padded == 4 * 64 * 128 * 2


def test_attributes_with_lines_of_their_own_do_not_end_a_computation() -> None:
    text = (
        "%body.1 (x: f32[8]) -> f32[64] {\n"
        "  %x = f32[8]{0} parameter(0)\n"
        '  %k = f32[8]{0} custom-call(%x), backend_config={"metadata": "\n'
        '"}\n'
        "}, more\n"
        "  ROOT %g = f32[64]{0} all-gather(%k), dimensions={0}\n"
        "}\n"
    )
    assert hlo.collective_traffic(text) == {"all-gather": {"count": 1, "bytes": 256}}


def test_collectives_are_counted_with_their_shapes() -> None:
    code = (
        "import jax, numpy as np\n"
        "from jax.sharding import Mesh, NamedSharding, PartitionSpec as P\n"
        "from ttt_jax.runtime import hlo\n"
        "mesh = Mesh(np.array(jax.devices()), ('task',))\n"
        "x = jax.ShapeDtypeStruct((8, 6), np.float32, sharding=NamedSharding(mesh, P('task')))\n"
        "print(hlo.collectives(jax.jit(lambda x: x.sum(0)).lower(x).compile().as_text()))\n"
        "print(hlo.collectives(jax.jit(lambda x: x * 2).lower(x).compile().as_text()))\n"
    )
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines() == ["{'all-reduce f32[6]': 1}", "{}"]
