"""Checkpoints of the Llama family as Hugging Face writes them: config.json and tensor names, read into ours.

Nothing here imports transformers or torch. Llama 2 / 3 / 3.1 / 3.2, SmolLM2,
Mistral, Qwen2 / 2.5 and Qwen3 are one decoder under different configs. What a
config asks for and the decoder does not compute (experts, other activations,
YaRN) is refused by name; a checkpoint loads only if every tensor is there, none
is left over and every shape is the expected one. Gemma 3 is refused: the
decoder would need a case of its own for each of its GELU, the norms after
attention and MLP, norm weights that count from 1, the scaled embedding and a
rope of two bases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ttt_jax.model.checkpoint_stream import TensorSource, check_tensors
from ttt_jax.model.config import ModelConfig, RopeConfig, RopeScaling
from ttt_jax.model.tree import unflatten

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")

# Fields that must hold one of these values where a config states them.
_REQUIRED = {
    "hidden_act": ("silu", "swish"),
    "partial_rotary_factor": (1.0, None),
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

    Both spellings of rope settings are read: `rope_theta` and `rope_scaling`
    beside the other fields (transformers 4) and `rope_parameters:
    {"rope_type", "rope_theta", ...}` (transformers 5).

    Raises:
      ValueError: names the field that is missing, or that asks for something
        the decoder does not compute.
    """
    family = hf.get("model_type")
    if family not in FAMILIES:
        raise ValueError(f"config.json: model_type {family!r} is not one of {', '.join(FAMILIES)}")
    needed = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
    if missing := [name for name in needed if name not in hf]:
        raise ValueError(f"config.json: no {', '.join(missing)}")
    for name, allowed in _REQUIRED.items():
        if name in hf and hf[name] not in allowed:
            raise ValueError(f"config.json: {name} {hf[name]!r} is not supported, only {allowed[0]!r}")

    heads, layers = hf["num_attention_heads"], hf["num_hidden_layers"]
    window, windowed = _sliding_window(hf, family, layers)
    return ModelConfig(
        vocab_size=hf["vocab_size"],
        hidden_size=hf["hidden_size"],
        intermediate_size=hf["intermediate_size"],
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=hf.get("num_key_value_heads") or heads,
        head_dim=hf.get("head_dim") or hf["hidden_size"] // heads,
        rope=_rope(hf),
        norm_eps=hf.get("rms_norm_eps", 1e-6),
        qk_norm=family == "qwen3",
        tie_embeddings=hf.get("tie_word_embeddings", False),
        biases=_biases(hf, family),
        sliding_window=window,
        windowed_layers=windowed,
    )


def _biases(hf: Mapping[str, Any], family: str) -> tuple[str, ...]:
    """Qwen2 always has biases on q, k and v; the others on all of attention, or of the MLP, where a field says so."""
    if family == "qwen2":
        return ("q", "k", "v")
    attention = ("q", "k", "v", "o") if family != "mistral" and hf.get("attention_bias") else ()
    return (*attention, *(("gate", "up", "down") if family == "llama" and hf.get("mlp_bias") else ()))


def _sliding_window(hf: Mapping[str, Any], family: str, layers: int) -> tuple[int | None, tuple[int, ...] | None]:
    """The window and the layers that have it (None: all)."""
    kinds = hf.get("layer_types")
    if kinds is not None and (len(kinds) != layers or set(kinds) - {"full_attention", "sliding_attention"}):
        raise ValueError(f"config.json: layer_types {kinds!r} are not {layers} of full_attention, sliding_attention")
    window = hf.get("sliding_window", 4096 if family == "mistral" else None)
    if not hf.get("use_sliding_window", family in ("llama", "mistral")):
        window = None
    if window is not None and family == "llama":
        raise ValueError(f"config.json: sliding_window {window!r} is not supported for model_type 'llama'")
    if kinds is not None:
        windowed = tuple(i for i, kind in enumerate(kinds) if kind == "sliding_attention")
    elif family == "mistral":
        windowed = tuple(range(layers))
    else:
        windowed = tuple(range(hf.get("max_window_layers", layers), layers))
    if windowed and window is None and kinds is not None:
        raise ValueError("config.json: layer_types has sliding_attention, but no sliding_window is in use")
    if window is None or not windowed:
        return None, None
    return window, None if len(windowed) == layers else windowed


def _rope(hf: Mapping[str, Any]) -> RopeConfig:
    """Base and scaling, in either spelling."""
    if hf.get("rope_parameters") and hf.get("rope_scaling"):
        raise ValueError("config.json: has both rope_parameters and rope_scaling; keep one")
    field = "rope_parameters" if hf.get("rope_parameters") else "rope_scaling"
    rope: Mapping[str, Any] = hf.get(field) or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if field == "rope_parameters" and "rope_theta" not in rope:
        raise ValueError(f"config.json: rope_parameters {dict(rope)!r} has no rope_theta")
    theta = float(rope.get("rope_theta") or hf.get("rope_theta") or 10_000.0)
    names = {"default": (), "linear": ("factor",)}
    names["llama3"] = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
    if kind not in names or rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise ValueError(f"config.json: {field} {dict(rope)!r} is not supported, only rope_type {', '.join(names)}")
    if missing := [name for name in names[kind] if rope.get(name) is None]:
        raise ValueError(f"config.json: {field} {dict(rope)!r} has no {', '.join(missing)}")
    scaling = RopeScaling(*(rope[name] for name in names[kind])) if names[kind] else None
    return RopeConfig(theta=(theta,), scaling=scaling)


def rope_scaling_to_hf(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """The `rope_scaling` field of config.json."""
    if scaling is None:
        return None
    if not scaling.by_wavelength:
        return {"rope_type": "linear", "factor": scaling.factor}
    return {
        "rope_type": "llama3",
        "factor": scaling.factor,
        "low_freq_factor": scaling.low_freq_factor,
        "high_freq_factor": scaling.high_freq_factor,
        "original_max_position_embeddings": scaling.original_length,
    }


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
    tensors = {f"{name}.weight": shape for name, shape in layer.items()}
    tensors |= {
        f"{name}.bias": layer[name][:1] for name, ours in _LAYER.items() if ours[-1] == "kernel" and ours[1] in c.biases
    }
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (c.vocab_size, c.hidden_size)}
    for i in range(c.num_layers):
        shapes |= {f"model.layers.{i}.{name}": shape for name, shape in tensors.items()}
    shapes["model.norm.weight"] = (c.hidden_size,)
    if not c.tie_embeddings:
        shapes["lm_head.weight"] = (c.vocab_size, c.hidden_size)
    return shapes


def our_name(name: str) -> str:
    """`model.layers.3.mlp.up_proj.weight` -> `layers_3.mlp.up.kernel`."""
    if name == "model.embed_tokens.weight":
        return "embed.embedding"
    if name == "model.norm.weight":
        return "final_norm.scale"
    if name == "lm_head.weight":
        return "head.kernel"
    _, _, index, rest = name.split(".", 3)
    module, _, kind = rest.rpartition(".")
    path = _LAYER[module]
    return ".".join((f"layers_{index}", *(path if kind == "weight" else (*path[:-1], "bias"))))


def unused_names(names: Iterable[str], config: ModelConfig) -> set[str]:
    """Tensors that checkpoints carry and nothing reads: the constants of rope, and a copy of a tied head."""
    unused = {name for name in names if name.endswith("rotary_emb.inv_freq")}
    return unused | ({"lm_head.weight"} & set(names) if config.tie_embeddings else set())


def params_from_hf(state_dict: Mapping[str, np.ndarray], config: ModelConfig) -> dict[str, Any]:
    """Base parameters from the tensors of a Hugging Face checkpoint in memory, in numpy.

    A checkpoint on disk is streamed instead: `ttt_jax.model.io.load_model`.

    Args:
      state_dict: tensors by name, `[out, in]` for linear layers, in any float type.
      config: the shape that the tensors must have.

    Returns:
      The tree of `Decoder`'s parameters; kernels are transposed to `[in, out]`,
      types are kept.

    Raises:
      ValueError: lists the tensors that are missing, left over or misshapen.
    """
    expected = tensor_shapes(config)
    tensors = {name: np.asarray(tensor) for name, tensor in state_dict.items()}
    unused = unused_names(tensors, config)
    check_tensors({n: t.shape for n, t in tensors.items() if n not in unused}, expected, "the checkpoint")
    head = tensors["lm_head.weight"] if "lm_head.weight" in unused else None
    if head is not None and not np.array_equal(head, tensors["model.embed_tokens.weight"]):
        raise ValueError("lm_head.weight differs from model.embed_tokens.weight, but tie_word_embeddings is true")
    ours = {our_name(name): tensors[name] for name in expected}
    return unflatten({path: tensor.T if path.endswith(".kernel") else tensor for path, tensor in ours.items()})


def same_tensor(source: TensorSource, a: str, b: str) -> bool:
    """Whether two tensors of a checkpoint are equal, compared a few rows at a time."""
    shape, step = source.shapes[a], 4096
    if shape != source.shapes.get(b):
        return False
    parts = ((slice(row, min(row + step, shape[0])), *map(slice, shape[1:])) for row in range(0, shape[0], step))
    return all(np.array_equal(source.read(a, part), source.read(b, part)) for part in parts)
