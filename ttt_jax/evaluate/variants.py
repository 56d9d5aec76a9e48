"""One configuration and others that differ from it in a few options, over the same tasks: what each idea is worth."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ttt_jax.config import RunConfig
from ttt_jax.config_loader import from_dict, to_yaml
from ttt_jax.config_values import Loader
from ttt_jax.evaluate.measurement import selection
from ttt_jax.evaluate.paired import paired_rows
from ttt_jax.evaluate.records import ADAPTED, IN_CONTEXT
from ttt_jax.evaluate.rerank import by_method
from ttt_jax.evaluate.runs import Run, Runs, about, finish_runs, made, seconds_per_task
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.select.rank import SCORED

REFERENCE = "reference"
"""The configuration itself; every other has its paired difference from its adapted arm."""

Changes = Mapping[str, Mapping[str, Any]]
"""Name -> options that differ, nested as in a config file."""


def read_changes(file: Path) -> dict[str, dict[str, Any]]:
    """Variants of a YAML file: name -> options, nested as in a config file; values are text until they meet a type.

    Raises:
      ValueError: no mapping of names to mappings, or a name that is taken.
    """
    found = yaml.load(file.read_text(encoding="utf-8"), Loader)
    if not isinstance(found, dict) or not all(isinstance(options, dict) for options in found.values()):
        raise ValueError(f"{file}: names of variants, each with the options in which it differs, were expected")
    if REFERENCE in found:
        raise ValueError(f"{file}: {REFERENCE!r} is the configuration itself; give the variant another name")
    return found


def varied(config: RunConfig, name: str, options: Mapping[str, Any]) -> RunConfig:
    """The configuration with some options changed, and a run directory beside the reference's.

    Only the adapted arm is run where the options name no arms. `load_adapters: reference` answers with the reference's
    adapters. Raises ConfigError for options that are unknown or of the wrong type.
    """
    merged = _merge(yaml.load(to_yaml(config), Loader), {"arms": [ADAPTED], **options})
    changed = from_dict(RunConfig, merged, f"variant {name!r}")
    if changed.load_adapters == REFERENCE:
        changed = replace(changed, load_adapters=_folder(config, REFERENCE))
    return replace(changed, run_dir=_folder(config, name), save_adapters=False)


def measure_variants(
    config: RunConfig,
    changes: Changes,
    run: Run,
    out: Path,
    only: Sequence[str],
    budget_seconds: float,
    command: str,
    merge: Sequence[Path] = (),
) -> int:
    """Runs the configuration and its variants, and writes one JSON file, brought up to date after each run.

    Args:
      config: the reference, of both arms; all runs lie in folders of its `run_dir`.
      changes: the variants. One with `arms: [in_context]` is compared by that arm, all others adapted.
      run: `ttt_jax.run.run`.
      out: the file to write, or to go on with.
      only: names to make now (all where empty), so that several processes can share them. Without the reference,
        named or made before, the file holds the runs alone, and nothing is compared.
      budget_seconds, command, merge: see `finish_runs`.

    Returns:
      the exit status.

    Raises:
      ValueError: a name is unknown, or options of a variant are wrong.
    """
    if unknown := set(only) - {*changes, REFERENCE}:
        raise ValueError(f"no variant is called {sorted(unknown)[0]!r}; there are {', '.join(changes)}")
    if set(config.arms) != {IN_CONTEXT, ADAPTED}:
        raise ValueError("arms: the reference has both")
    lends = any(options.get("load_adapters") == REFERENCE for options in changes.values())
    configs = {
        REFERENCE: replace(config, run_dir=_folder(config, REFERENCE), save_adapters=lends or config.save_adapters),
        **{name: varied(config, name, options) for name, options in changes.items()},
    }
    folders = [of.run_dir for of in configs.values()]
    if twice := {folder for folder in folders if folders.count(folder) > 1}:
        raise ValueError(f"two variants would be written to {sorted(twice)[0]}; give one another name")

    def finished(of: RunConfig) -> dict[str, Any]:
        # Kept now, as the candidates may be gone when the file goes on elsewhere.
        if of.run_dir == configs[REFERENCE].run_dir and of.select.method in SCORED:
            return {"methods": by_method(SavedRun(Path(of.run_dir)))}
        return {}

    def summarise(found: Runs) -> dict[str, Any]:
        head = {"command": command, **about(found), "reference": REFERENCE}
        if REFERENCE not in found:
            return {**head, "rows": {}}

        def arm(name: str) -> str:
            return ADAPTED if ADAPTED in configs[name].arms else IN_CONTEXT

        ways = {REFERENCE: (found[REFERENCE], ADAPTED), "in-context": (found[REFERENCE], IN_CONTEXT)}
        ways |= {name: (metrics, arm(name)) for name, metrics in found.items() if name != REFERENCE}
        rows = paired_rows(ways, REFERENCE)
        for name, (metrics, of_arm) in ways.items():
            rows[name]["seconds_per_task"] = seconds_per_task(metrics, of_arm)
        # Where the adapters were lent, adapting cost what it cost the run that made them.
        lent = found[REFERENCE]["seconds_by_arm"][ADAPTED].get("adapt", 0.0) / max(found[REFERENCE]["tasks"], 1)
        for name in found:
            if configs[name].load_adapters and arm(name) == ADAPTED:
                rows[name]["seconds_per_task"] += lent
            if name != REFERENCE:
                rows[name]["options"] = _plain(changes[name])
        return {
            **head,
            "rows": rows,
            **({"selection": selection(found[REFERENCE])} if "methods" in found[REFERENCE] else {}),
        }

    there = made(configs[REFERENCE])
    wanted = [name for name in configs if not only or name in only or (name == REFERENCE and there)]
    return finish_runs(
        wanted, lambda name, found: configs[name], run, out, budget_seconds, command, summarise, finished, merge
    )


def _folder(config: RunConfig, name: str) -> str:
    return f"{config.run_dir}/{re.sub(r'[^a-z0-9.]+', '-', name.lower()).strip('-')}"


def _merge(options: Any, changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(options)
    for key, value in changes.items():
        key = key.replace("-", "_")
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _plain(value: Any) -> Any:
    """Text of a config file as JSON has it."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else str(value)
