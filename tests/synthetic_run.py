"""A run directory as `scripts/ttt.py` leaves it, with made-up candidates: for tests of everything that reads one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ttt_jax.config import RunConfig
from ttt_jax.evaluate.metrics import compute_metrics
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.runtime.run_dir import RunDir
from ttt_jax.select.rank import SCORED, rank
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Task

COMMAND = "python scripts/ttt.py --config configs/arc/quickstart.yaml"
GROUPS = ("identity", "rotate90", "transpose")
# How often, of nine candidates, the truth is drawn.
SKILL = {"in_context": 0.15, "adapted": 0.6}


def make_candidates(task: Task, arm: str, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Nine candidates a query, as they are saved: the truth or a grid with a few wrong cells; one does not parse."""
    assert task.answers is not None
    candidates = []
    for query, truth in enumerate(task.answers):
        for view in range(9):
            answer = np.array(truth)
            if rng.random() > SKILL[arm]:
                answer.flat[rng.integers(min(answer.size, 6))] = rng.integers(10)
            candidates.append(
                {
                    "query": query,
                    "view": f"{GROUPS[view % 3]} {view}",
                    "group": GROUPS[view % 3],
                    "sample": 0,
                    "tokens": [1, 2, 13],
                    "logprob": float(-rng.exponential(3.0)),
                    "answer": None if view == 8 else answer.tolist(),
                }
            )
    return candidates


def make_record(
    task: Task, candidates: Mapping[str, list[dict[str, Any]]], scores: Mapping[str, Any], run: SavedRun
) -> dict[str, Any]:
    """The journal line of a task that went well."""
    arms = {}
    for arm in candidates:
        of_arm = [run._candidate(c) for c in candidates[arm]]
        ranked = [
            [
                {"answer": run.domain.to_json(r.answer), "votes": r.votes, "score": r.score}
                for r in rank(
                    [c for c in of_arm if c.query == query], run.config.select.method, run.domain,
                    scores=scores[arm][query],
                )
            ]
            for query in range(len(task.queries))
        ]  # fmt: skip
        adapted = arm == "adapted"
        arms[arm] = {
            "ranked": ranked,
            "seconds": {"adapt": 12.5 if adapted else 0.0, "decode": 3.25, "select": 0.01},
            "tokens": {"adapt": 50_000 if adapted else 0, "decode": 900},
            "fell_back": False,
        }
    return {"task": task.id, "status": "done", "reason": None, "arms": arms, "steps": 64, "final_loss": 0.031}


def make_scores(task: Task, candidates: list[dict[str, Any]], run: SavedRun) -> list[dict[str, list[float]]]:
    """Likelihoods of a task's candidates under two views, a query each."""
    assert task.answers is not None
    scores: list[dict[str, list[float]]] = [{} for _ in task.answers]
    for saved in candidates:
        c = run._candidate(saved)
        if c.answer is not None:
            right = run.domain.same(c.answer, task.answers[c.query])
            scores[c.query][run.domain.key(c.answer)] = [-1.0, -0.5] if right else [-2.0, -3.0]
    return scores


def make_run(
    path: Path,
    tasks: Iterable[Task],
    failed: Mapping[str, str] | None = None,
    finish: bool = True,
    config: RunConfig | None = None,
) -> SavedRun:
    """Writes a run over `tasks`; `failed` maps task ids to the reason why they were not adapted.

    Where the config ranks by likelihoods, the truth is the likeliest.
    """
    tasks = list(tasks)
    config = config or RunConfig(run_dir=str(path))
    domain = get_domain("arc")
    with RunDir.open(path, config, COMMAND) as run_dir:
        run_dir.save_tasks(tasks)
        saved = SavedRun(path)
        for task in tasks:
            rng = np.random.default_rng(sum(task.id.encode()))
            scored = task if task.answers is not None else replace(task, answers=task.queries)
            candidates = {arm: make_candidates(scored, arm, rng) for arm in config.arms}
            scores = {arm: make_scores(scored, candidates[arm], saved) for arm in candidates}
            record = make_record(task, candidates, scores, saved)
            curves: dict[str, Any] | None = {
                "step": list(range(64)),
                "loss": [float(1.2 * np.exp(-s / 12) + 0.03 * rng.random()) for s in range(64)],
                "grad_norm": [1.0] * 64,
                "learning_rate": [1e-3] * 64,
            }
            if failed and task.id in failed:
                in_context = record["arms"]["in_context"]
                record |= {"status": "failed", "reason": failed[task.id], "final_loss": None, "steps": 3}
                record["arms"]["adapted"] = {**in_context, "fell_back": True}
                del candidates["adapted"], scores["adapted"]
                curves = {**curves, "loss": [1.2, 4.0, None]}
            likelihoods = {"scores": scores} if config.select.method in SCORED else {}
            run_dir.save(record, candidates=candidates | likelihoods, curves=curves)
        if finish:
            metrics = compute_metrics(
                run_dir.finished(),
                tasks,
                domain,
                arms=config.arms,
                about={
                    "benchmark": "arc-agi-1/evaluation",
                    "model": "arc-small",
                    "device": {"platform": "cpu", "kind": "a processor", "count": 1, "processes": 1, "cores": 2},
                    "versions": {"python": "3.11.7", "jax": "0.10.2", "flax": "0.12.8"},
                    "seed": 0,
                    "command": run_dir.command,
                    "compilations": 7,
                    "seconds": {"load": 1.5, "compile": 40.0},
                },
            )
            run_dir.write_json("metrics.json", metrics)
    return SavedRun(path)
