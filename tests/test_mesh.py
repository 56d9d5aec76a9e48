"""Tasks, bases and batches on a mesh: where arrays lie, which collectives that costs, and equal results."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AbstractMesh
from jax.sharding import PartitionSpec as P

from ttt_jax.config import MeshConfig
from ttt_jax.model.attention import causal_attention, splash_attention
from ttt_jax.model.config import ModelConfig
from ttt_jax.runtime import mesh

ROOT = Path(__file__).resolve().parent.parent

# Runs on eight devices that XLA makes of one processor. For each mesh: the collectives of the programs, how
# adaptation and decoding differ from one device, and where the first adapter lies.
EIGHT = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
from ttt_jax.adapt.adapt import Adapter
from ttt_jax.config import AdaptConfig, LoraConfig, MeshConfig
from ttt_jax.decode.generate import Prompts, generate, prefill
from ttt_jax.decode.generate import Rules
from ttt_jax.decode.params import cast
from ttt_jax.decode.sampling import Sampling
from ttt_jax.decode.speculate import take_up
from ttt_jax.decode.syntax import TextSyntax
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime import hlo, mesh

T, L, R, STEPS = 8, 16, 2, 8
config = ModelConfig(32, 32, 64, 1, 4, 2, 8, RopeConfig(), tie_embeddings=False)
model = Decoder(config)
params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 4), jnp.int32))["params"]
params = jax.tree.map(np.asarray, params)
rng = np.random.default_rng(0)
shape = (T, STEPS, 2, L)
batch = {
    "tokens": rng.integers(0, 32, shape, np.int32),
    "positions": np.broadcast_to(np.arange(L, dtype=np.int32)[:, None], (*shape, 1)).copy(),
    "weights": np.ones(shape, np.float32),
}
prompts = Prompts(
    rng.integers(0, 32, (T, R, L), np.int32),
    np.broadcast_to(np.arange(L, dtype=np.int32)[:, None], (T, R, L, 1)).copy(),
    np.full((T, R), L, np.int32),
)
adapt = AdaptConfig(slots=T, steps=STEPS, chunk=STEPS, batch_size=2, lora=LoraConfig(rank=4))

def run(devices):
    with mesh.use(devices):
        base = mesh.put(params, stacked=False)
        adapter = Adapter(model, base, adapt, 0, 0)
        state = adapter.initial_state([str(i) for i in range(T)])
        batches = mesh.put(batch)
        program = adapter.chunk.lower(state, adapter.frozen, batches).compile()
        first = jax.tree.leaves(state.train.trainable)[0]
        state, metrics = program(state, adapter.frozen, batches)
        adapters = state.train.trainable
        rules = Rules(TextSyntax(), 33, 0, Sampling(), False)
        keys = np.zeros((T, R, 2), np.uint32)
        reading = prefill.lower(
            adapter.model, base, adapters, *mesh.put((prompts, keys)), rules=rules, slots=L + 4, longest=5
        ).compile()
        said = None
        if "decode" in sys.argv:
            said = generate(
                adapter.model, base, adapters, prompts, TextSyntax(),
                stop_token=33, pad_token=0, max_new_tokens=5, chunk=4,
            )
            # Drafts that go wrong after 0 to 5 tokens change nothing.
            drafts = [[(*said.tokens[t, r, : (t + r) % 6].tolist(), 31)[:5] for r in range(R)] for t in range(T)]
            by_drafts = take_up(adapter.model, base, adapters, prompts, drafts, rules, 5, 4).said
            assert (by_drafts.tokens == said.tokens).all()
            assert np.abs(by_drafts.logprobs - said.logprobs).max() < 1e-4
        return {
            "adapt": hlo.collective_traffic(program.as_text()),
            "prefill": hlo.collective_traffic(reading.as_text()),
            "spec": str(getattr(first.sharding, "spec", "")),
            "kept": str(getattr(jax.tree.leaves(adapters)[0].sharding, "spec", "")),
        }, (jax.tree.map(np.asarray, adapters), np.asarray(metrics["loss"])), said

_, expected, said = run(None)
found = {}
for sizes in sys.argv[1].split(","):
    about, got, on_mesh = run(mesh.make_mesh(MeshConfig(*map(int, sizes.split("x"))), jax.devices()))
    leaves = zip(jax.tree.leaves(expected), jax.tree.leaves(got), strict=True)
    about["difference"] = max(float(np.abs(a - b).max()) for a, b in leaves)
    if said:
        about["tokens"] = bool((said.tokens == on_mesh.tokens).all())
        about["logprobs"] = float(np.abs(said.logprobs - on_mesh.logprobs).max())
    found[sizes] = about
print(json.dumps(found))
"""


def on_eight_devices(*arguments: str) -> dict[str, dict]:
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-c", EIGHT, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_tasks_over_a_replicated_base_need_no_collective_and_agree_with_one_device() -> None:
    found = on_eight_devices("8x1x1")["8x1x1"]
    assert found["adapt"] == {}
    assert found["prefill"] == {}
    assert found["difference"] < 1e-5
    # Every device has the adapters of its own tasks, before and after.
    assert found["spec"].startswith("P('task',") and found["kept"].startswith("P('task',")


@pytest.fixture(scope="module")
def eight() -> dict[str, dict]:
    """Adaptation and decoding on three meshes."""
    return on_eight_devices("8x1x1,1x8x1,2x2x2", "decode")


@pytest.mark.slow
class TestSplitBases:
    def test_a_base_that_is_split_is_gathered_and_activations_stay(self, eight) -> None:
        found = eight["1x8x1"]["adapt"]
        # The layer's seven kernels and the head, float32; those of a step's backward pass may be gathered again.
        once = 4 * (2 * 32 * 32 + 2 * 32 * 16 + 3 * 32 * 64 + 32 * 32)
        assert set(found) == {"all-gather"}
        assert once <= found["all-gather"]["bytes"] <= 2.5 * once

    @pytest.mark.parametrize("sizes", ["8x1x1", "1x8x1", "2x2x2"])
    def test_eight_devices_agree_with_one(self, eight, sizes) -> None:
        assert eight[sizes]["difference"] < 1e-5
        assert eight[sizes]["logprobs"] < 1e-4
        assert eight[sizes]["tokens"]

    def test_tasks_lie_over_task_and_fsdp_together(self, eight) -> None:
        for when in ("spec", "kept"):
            assert eight["1x8x1"][when].startswith("P('fsdp',")
            assert eight["2x2x2"][when].startswith("P(('task', 'fsdp'),")


MESH = AbstractMesh((2, 2, 2), mesh.AXES)


@pytest.mark.parametrize(
    "path, shape, expected",
    [
        ("layers_0.attn.q.kernel", (8, 8), P("fsdp", "tensor")),
        ("layers_0.attn.o.kernel", (8, 8), P("tensor", "fsdp")),
        ("layers_0.mlp.down.kernel", (8, 6), P("tensor", "fsdp")),
        ("layers_0.mlp.down.kernel.values", (8, 6), P("tensor", "fsdp")),
        ("layers_0.mlp.up.kernel.codes", (8, 32, 6), P("fsdp", None, "tensor")),
        ("embed.embedding", (16, 8), P("tensor", "fsdp")),
        ("embed.embedding", (15, 8), P(None, "fsdp")),  # what does not divide stays whole
        ("head.kernel", (8, 16), P("fsdp", "tensor")),
        ("layers_0.attn.q.bias", (8,), P("tensor")),
        ("layers_0.input_norm.scale", (8,), P(None)),
    ],
)
def test_the_base_is_split_by_its_logical_axes(path, shape, expected) -> None:
    assert mesh.base_spec(path.split("."), shape, MESH) == expected


@pytest.mark.parametrize(
    "path, shape, expected",
    [
        ("train.trainable.lora.layers_0.attn.q.a", (4, 8, 3), P(("task", "fsdp"), None, None)),
        ("train.trainable.lora.layers_0.attn.q.b", (4, 3, 8), P(("task", "fsdp"), None, "tensor")),
        ("train.opt_state.0.mu.lora.layers_0.mlp.down.a", (4, 8, 3), P(("task", "fsdp"), "tensor", None)),
        ("train.trainable.params.layers_0.attn.o.kernel", (4, 8, 8), P(("task", "fsdp"), "tensor", None)),
        ("cache.keys.0", (4, 3, 2, 5, 8), P(("task", "fsdp"), None, "tensor", None, None)),
        ("tokens", (4, 5), P(("task", "fsdp"), None)),
        ("tokens", (3, 5), P(None, None)),
        ("count", (), P()),
    ],
)
def test_stacks_are_split_by_task_and_then_as_the_base_is(path, shape, expected) -> None:
    assert mesh.stack_spec(path.split("."), shape, MESH) == expected


def test_a_mesh_that_is_not_the_devices_is_refused() -> None:
    with pytest.raises(ValueError, match="does not make 1 devices"):
        mesh.make_mesh(MeshConfig(task=2), jax.devices()[:1])
    with pytest.raises(ValueError, match="one may be -1"):
        MeshConfig(task=-1, fsdp=-1)


def test_heads_that_do_not_divide_over_the_devices_are_refused(tiny_config: ModelConfig) -> None:
    split = AbstractMesh((1, 1, 3), mesh.AXES)
    with pytest.raises(ValueError, match=r"mesh.tensor: 3 does not divide the model's 2 key-value heads"):
        mesh.check_model(split, tiny_config)


@pytest.mark.parametrize(
    "length, heads, head_dim, window, packed",
    [(130, 2, 64, None, True), pytest.param(160, 4, 32, 40, False, marks=pytest.mark.slow)],
)
def test_splash_attention_is_causal_attention(length, heads, head_dim, window, packed) -> None:
    q, k, v = (jax.random.normal(jax.random.key(i), (1, length, n, head_dim)) for i, n in enumerate((heads, 1, 1)))
    segments = jnp.asarray(np.repeat([[0, 1]], length // 2, axis=1)) if packed else None

    def value_and_gradients(attend, **options):
        def loss(q, k, v):
            return jnp.sum(
                attend(q, k, v, segments, window, **options) * jnp.cos(jnp.arange(head_dim))[None, None, None]
            )

        return jax.value_and_grad(loss, argnums=(0, 1, 2))(q, k, v)

    found, expected = value_and_gradients(splash_attention, interpret=True), value_and_gradients(causal_attention)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5), found, expected)
