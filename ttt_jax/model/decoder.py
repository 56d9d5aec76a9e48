"""The decoder: pure functions of parameters, an adapter and a cache.

Shapes in names: B batch, L length, D hidden size, F intermediate size, H query
heads, K key-value heads, E head_dim, V vocabulary, S cache slots. Under vmap
over tasks the base is unmapped, so every base matmul stays one matmul over
tasks x batch x length; only adapter and attention products are batched.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ttt_jax.config import Remat
from ttt_jax.model.attention import Kernels, causal_attention, reading_attention
from ttt_jax.model.cache import Cache, Reading
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.dropout import INPUT
from ttt_jax.model.head import token_logprobs
from ttt_jax.model.linear import keep_products, project
from ttt_jax.model.quantize import QuantisedKernel
from ttt_jax.model.rope import RopeTable, norm_and_rotate, rope_table, rotate
from ttt_jax.runtime.mesh import rows

# Below this vocabulary a one-hot matmul looks tokens up: its gradient is a
# matmul too, where a gather's is a scatter-add onto a few contended rows.
ONE_HOT_VOCABULARY = 256


class Linear(nn.Module):
    """A linear layer whose adapter, if any, lies in collection `lora`, and what drops its inputs in `dropout`."""

    in_features: int
    features: int
    lora_scale: float
    dtype: Any
    init_scale: float = 1.0
    use_bias: bool = False

    def setup(self) -> None:
        init = nn.initializers.normal(self.init_scale * self.in_features**-0.5)
        stored = self.get_variable("params", "kernel")
        if isinstance(stored, QuantisedKernel):
            self.kernel = stored
        else:
            self.kernel = self.param("kernel", init, (self.in_features, self.features), jnp.float32)
        if self.use_bias:
            self.bias = self.param("bias", nn.initializers.zeros_init(), (self.features,), jnp.float32)

    def weights(self) -> dict[str, Any]:
        tree: dict[str, Any] = {"kernel": self.kernel}
        if self.use_bias:
            tree |= {"bias": self.bias}
        if self.has_variable("lora", "a"):
            tree |= {"a": self.get_variable("lora", "a"), "b": self.get_variable("lora", "b")}
        if self.has_variable("dropout", INPUT):
            tree |= {"dropout": self.get_variable("dropout", INPUT)}
        return tree

    def __call__(self, x: jax.Array) -> jax.Array:
        return project(x, self.weights(), self.lora_scale, self.dtype)


class RMSNorm(nn.Module):
    """Root-mean-square normalisation, computed in float32 (arXiv 1910.07467), of heads with the rotation after it."""

    eps: float

    @nn.compact
    def __call__(self, x: jax.Array, rope: RopeTable | None = None) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones_init(), (x.shape[-1],), jnp.float32)
        if rope is not None:
            return norm_and_rotate(x, scale, rope, self.eps)
        x_f32 = x.astype(jnp.float32)
        normed = x_f32 * jax.lax.rsqrt(jnp.mean(x_f32 * x_f32, axis=-1, keepdims=True) + self.eps)
        return (normed * scale.astype(jnp.float32).reshape((1,) * (x.ndim - 1) + (-1,))).astype(x.dtype)


class Attention(nn.Module):
    config: ModelConfig
    lora_scale: float
    dtype: Any
    window: int | None = None
    batch_axes: tuple[str, ...] = ()
    kernels: Kernels = "auto"

    def setup(self) -> None:
        c = self.config
        linear: dict[str, Any] = dict(lora_scale=self.lora_scale, dtype=self.dtype)
        d, heads, kv_heads = c.hidden_size, c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
        self.q = Linear(d, heads, use_bias="q" in c.biases, **linear)
        self.k = Linear(d, kv_heads, use_bias="k" in c.biases, **linear)
        self.v = Linear(d, kv_heads, use_bias="v" in c.biases, **linear)
        self.o = Linear(heads, d, use_bias="o" in c.biases, init_scale=c.residual_scale, **linear)
        if c.qk_norm:
            self.q_norm, self.k_norm = RMSNorm(c.norm_eps), RMSNorm(c.norm_eps)

    def __call__(self, x_BxLxD, rope, segments, layer_cache, reading: Reading | None, prefix=None):
        c = self.config
        B, L, _ = x_BxLxD.shape
        q_BxLxHxE = self.q(x_BxLxD).reshape(B, L, c.num_heads, c.head_dim)
        k_BxLxKxE = self.k(x_BxLxD).reshape(B, L, c.num_kv_heads, c.head_dim)
        v_BxLxKxE = self.v(x_BxLxD).reshape(B, L, c.num_kv_heads, c.head_dim)
        if c.qk_norm:
            q_BxLxHxE, k_BxLxKxE = self.q_norm(q_BxLxHxE, rope), self.k_norm(k_BxLxKxE, rope)
        else:
            q_BxLxHxE, k_BxLxKxE = rotate(q_BxLxHxE, rope), rotate(k_BxLxKxE, rope)

        if reading is None:
            out = causal_attention(
                q_BxLxHxE, k_BxLxKxE, v_BxLxKxE, segments, self.window, self.batch_axes, self.kernels
            )
        else:
            start = (0, 0, reading.start, 0)
            keys, values = (
                jax.lax.dynamic_update_slice(old, new.swapaxes(1, 2).astype(old.dtype), start)
                for old, new in zip(layer_cache, (k_BxLxKxE, v_BxLxKxE), strict=True)
            )
            layer_cache = (keys, values)
            if reading.mask is None:
                out = causal_attention(q_BxLxHxE, k_BxLxKxE, v_BxLxKxE, window=self.window, kernels=self.kernels)
            else:
                out = reading_attention(q_BxLxHxE, keys, values, reading, prefix, self.kernels)
        return self.o(out.reshape(B, L, c.num_heads * c.head_dim)), layer_cache


class MLP(nn.Module):
    config: ModelConfig
    lora_scale: float
    dtype: Any

    def setup(self) -> None:
        c = self.config
        linear: dict[str, Any] = dict(lora_scale=self.lora_scale, dtype=self.dtype)
        d, f = c.hidden_size, c.intermediate_size
        self.gate = Linear(d, f, use_bias="gate" in c.biases, **linear)
        self.up = Linear(d, f, use_bias="up" in c.biases, **linear)
        self.down = Linear(f, d, use_bias="down" in c.biases, init_scale=c.residual_scale, **linear)

    def __call__(self, x_BxLxD):
        return self.down(nn.silu(self.gate(x_BxLxD)) * self.up(x_BxLxD))


class Layer(nn.Module):
    config: ModelConfig
    lora_scale: float
    dtype: Any
    window: int | None = None
    batch_axes: tuple[str, ...] = ()
    kernels: Kernels = "auto"

    def setup(self) -> None:
        self.input_norm = RMSNorm(self.config.norm_eps)
        self.attn = Attention(
            self.config, self.lora_scale, self.dtype, window=self.window, batch_axes=self.batch_axes,
            kernels=self.kernels,
        )  # fmt: skip
        self.mlp_norm = RMSNorm(self.config.norm_eps)
        self.mlp = MLP(self.config, self.lora_scale, self.dtype)

    def __call__(self, x_BxLxD, rope, segments, layer_cache, reading, prefix=None):
        mixed, layer_cache = self.attn(self.input_norm(x_BxLxD), rope, segments, layer_cache, reading, prefix)
        x_BxLxD = x_BxLxD + mixed
        return x_BxLxD + self.mlp(self.mlp_norm(x_BxLxD)), layer_cache


@partial(jax.jit, static_argnames=("layer", "remat"))
def apply_layer(layer: Layer, remat: Remat, variables: Any, *args: Any) -> Any:
    """A layer on its own part of the variables.

    As a jitted function it is traced, differentiated, batched and lowered once
    for all layers of one shape, and the compiler puts it in each one's place:
    tracing is what starting a run of many programs would mostly wait for.
    """
    apply = layer.apply
    if remat != "nothing":
        apply = jax.checkpoint(apply, policy=keep_products if remat == "products" else None)
    return apply(variables, *args)


class Decoder(nn.Module):
    """A causal language model.

    Attributes:
      config: its shape.
      lora_scale: factor of the adapter's product (`LoraConfig.scale`).
      dtype: compute type; parameters are cast at use, norms and softmax are float32.
      remat: what the backward pass computes again instead of keeping it: nothing, what lies
        between products and attention ("products"), or each layer from its input ("full").
      batch_axes: mesh axes that the rows of a batch are split over where the model is not mapped over tasks.
      kernels: of attention, see `attention.Kernels`.

    Apply it with `{"params": base}` or `{"params": base, "lora": adapter}`, and to train an adapter with dropout
    `dropout` beside these (model/dropout.py).
    """

    config: ModelConfig
    lora_scale: float = 1.0
    dtype: Any = jnp.float32
    remat: Remat = "nothing"
    batch_axes: tuple[str, ...] = ()
    kernels: Kernels = "auto"

    def setup(self) -> None:
        c = self.config
        self.embed = nn.Embed(c.vocab_size, c.hidden_size, embedding_init=nn.initializers.normal(0.02))
        self.layers = [self._layer(i) for i in range(c.num_layers)]
        self.final_norm = RMSNorm(c.norm_eps)
        if not c.tie_embeddings:
            self.head = Linear(c.hidden_size, c.vocab_size, self.lora_scale, self.dtype)

    def _layer(self, i: int, **options: Any) -> Layer:
        window = self.config.window(i)
        options |= dict(window=window, batch_axes=self.batch_axes, kernels=self.kernels)
        return Layer(self.config, self.lora_scale, self.dtype, **options)

    def _run_layer(self, i: int, *args: Any) -> Any:
        if self.is_initializing():
            return self.layers[i](*args)
        own = {name: tree[f"layers_{i}"] for name, tree in self.variables.items() if f"layers_{i}" in tree}
        # Without parent and name, layers of one shape are equal: `apply_layer` knows them by that.
        return apply_layer(self._layer(i, parent=None), self.remat, own, *args)

    def hidden(
        self,
        tokens: Int[Array, "batch length"],
        positions: Int[Array, "batch length axes"] | None = None,
        segments: Int[Array, "batch length"] | None = None,
        cache: Cache | None = None,
    ) -> tuple[Float[Array, "batch length hidden"], Cache | None]:
        """The last hidden states, after the final norm, and the cache with these tokens added.

        Args:
          tokens: token ids.
          positions: one column per rope axis; None counts 0, 1, ... on every axis.
          segments: packed sequences: positions attend within equal ids only. Not with a cache.
          cache: keys and values of what precedes; tokens are written at `cache.length`.
        """
        c = self.config
        B, L = tokens.shape
        if positions is None:
            positions = jnp.broadcast_to(jnp.arange(L)[None, :, None], (B, L, c.rope.axes))
        if positions.shape[-1] != c.rope.axes:
            raise ValueError(f"positions have {positions.shape[-1]} axes, the model's rope has {c.rope.axes}")
        rope = rope_table(c, positions)

        if c.vocab_size <= ONE_HOT_VOCABULARY:
            one_hot = jax.nn.one_hot(tokens, c.vocab_size, dtype=self.dtype)
            x_BxLxD = one_hot @ self.embed.embedding.astype(self.dtype)
        else:
            x_BxLxD = self.embed(tokens).astype(self.dtype)

        x_BxLxD = rows(x_BxLxD, self.batch_axes)
        if cache is not None:
            slot = jnp.arange(cache.slots)
            new = (slot >= cache.length) & (slot < cache.length + L)
            cache = replace(cache, valid=cache.valid | new[None])
        readings = {window: cache and cache.reading(L, window) for window in {c.window(i) for i in range(c.num_layers)}}
        shared = cache and cache.prefix
        layer_caches = []
        # Unrolled on purpose: a scan over layers copies the whole cache for every decoded token.
        for i in range(c.num_layers):
            layer_cache = None if cache is None else (cache.keys[i], cache.values[i])
            prefix = None if shared is None else (shared.keys[i], shared.values[i])
            x_BxLxD, layer_cache = self._run_layer(
                i, x_BxLxD, rope, segments, layer_cache, readings[c.window(i)], prefix
            )
            layer_caches.append(layer_cache)
        if cache is not None:
            keys, values = zip(*layer_caches, strict=True)
            cache = replace(cache, keys=keys, values=values, length=jnp.asarray(cache.length + L, jnp.int32))
        return self.final_norm(x_BxLxD), cache

    def _head_weights(self) -> dict[str, Any]:
        if not self.config.tie_embeddings:
            return self.head.weights()
        weights = {"kernel": self.embed.embedding.T}
        if self.has_variable("lora", "head"):
            weights |= self.get_variable("lora", "head")
        return weights

    def logits(self, hidden: Float[Array, "batch length hidden"]) -> Float[Array, "batch length vocab"]:
        """Float32 logits of every position. For a training batch use `token_logprobs`."""
        return project(hidden, self._head_weights(), self.lora_scale, self.dtype, jnp.float32)

    def token_logprobs(
        self, hidden: Float[Array, "batch length hidden"], targets: Int[Array, "batch length"]
    ) -> Float[Array, "batch length"]:
        """log p(targets[b, i]) as predicted at hidden[b, i], in nats.

        Only the log-probability of the target leaves it, not the logits: see `head.token_logprobs`.
        """
        logprobs = token_logprobs(
            lambda weights, h, out_dtype: project(h, weights, self.lora_scale, self.dtype, out_dtype),
            self._head_weights(),
            hidden.reshape(-1, hidden.shape[-1]),
            targets.reshape(-1),
            self.config.vocab_size,
        )
        return logprobs.reshape(targets.shape)

    def __call__(
        self,
        tokens: Int[Array, "batch length"],
        positions: Int[Array, "batch length axes"] | None = None,
        segments: Int[Array, "batch length"] | None = None,
    ) -> Float[Array, "batch length vocab"]:
        """Float32 logits of every position."""
        return self.logits(self.hidden(tokens, positions, segments)[0])
