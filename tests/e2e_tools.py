"""Whole runs of scripts/ttt.py in tests: tasks as files, a small config, and what a run left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from ttt_jax.config import (
    AdaptConfig,
    DecodeConfig,
    ExamplesConfig,
    LoraConfig,
    OptimizerConfig,
    RunConfig,
    TasksConfig,
)
from ttt_jax.model.config import ModelConfig, RopeConfig
from ttt_jax.model.decoder import Decoder
from ttt_jax.model.io import save_model
from ttt_jax.tasks.task import keyed_rng

ROOT = Path(__file__).resolve().parent.parent
Pair = tuple[np.ndarray, np.ndarray]

SIDE, COLOURS, MOVED = 3, 8, 3


def recolouring(rng: np.random.Generator, count: int) -> list[Pair]:
    """Pairs of one task of the family: three of eight colours go round in a circle, the others stay."""
    colours = np.arange(10, dtype=np.int8)
    moved = rng.choice(COLOURS, MOVED, replace=False)
    colours[moved] = np.roll(moved, 1)
    inputs = rng.integers(0, COLOURS, (count, SIDE, SIDE)).astype(np.int8)
    return [(x, colours[x]) for x in inputs]


def task_json(pairs: Sequence[Pair], queries: int = 1) -> dict[str, Any]:
    """A task in the public format; the last pairs are its queries, answers included."""
    written = [{"input": x.tolist(), "output": y.tolist()} for x, y in pairs]
    return {"train": written[:-queries], "test": written[-queries:]}


def write_tasks(folder: Path, ids: Iterable[str], demos: int = 4) -> Path:
    """A file for each id; a task depends on its id alone."""
    folder.mkdir(parents=True, exist_ok=True)
    for id_ in ids:
        content = task_json(recolouring(keyed_rng("held out", id_), demos + 1))
        (folder / f"{id_}.json").write_text(json.dumps(content))
    return folder


def write_model(folder: Path) -> Path:
    """A model of one layer and random weights."""
    config = ModelConfig(16, 32, 48, 1, 2, 2, 12, RopeConfig((1e4, 1e2, 1e2), (2, 2, 2)))
    params = Decoder(config).init(jax.random.key(3), jnp.zeros((1, 2), jnp.int32))["params"]
    save_model(folder, config, params)
    return folder


def small_run(folder: Path, model: Path, tasks: Path, **changes: Any) -> RunConfig:
    """A run of seconds: two tasks a group, a few steps, two views, short answers, sampled so that many parse."""
    config = RunConfig(
        run_dir=str(folder),
        model=str(model),
        lengths=(128, 192),
        save_adapters=True,
        tasks=TasksConfig(path=str(tasks)),
        adapt=AdaptConfig(
            steps=8,
            batch_size=2,
            chunk=4,
            slots=2,
            lora=LoraConfig(rank=4, alpha=4.0),
            optimizer=OptimizerConfig(learning_rate=1e-2),
            examples=ExamplesConfig(transforms=("symmetries", "order")),
        ),
        decode=DecodeConfig(
            views=3,
            transforms=("symmetries", "order"),
            samples=2,
            temperature=1.0,
            slots=2,
            chunk=16,
            max_new_tokens=16,
        ),
    )
    return with_options(config, **changes)


def with_options(config: Any, **changes: Any) -> Any:
    """A config with some options changed, inner ones by names such as `adapt__steps`."""
    for name, value in changes.items():
        outer, _, inner = name.partition("__")
        config = replace(config, **{outer: with_options(getattr(config, outer), **{inner: value}) if inner else value})
    return config


def command(*options: str | Path) -> list[str]:
    return [sys.executable, str(ROOT / "scripts" / "ttt.py"), *map(str, options)]


def environment(compiled: Path | None = None) -> dict[str, str]:
    """Of a process on the CPU; programs that another process compiled are found in `compiled`."""
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    if compiled is not None:
        env |= {
            "JAX_COMPILATION_CACHE_DIR": str(compiled),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
            "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        }
    return env


def ttt(*options: str | Path, compiled: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs the script to its end."""
    return subprocess.run(command(*options), env=environment(compiled), capture_output=True, text=True, timeout=300)


def read_json(path: Path) -> Any:
    return json.loads(path.read_text())


def journal(run_dir: Path) -> dict[str, dict[str, Any]]:
    """Task id -> its line."""
    lines = map(json.loads, (run_dir / "journal.jsonl").read_text().splitlines())
    return {line["task"]: line for line in lines}


def adapters(run_dir: Path) -> dict[str, dict[str, np.ndarray]]:
    """Task id -> its adapter."""
    return {file.stem: load_file(file) for file in sorted((run_dir / "adapters").glob("*.safetensors"))}


def results(run_dir: str | Path) -> dict[str, Any]:
    """All that a run found, and nothing of how long it took."""
    run_dir = Path(run_dir)
    metrics = read_json(run_dir / "metrics.json")
    for name in ("seconds", "seconds_by_arm", "compilations", "padding", "idle", "command"):
        metrics.pop(name, None)
    lines = journal(run_dir)
    for line in lines.values():
        for arm in line["arms"].values():
            del arm["seconds"]
    folders = {name: sorted((run_dir / name).iterdir()) for name in ("candidates", "curves", "adapters")}
    return {
        "metrics": metrics,
        "submission": read_json(run_dir / "submission.json"),
        "tasks": read_json(run_dir / "tasks.json"),
        "journal": lines,
        **{f"{folder}/{file.name}": file.read_bytes() for folder, files in folders.items() for file in files},
    }
