"""Several runs on BIG-Bench Hard in one table: an arm a column, a task a row."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from ttt_jax.tasks.bbh_scores import explained

BASELINE = "majority_label"


def combine(runs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The arms of several runs beside each other.

    Args:
      runs: name -> metrics.json of a run of the domain bbh. The arms of a run are called `name, arm`.

    Returns:
      arms: what `measure` says of each, the baseline of the first run that shows demonstrations last.
      seconds: arm -> {"adapt", "decode", "select"} a task.
      gain: run -> its adapted arm over the in-context arm, its own or that of the first run with both:
        {"mean", "stderr", "n"}, the paired difference of tasks' accuracies, its standard error over the n tasks.
      explained: run -> the share of that gain that the majority label explains.

    Raises:
      ValueError: a run is not of bbh, or the runs are over different tasks and seeds.
    """
    arms: dict[str, Any] = {}
    seconds: dict[str, dict[str, float]] = {}
    shares: dict[str, float | None] = {}
    gains: dict[str, dict[str, float]] = {}
    baseline: Any = None
    before: Any = next((of["measures"]["in_context"] for of in runs.values() if _has_both(of)), None)
    asked: dict[frozenset[str], str] = {}
    for name, metrics in runs.items():
        found = metrics.get("measures")
        if metrics.get("benchmark") != "bbh" or not found:
            raise ValueError(f"{name}: not a run of the domain bbh with known answers")
        asked.setdefault(frozenset(metrics["per_task"]), name)
        for arm in metrics["arms"]:
            arms[f"{name}, {arm}"] = found[arm]
            seconds[f"{name}, {arm}"] = {
                stage: value / metrics["tasks"] for stage, value in metrics["seconds_by_arm"][arm].items()
            }
        baseline = baseline or found.get(BASELINE)
        own = found["in_context"] if _has_both(metrics) else before
        if own and "adapted" in metrics["arms"]:
            pair = _accuracies(own), _accuracies(found["adapted"])
            gains[name] = _paired(*pair)
            shares[name] = explained(*pair, _accuracies(found[BASELINE]))
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked.values())} are over different tasks or seeds; compare like with like")
    if baseline:
        arms[BASELINE] = baseline
    return {"arms": arms, "seconds": seconds, "gain": gains, "explained": shares}


def _has_both(metrics: Mapping[str, Any]) -> bool:
    return {"in_context", "adapted"} <= metrics["arms"].keys()


def _paired(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, Any]:
    differences = [after[name] - before[name] for name in before]
    error = statistics.stdev(differences) / len(differences) ** 0.5 if len(differences) > 1 else None
    return {"mean": statistics.fmean(differences), "stderr": error, "n": len(differences)}


def _accuracies(measured: Mapping[str, Any]) -> dict[str, float]:
    return {name: of["accuracy"]["value"] for name, of in measured["tasks"].items()}
