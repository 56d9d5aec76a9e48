"""Checkpoints of the Llama family as Hugging Face writes them: config.json and tensor names, read into ours.

Nothing here imports transformers or torch. What a config asks for and the
decoder does not compute (biases, scaled rope, sliding windows, experts) is
refused by name; a checkpoint loads only if every tensor is there, none is left
over and every shape is the expected one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ttt_jax.model.config import ModelConfig, RopeConfig

# The families whose layer is exactly ours; Qwen3 adds a norm over each head of q and k.
QK_NORM = {"llama": False, "qwen3": True}

# Fields that must hold one of these values where a config states them.
_REQUIRED = {
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "hidden_act": ("silu", "swish"),
}

_LAYER = {
    "input_layernorm": ("input_norm", "scale"),
    "post_attention_layernorm": ("mlp_norm", "scale"),
    "self_attn.q_proj": ("attn", "q", "kernel"),
    "self_attn.k_proj": ("attn", "k", "kernel"),
    "self_attn.v_proj": ("attn", "v", "kernel"),
    "self_attn.o_proj": ("attn", "o", "kernel"),
    "self_attn.q_norm": ("attn", "q_norm", "scale"),
    "self_attn.k_norm": ("attn", "k_norm", "scale"),
    "mlp.gate_proj": ("mlp", "gate", "kernel"),
    "mlp.up_proj": ("mlp", "up", "kernel"),
    "mlp.down_proj": ("mlp", "down", "kernel"),
}


def config_from_hf(hf: Mapping[str, Any]) -> ModelConfig:
    """Reads the fields of a Hugging Face config.json.

    Both spellings of rope settings are read: `rope_theta` beside the other
    fields (transformers 4) and `rope_parameters: {"rope_type", "rope_theta"}`
    (transformers 5).

    Raises:
      ValueError: names the field that is missing, or that asks for something
        the decoder does not compute.
    """
    family = hf.get("model_type")
    if family not in QK_NORM:
        raise ValueError(f"config.json: model_type {family!r} is not one of {', '.join(sorted(QK_NORM))}")
    missing = [
        name
        for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
        if name not in hf
    ]
    if missing:
        raise ValueError(f"config.json: no {', '.join(missing)}")

    for name, allowed in _REQUIRED.items():
        if name in hf and hf[name] not in allowed:
            raise ValueError(f"config.json: {name} {hf[name]!r} is not supported, only {allowed[0]!r}")
    # Qwen3 states a window size beside a switch that turns it off.
    if hf.get("sliding_window") is not None and hf.get("use_sliding_window", True):
        raise ValueError(f"config.json: sliding_window {hf['sliding_window']!r} is not supported, only null")
    if any(kind != "full_attention" for kind in hf.get("layer_types") or ()):
        raise ValueError(f"config.json: layer_types {sorted(set(hf['layer_types']))} are not all 'full_attention'")

    heads = hf["num_attention_heads"]
    return ModelConfig(
        vocab_size=hf["vocab_size"],
        hidden_size=hf["hidden_size"],
        intermediate_size=hf["intermediate_size"],
        num_layers=hf["num_hidden_layers"],
        num_heads=heads,
        num_kv_heads=hf.get("num_key_value_heads") or heads,
        head_dim=hf.get("head_dim") or hf["hidden_size"] // heads,
        rope=RopeConfig(theta=(_rope_theta(hf),)),
        norm_eps=hf.get("rms_norm_eps", 1e-6),
        qk_norm=QK_NORM[family],
        tie_embeddings=hf.get("tie_word_embeddings", False),
    )


def _rope_theta(hf: Mapping[str, Any]) -> float:
    """The base of an unscaled rope, in either spelling."""
    for field in ("rope_parameters", "rope_scaling"):
        rope = hf.get(field) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind != "default" or rope.get("partial_rotary_factor", 1.0) != 1.0:
            raise ValueError(f"config.json: {field} {dict(rope)!r} is not supported, only rope_type 'default'")
    rope = hf.get("rope_parameters") or hf
    if "rope_theta" not in rope:
        if rope is hf:
            return 10_000.0
        raise ValueError(f"config.json: rope_parameters {dict(rope)!r} has no rope_theta")
    return float(rope["rope_theta"])


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a checkpoint of this shape holds, as Hugging Face writes them."""
    c = config
    queries, keys = c.num_heads * c.head_dim, c.num_kv_heads * c.head_dim
    layer = {
        "input_layernorm": (c.hidden_size,),
        "self_attn.q_proj": (queries, c.hidden_size),
        "self_attn.k_proj": (keys, c.hidden_size),
        "self_attn.v_proj": (keys, c.hidden_size),
        "self_attn.o_proj": (c.hidden_size, queries),
        "post_attention_layernorm": (c.hidden_size,),
        "mlp.gate_proj": (c.intermediate_size, c.hidden_size),
        "mlp.up_proj": (c.intermediate_size, c.hidden_size),
        "mlp.down_proj": (c.hidden_size, c.intermediate_size),
    }
    if c.qk_norm:
        layer |= {"self_attn.q_norm": (c.head_dim,), "self_attn.k_norm": (c.head_dim,)}
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (c.vocab_size, c.hidden_size)}
    for i in range(c.num_layers):
        shapes |= {f"model.layers.{i}.{name}.weight": shape for name, shape in layer.items()}
    shapes["model.norm.weight"] = (c.hidden_size,)
    if not c.tie_embeddings:
        shapes["lm_head.weight"] = (c.vocab_size, c.hidden_size)
    return shapes


def params_from_hf(state_dict: Mapping[str, np.ndarray], config: ModelConfig) -> dict[str, Any]:
    """Base parameters from the tensors of a Hugging Face checkpoint.

    Args:
      state_dict: tensors by name, `[out, in]` for linear layers, in any float
        type; a mapping that reads lazily is read one tensor at a time.
      config: the shape that the tensors must have.

    Returns:
      The tree of `Decoder`'s parameters; kernels are transposed to `[in, out]`,
      types are kept.

    Raises:
      ValueError: lists the tensors that are missing, left over or misshapen.
    """
    expected = tensor_shapes(config)
    # Two kinds of tensor that old checkpoints carry and nothing reads: rope's constants, and a copy of a tied head.
    names = {name for name in state_dict if not name.endswith("rotary_emb.inv_freq")}
    if config.tie_embeddings and "lm_head.weight" in names:
        embedding = state_dict["model.embed_tokens.weight"] if "model.embed_tokens.weight" in names else None
        if embedding is None or not np.array_equal(state_dict["lm_head.weight"], embedding):
            raise ValueError("lm_head.weight differs from model.embed_tokens.weight, but tie_word_embeddings is true")
        names.remove("lm_head.weight")
    faults = [f"missing {name} {expected[name]}" for name in expected if name not in names]
    faults += [f"unexpected {name}" for name in sorted(names - set(expected))]

    params: dict[str, Any] = {}
    for name in (name for name in expected if name in names):
        tensor = np.asarray(state_dict[name])
        if tensor.shape != expected[name]:
            faults.append(f"{name} has shape {tensor.shape}, expected {expected[name]}")
            continue
        *parents, leaf = _our_path(name)
        node = params
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = tensor.T if leaf == "kernel" else tensor
    if faults:
        shown = "\n  ".join(faults[:20]) + (f"\n  and {len(faults) - 20} more" if len(faults) > 20 else "")
        raise ValueError(f"the checkpoint does not fit its config:\n  {shown}")
    return params


def _our_path(name: str) -> tuple[str, ...]:
    """`model.layers.3.mlp.up_proj.weight` -> ("layers_3", "mlp", "up", "kernel")."""
    if name == "model.embed_tokens.weight":
        return "embed", "embedding"
    if name == "model.norm.weight":
        return "final_norm", "scale"
    if name == "lm_head.weight":
        return "head", "kernel"
    _, _, index, rest = name.removesuffix(".weight").split(".", 3)
    return f"layers_{index}", *_LAYER[rest]
