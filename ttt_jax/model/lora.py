"""Low-rank adapters: a pytree that mirrors the base, one pair of factors per adapted layer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp

from ttt_jax.config import LoraConfig
from ttt_jax.model.config import ModelConfig

Adapter = dict[str, Any]

ATTENTION = ("q", "k", "v", "o")
MLP = ("gate", "up", "down")
TARGETS = (*ATTENTION, *MLP, "head")


def target_shapes(config: ModelConfig) -> dict[str, tuple[int, int]]:
    """Input and output width of every layer that an adapter may sit on."""
    d, f = config.hidden_size, config.intermediate_size
    q, kv = config.num_heads * config.head_dim, config.num_kv_heads * config.head_dim
    return {
        "q": (d, q), "k": (d, kv), "v": (d, kv), "o": (q, d),
        "gate": (d, f), "up": (d, f), "down": (f, d),
        "head": (d, config.vocab_size),
    }  # fmt: skip


def init_adapter(key: jax.Array, config: ModelConfig, lora: LoraConfig) -> Adapter:
    """A fresh adapter that changes nothing: `a` normal with variance 1 / in, `b` zero.

    Returns:
      {"layers_0": {"attn": {"q": {"a": f32[in, rank], "b": f32[rank, out]}}}, ...},
      the tree of the base with factors in place of kernels. Stack several
      with a leading task axis (`jax.vmap` over keys) to adapt them together.

    Raises:
      ValueError: for a target that the model does not have.
    """
    unknown = sorted(set(lora.targets) - set(TARGETS))
    if unknown or not lora.targets:
        raise ValueError(f"adapt.lora.targets: {unknown or 'empty'}; choose from {', '.join(TARGETS)}")
    shapes = target_shapes(config)

    def first_factors(target: str, layers: jax.Array) -> jax.Array:
        """`a` of all layers, in a loop: else the compiler writes every layer a kernel that draws it, for minutes."""
        fan_in, _ = shapes[target]

        def draw(index: jax.Array) -> jax.Array:
            a_key = jax.random.fold_in(jax.random.fold_in(key, index), TARGETS.index(target))
            return jax.random.normal(a_key, (fan_in, lora.rank), jnp.float32) * fan_in**-0.5

        return jax.lax.map(draw, layers)

    count = config.num_layers
    drawn = {
        target: first_factors(target, jnp.arange(count, count + 1) if target == "head" else jnp.arange(count))
        for target in lora.targets
    }

    def factors(index: int, target: str) -> Adapter:
        return {"a": drawn[target][index], "b": jnp.zeros((lora.rank, shapes[target][1]), jnp.float32)}

    adapter: Adapter = {}
    for i in range(config.num_layers):
        parts = {
            part: {t: factors(i, t) for t in names if t in lora.targets}
            for part, names in (("attn", ATTENTION), ("mlp", MLP))
        }
        layer = {part: tree for part, tree in parts.items() if tree}
        if layer:
            adapter[f"layers_{i}"] = layer
    if "head" in lora.targets:
        adapter["head"] = factors(0, "head")
    return adapter


def merge_adapter(params: Any, adapter: Adapter, scale: float) -> Any:
    """The base with an adapter folded into its kernels: `kernel + scale * a @ b` (float32 sums).

    A kernel that was quantised becomes a float32 array.

    Raises:
      ValueError: the adapter is on a tied head, which has no kernel of its own; `untie` gives it one.
    """
    if "head" in adapter and "head" not in params:
        raise ValueError("the adapter is on the head, which is tied to the embedding: untie the model first")

    def merge(base: Any, lora: Any) -> Any:
        if "a" in lora and not isinstance(lora["a"], dict):
            kernel = base["kernel"]
            delta = scale * (lora["a"].astype(jnp.float32) @ lora["b"].astype(jnp.float32))
            return {**base, "kernel": (kernel.astype(jnp.float32) + delta).astype(kernel.dtype)}
        return {**base, **{name: merge(base[name], sub) for name, sub in lora.items()}}

    return merge(params, adapter)


def untie(config: ModelConfig, params: Any) -> tuple[ModelConfig, Any]:
    """The same model with a head of its own, equal to the embedding."""
    if not config.tie_embeddings:
        return config, params
    return replace(config, tie_embeddings=False), {**params, "head": {"kernel": params["embed"]["embedding"].T}}
