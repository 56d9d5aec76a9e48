"""Selection again, by any method, from the candidates that a run saved. No accelerator, no jax."""

from __future__ import annotations

from typing import Any

from ttt_jax.evaluate.metrics import ABOUT, compute_metrics
from ttt_jax.evaluate.reasoning import chosen_steps
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.runtime.journal import Record
from ttt_jax.select.rank import METHODS, SCORED, rank


def rerank(run: SavedRun, method: str) -> tuple[dict[str, Record], dict[str, Any]]:
    """Ranks every task's candidates anew.

    Args:
      run: its candidates, and for methods that need them its scores, are read.
      method: one of `select.rank.METHODS`.

    Returns:
      (records, metrics): the journal's records with new answers, and what
      metrics.json would hold for them. An arm that fell back to another's
      answers stays as it was recorded.

    Raises:
      ValueError: a task's candidates, or the scores that the method needs, were
        not saved.
    """
    records = {id_: _rerank_record(run, record, method) for id_, record in run.records.items()}
    saved = run.metrics or {}
    about = {name: saved.get(name) for name in ("benchmark", *ABOUT)}
    about["seconds"] = {name: saved.get("seconds", {}).get(name, 0.0) for name in ("load", "compile")}
    metrics = compute_metrics(
        records,
        run.tasks.values(),
        run.domain,
        arms=run.config.arms,
        attempts=run.config.select.attempts,
        about=about,
    )
    return records, {**metrics, "method": method}


def by_method(run: SavedRun) -> dict[str, dict[str, Any]]:
    """Arms and places of right answers, as in metrics.json, under every method that the saved candidates allow."""
    methods = [method for method in METHODS if method not in SCORED or run.config.select.method in SCORED]
    found = {method: rerank(run, method)[1] for method in methods}
    return {method: {key: metrics[key] for key in ("arms", "per_task")} for method, metrics in found.items()}


def _rerank_record(run: SavedRun, record: Record, method: str) -> Record:
    task, arms = record["task"], {}
    candidates = run.candidates(task) if record["arms"] else {}
    scores = run.scores(task) if method in SCORED else {}
    for arm, own in record["arms"].items():
        if own.get("fell_back"):
            arms[arm] = own
            continue
        where = run.path / "candidates" / f"{task}.json"
        if arm not in candidates:
            raise ValueError(f"{where}: no candidates of arm {arm}")
        if method in SCORED and not scores.get(arm):
            raise ValueError(
                f"{where}: no scores of arm {arm}: {method} ranks by the likelihood of every candidate "
                f"under every view, which only a run with --select.method {' or '.join(SCORED)} computes"
            )
        ranked, steps = [], []
        for query in range(len(own["ranked"])):
            of_query = [c for c in candidates[arm] if c.query == query]
            answers = rank(of_query, method, run.domain, scores=scores[arm][query] if scores else None)
            steps.append(chosen_steps(of_query, answers, run.domain))
            ranked.append(
                [{"answer": run.domain.to_json(r.answer), "votes": r.votes, "score": r.score} for r in answers]
            )
        arms[arm] = {**own, "ranked": ranked, **({"steps": steps} if "steps" in own else {})}
    return {**record, "arms": arms}
