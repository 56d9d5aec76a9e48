"""Models on disk: a directory with config.json and model.safetensors."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.flax import load_file, save_file

from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
WEIGHTS, CONFIG = "model.safetensors", "config.json"


class ModelError(ValueError):
    """A model directory that cannot be loaded; says which file, which entry and why."""


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts to one dict with dotted names."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def unflatten(flat: dict[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`."""
    tree: dict[str, Any] = {}
    for name, value in flat.items():
        *parents, leaf = name.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = value
    return tree


def abstract_params(config: ModelConfig) -> Any:
    """Shapes and dtypes of the base parameters, nothing allocated."""
    tokens = jnp.zeros((1, 2), jnp.int32)
    return jax.eval_shape(lambda: Decoder(config).init(jax.random.key(0), tokens))["params"]


def save_model(path: str | Path, config: ModelConfig, params: Any, tokenizer: str = "arc", dtype: Any = jnp.bfloat16):
    """Writes config.json and model.safetensors; the weights file is replaced atomically."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    tensors = {name: jnp.asarray(value, dtype) for name, value in flatten(params).items()}
    record = {"format": "ttt_jax/1", "tokenizer": tokenizer, "model": dataclasses.asdict(config)}
    (path / CONFIG).write_text(json.dumps(record, indent=2) + "\n")
    partial = path / (WEIGHTS + ".partial")
    save_file(tensors, partial)
    partial.replace(path / WEIGHTS)


def resolve(name_or_path: str | Path) -> Path:
    """The directory of a shipped model's name, or the given directory.

    Raises:
      ModelError: where neither exists, listing the shipped names.
    """
    for path in (Path(name_or_path), PRETRAINED / str(name_or_path)):
        if (path / CONFIG).is_file():
            return path
    shipped = sorted(p.parent.name for p in PRETRAINED.glob(f"*/{CONFIG}"))
    raise ModelError(
        f"model {str(name_or_path)!r} is neither a directory with {CONFIG} nor a shipped model ({', '.join(shipped)})"
    )


def load_config(path: str | Path) -> tuple[ModelConfig, str]:
    """The shape of a saved model and the name of its tokenizer."""
    file = Path(path) / CONFIG
    try:
        record = json.loads(file.read_text())
        fields = dict(record["model"])
        rope = {k: tuple(v) if isinstance(v, list) else v for k, v in fields.pop("rope").items()}
        return ModelConfig(rope=RopeConfig(**rope), **fields), record["tokenizer"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{file}: not a ttt_jax model config: {type(error).__name__}: {error}") from error


def load_params(path: str | Path, config: ModelConfig, dtype: Any) -> Any:
    """The weights in `dtype`, checked name by name against the config."""
    file = Path(path) / WEIGHTS
    expected = flatten(abstract_params(config))
    try:
        tensors = load_file(file)
    except Exception as error:  # safetensors raises its own type, OSError or ValueError by version
        raise ModelError(f"{file}: cannot be read: {error}") from error
    problems = [f"missing {name}" for name in sorted(expected.keys() - tensors.keys())]
    problems += [f"unexpected {name}" for name in sorted(tensors.keys() - expected.keys())]
    problems += [
        f"{name} has shape {tensors[name].shape}, the config asks for {expected[name].shape}"
        for name in sorted(expected.keys() & tensors.keys())
        if tensors[name].shape != expected[name].shape
    ]
    if problems:
        raise ModelError(f"{file}: {'; '.join(problems[:8])}{' ...' if len(problems) > 8 else ''}")
    return unflatten({name: jnp.asarray(value, dtype) for name, value in tensors.items()})


def load_model(name_or_path: str | Path, dtype: Any = jnp.float32) -> tuple[Decoder, Any, Any]:
    """A model, its parameters and its tokenizer.

    Args:
      name_or_path: a shipped name such as `arc-small`, or a directory with
        config.json and model.safetensors.
      dtype: of the parameters and of computing with them.

    Returns:
      `(model, params, tokenizer)`: `model.apply({"params": params}, tokens)`
      gives float32 logits; the tokenizer of a grid model is its domain
      (`encode`, `parse`).

    Raises:
      ModelError: says what is missing, unexpected or misshapen.
    """
    from ttt_jax.tasks.registry import get_domain

    path = resolve(name_or_path)
    config, tokenizer = load_config(path)
    return Decoder(config, dtype=dtype), load_params(path, config, dtype), get_domain(tokenizer)


def parameter_count(params: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params))
