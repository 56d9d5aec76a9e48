"""Adapters in the layout of the PEFT library: adapter_config.json and adapter_model.safetensors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ttt_jax.config import LoraConfig
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.errors import ModelError
from ttt_jax.model.lora import ATTENTION, MLP, TARGETS, Adapter, target_shapes
from ttt_jax.model.tree import flatten, unflatten

SETTINGS, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_MODULES = {target: f"{target}_proj" for target in (*ATTENTION, *MLP)} | {"head": "lm_head"}
_NAME = re.compile(
    r"base_model\.model\.(?:model\.layers\.(\d+)\.(?:self_attn|mlp)\.(\w+)|(lm_head))\.lora_([AB])\.weight"
)
# PEFT adds the base's own embedding and head where an adapter is on one of them.
_COPIES = [
    f"base_model.model.{module}.weight"
    for module in ("lm_head", "lm_head.base_layer", "model.embed_tokens", "model.embed_tokens.base_layer")
]
# Settings that change what an adapter computes, and the values of plain LoRA.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none", None),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "rank_pattern": ({}, None),
    "alpha_pattern": ({}, None),
    "modules_to_save": (None, []),
    "layer_replication": (None,),
    "lora_bias": (False, None),
}


def save_adapter(path: str | Path, adapter: Adapter, lora: LoraConfig, base: str | None = None) -> None:
    """Writes one adapter (no task axis) so that `peft.PeftModel.from_pretrained` reads it.

    Args:
      path: a directory, made where it is missing.
      adapter: as `init_adapter` makes it.
      lora: its rank, alpha, rsLoRA and the dropout that it was trained with.
      base: name or path of the base model, kept for the reader.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    tensors, targets = {}, set()
    for name, factor in flatten(adapter).items():
        *place, letter = name.split(".")
        targets.add(place[-1])
        if place == ["head"]:
            module = "lm_head"
        else:
            layer, block, target = place
            block = {"attn": "self_attn", "mlp": "mlp"}[block]
            module = f"model.layers.{layer.removeprefix('layers_')}.{block}.{_MODULES[target]}"
        array = np.asarray(factor)
        if array.ndim != 2 or array.shape[letter == "a"] != lora.rank:
            raise ModelError(f"adapter: {name} has shape {array.shape}, not of one task at rank {lora.rank}")
        tensors[f"base_model.model.{module}.lora_{letter.upper()}.weight"] = np.ascontiguousarray(array.T)
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "use_rslora": lora.rslora,
        "lora_dropout": lora.dropout,
        "bias": "none",
        "target_modules": [_MODULES[target] for target in TARGETS if target in targets],
    }
    save_file(tensors, path / WEIGHTS, metadata={"format": "pt"})
    (path / SETTINGS).write_text(json.dumps(settings, indent=2) + "\n")


def load_adapter(path: str | Path, config: ModelConfig) -> tuple[Adapter, LoraConfig]:
    """Reads an adapter that PEFT wrote for a model of this shape.

    Returns:
      the adapter, float32, on the layers that the file has it on, and its
      settings: compute with `Decoder(config, lora_scale=lora.scale)`.

    Raises:
      ModelError: it is more than plain LoRA, or does not fit the model; names the setting or the tensor.
    """
    path = Path(path)
    try:
        settings = json.loads((path / SETTINGS).read_text(encoding="utf-8"))
        rank, alpha = int(settings["r"]), float(settings["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path / SETTINGS}: cannot be read: {type(error).__name__}: {error}") from error
    for name, allowed in _PLAIN.items():
        if name in settings and settings[name] not in allowed:
            raise ModelError(f"{path / SETTINGS}: {name} {settings[name]!r} is not supported, only {allowed[0]!r}")
    try:
        tensors = load_file(path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path / WEIGHTS}: cannot be read: {error}") from error

    ours, shapes = {module: target for target, module in _MODULES.items()}, target_shapes(config)
    flat: dict[str, Any] = {}
    for name, tensor in tensors.items():
        if name in _COPIES and tensor.shape == (config.vocab_size, config.hidden_size):
            continue
        match = _NAME.fullmatch(name)
        target = ours.get(match[2] or match[3]) if match else None
        if match is None or target is None or (match[1] and int(match[1]) >= config.num_layers):
            raise ModelError(f"{path / WEIGHTS}: unexpected {name}: no such layer to adapt")
        fan_in, fan_out = shapes[target]
        expected = (rank, fan_in) if match[4] == "A" else (fan_out, rank)
        if tensor.shape != expected:
            raise ModelError(f"{path / WEIGHTS}: {name} has shape {tensor.shape}, expected {expected}")
        block = "attn" if target in ATTENTION else "mlp"
        place = "head" if target == "head" else f"layers_{match[1]}.{block}.{target}"
        flat[f"{place}.{match[4].lower()}"] = jnp.asarray(tensor.T, jnp.float32)
    if halves := [name for name in flat if f"{name[:-1]}{'ab'[name[-1] == 'a']}" not in flat]:
        raise ModelError(f"{path / WEIGHTS}: {', '.join(halves[:4])} without the other factor")
    if not flat:
        raise ModelError(f"{path / WEIGHTS}: no factors of an adapter")
    targets = tuple(target for target in TARGETS if any(name.split(".")[-2] == target for name in flat))
    dropout = float(settings.get("lora_dropout") or 0.0)
    return unflatten(flat), LoraConfig(rank, alpha, bool(settings.get("use_rslora")), targets, dropout)
