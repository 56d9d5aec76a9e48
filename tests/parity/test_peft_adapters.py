"""Live comparison of adapters with PEFT: the forward pass, the gradients, and a whole adaptation."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import peft
import pytest
import torch

from scripts import make_fixtures as reference
from ttt_jax.adapt.loop import init_state, make_adapt_chunk
from ttt_jax.config import LoraConfig, OptimizerConfig
from ttt_jax.losses import next_token
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.hf import config_from_hf, params_from_hf
from ttt_jax.model.lora import ATTENTION, init_adapter, merge_adapter
from ttt_jax.update import make_optimizer

pytestmark = pytest.mark.parity

LORAS = [
    LoraConfig(rank=4, alpha=12.0),
    LoraConfig(rank=9, alpha=6.0, rslora=True, targets=("q", "v", "down", "head")),
    LoraConfig(rank=2, alpha=2.0, targets=("k", "o", "gate")),
]


def random_pair(lora: LoraConfig, seed: int = 0):
    """(PEFT model with a random adapter, our model, base, the same adapter)."""
    torch_model = reference.random_model(
        "llama", seed=seed, hidden_size=24, intermediate_size=40, num_attention_heads=4, num_key_value_heads=2,
        head_dim=10, tie_word_embeddings=False,
    )  # fmt: skip
    config = config_from_hf(torch_model.config.to_dict())
    base = params_from_hf(reference.tensors(torch_model), config)
    names = [f"{target}_proj" if target != "head" else "lm_head" for target in lora.targets]
    peft_model = peft.get_peft_model(
        torch_model,
        peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, use_rslora=lora.rslora, target_modules=names),
    )
    adapter = random_adapter(config, lora, seed)
    write_adapter(peft_model, adapter)
    return peft_model, Decoder(config, lora_scale=lora.scale), base, adapter


def random_adapter(config, lora: LoraConfig, seed: int):
    """An adapter whose `b` is not zero, so that both factors act and have gradients."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(0, 0.2, leaf.shape), jnp.float32),
        init_adapter(jax.random.key(0), config, lora),
    )


def factors(peft_model, adapter):
    """(our path, PEFT's tensor, its transpose's place) for every factor of the adapter."""
    parameters = dict(peft_model.named_parameters())
    for path, leaf in jax.tree_util.tree_leaves_with_path(adapter):
        *place, factor = (key.key for key in path)
        if place == ["head"]:
            module = "lm_head"
        else:
            layer, _, target = place
            block = "self_attn" if target in ATTENTION else "mlp"
            module = f"model.layers.{layer.removeprefix('layers_')}.{block}.{target}_proj"
        yield path, leaf, parameters[f"base_model.model.{module}.lora_{factor.upper()}.default.weight"]


def write_adapter(peft_model, adapter) -> None:
    with torch.no_grad():
        written = [tensor.copy_(torch.tensor(np.asarray(leaf).T)) for _, leaf, tensor in factors(peft_model, adapter)]
    trainable = [p for p in peft_model.parameters() if p.requires_grad]
    assert len(written) == len(trainable), "PEFT adapts other layers than ours"


def random_batch(model: Decoder, seed: int, shape: tuple[int, ...]):
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, model.config.vocab_size, shape, dtype=np.int32)
    weights = rng.integers(0, 2, shape).astype(np.float32)
    weights[..., 0] = 0
    positions = np.broadcast_to(np.arange(shape[-1], dtype=np.int32)[:, None], (*shape, 1))
    return {"tokens": tokens, "positions": positions, "weights": weights}


def torch_loss(peft_model, batch):
    """The weighted mean cross-entropy of `next_token`, written with torch."""
    tokens = torch.tensor(batch["tokens"].astype(np.int64))
    weights = torch.tensor(batch["weights"])[:, 1:]
    logits = peft_model(tokens, use_cache=False).logits[:, :-1]
    each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), reduction="none")
    return (each * weights.flatten()).sum() / weights.sum()


@pytest.mark.parametrize("lora", LORAS, ids=lambda lora: f"rank{lora.rank}")
def test_adapted_logits_equal_those_of_peft(lora: LoraConfig) -> None:
    peft_model, model, base, adapter = random_pair(lora)
    tokens = random_batch(model, 1, (2, 19))["tokens"]
    expected = reference.logits(peft_model, tokens)
    apply = jax.jit(model.apply)
    actual = apply({"params": base, "lora": adapter}, tokens)
    merged = apply({"params": merge_adapter(base, adapter, lora.scale)}, tokens)
    assert np.abs(actual - apply({"params": base}, tokens)).max() > 0.1, "the adapter does nothing"
    np.testing.assert_allclose(actual, expected, atol=1e-4, rtol=0)
    np.testing.assert_allclose(merged, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("lora", LORAS, ids=lambda lora: f"rank{lora.rank}")
def test_gradients_of_adapters_equal_those_of_peft(lora: LoraConfig) -> None:
    peft_model, model, base, adapter = random_pair(lora)
    batch = random_batch(model, 2, (2, 19))
    torch_loss(peft_model, batch).backward()
    grad = jax.jit(jax.grad(next_token, has_aux=True), static_argnums=3)
    grads, _ = grad({"lora": adapter}, {"params": base}, batch, model)
    ours = dict(jax.tree_util.tree_leaves_with_path(grads["lora"]))
    for path, _, tensor in factors(peft_model, adapter):
        np.testing.assert_allclose(ours[path], tensor.grad.numpy().T, atol=2e-5, rtol=1e-3, err_msg=str(path))


def test_adapting_tasks_side_by_side_equals_adapting_each_with_peft_and_torch() -> None:
    lora, steps, tasks = LORAS[0], 12, 3
    optimizer = OptimizerConfig(learning_rate=1e-2, schedule="constant", weight_decay=0.1, clip_norm=0.5, eps=1e-6)
    _, model, base, _ = random_pair(lora)
    adapters = [random_adapter(model.config, lora, seed) for seed in range(tasks)]
    batches = random_batch(model, 3, (tasks, steps, 2, 19))

    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *adapters)
    tx = make_optimizer(optimizer, steps)
    chunk = make_adapt_chunk(next_token, tx, model)
    state = init_state({"lora": stacked}, tx, jnp.full(tasks, steps))
    state, metrics = chunk(state, {"params": base}, batches)

    for task in range(tasks):
        peft_model, *_ = random_pair(lora)
        write_adapter(peft_model, adapters[task])
        peft_model.eval()
        trainable = [p for p in peft_model.parameters() if p.requires_grad]
        adamw = torch.optim.AdamW(
            trainable, lr=optimizer.learning_rate, betas=(optimizer.b1, optimizer.b2), eps=optimizer.eps,
            weight_decay=optimizer.weight_decay,
        )  # fmt: skip
        losses = []
        for step in range(steps):
            loss = torch_loss(peft_model, {name: array[task, step] for name, array in batches.items()})
            adamw.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(trainable, optimizer.clip_norm)
            adamw.step()
            losses.append(loss.item())
        np.testing.assert_allclose(metrics["loss"][task], losses, rtol=1e-3)
        final = jax.tree.map(partial(jnp.take, indices=task, axis=0), state.train.trainable["lora"])
        for path, leaf, tensor in factors(peft_model, final):
            np.testing.assert_allclose(leaf, tensor.detach().numpy().T, atol=2e-3, err_msg=str(path))
