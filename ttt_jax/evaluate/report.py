"""report.html: the whole run on one page that needs no other file and no network."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from ttt_jax.evaluate.compare import compare
from ttt_jax.evaluate.drawing import GRID_PIXELS, draw_accuracy, draw_curve, draw_grid
from ttt_jax.evaluate.measures import table
from ttt_jax.evaluate.metrics import ABOUT, compute_metrics
from ttt_jax.evaluate.reasoning import process_table
from ttt_jax.evaluate.saved import SavedRun
from ttt_jax.evaluate.summary import label, max_attempts, note, shown_numbers, wasted
from ttt_jax.runtime.files import write_text
from ttt_jax.runtime.journal import Record
from ttt_jax.runtime.progress import clock_time

SHOWN_ANSWERS = 5
SHOWN_QUERIES = 12
"""Of a task with more queries, the first are shown."""
OPEN_TASKS = 24
"""Up to so many tasks all of them are shown opened."""


def write_report(run: SavedRun) -> Path:
    """Writes report.html into a run directory, finished or not; returns its path."""
    path = run.path / "report.html"
    write_text(path, render_report(run))
    return path


def render_report(run: SavedRun) -> str:
    """The page as text: numbers, then every finished task with its grids and answers."""
    metrics = run.metrics or compute_metrics(
        run.records,
        run.tasks.values(),
        run.domain,
        arms=run.config.arms,
        attempts=run.config.select.attempts,
        about=dict.fromkeys(("benchmark", *ABOUT)) | {"model": run.config.model, "seed": run.config.seed},
    )
    attempts = max_attempts(metrics)
    arms = list(metrics["arms"])
    tasks = [
        _task(record, run.raw_tasks.get(id_), metrics["per_task"].get(id_, {}), arms, attempts, run.curves(id_))
        for id_, record in sorted(run.records.items())
    ]
    return _template().render(
        title=f"{metrics['benchmark'] or run.config.tasks.source}, {len(tasks)} tasks",
        finished=run.metrics is not None,
        attempts=attempts,
        cards=[_arm_card(name, metrics, attempts, len(tasks)) for name in arms],
        paired=_paired(metrics, arms, attempts),
        legend=_legend(tasks, arms),
        facts=_facts(metrics),
        measures=table(metrics.get("measures", {})),
        process=process_table(metrics.get("process", {})),
        difficulty=_difficulty(metrics.get("difficulty", {})),
        tasks=tasks,
        filters=_filters(tasks),
        open_all=len(tasks) <= OPEN_TASKS,
    )


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("ttt_jax.evaluate", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["draw"] = _draw
    return environment.get_template("report.html.j2")


def _draw(value: Any, pixels: int = GRID_PIXELS) -> Markup:
    """A grid as a drawing, anything else as text."""
    if isinstance(value, list) and value and all(isinstance(row, list) and row for row in value):
        return draw_grid(value, pixels)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1)
    return Markup('<pre class="text">{}</pre>').format(escape(text))


def _task(
    record: Record,
    raw: dict[str, Any] | None,
    ranks: Mapping[str, list[int | None]],
    arms: list[str],
    attempts: int,
    curves: dict[str, list[float | None]] | None,
) -> dict[str, Any]:
    solved = {arm: all(r is not None and r <= attempts for r in of) for arm, of in ranks.items()}
    classes = []
    if solved:
        first, last = solved[arms[0]], solved[arms[-1]]
        classes.append("solved" if last else "unsolved")
        if first != last:
            classes += ["flipped", "gained" if last else "lost"]
    if record["status"] != "done":
        classes.append("failed")
    seconds = {k: sum(a["seconds"].get(k) or 0 for a in record["arms"].values()) for k in ("adapt", "decode", "select")}
    loss = (curves or {}).get("loss", [])
    queries = len(raw["queries"]) if raw else 0
    return {
        "id": record["task"],
        "classes": classes,
        "note": note(record),
        "marks": [{"label": label(arm), "solved": solved.get(arm)} for arm in arms],
        "demos": raw["demos"] if raw else [],
        "queries": [_query(record, raw, query, ranks, arms) for query in range(min(queries, SHOWN_QUERIES)) if raw],
        "more_queries": max(0, queries - SHOWN_QUERIES),
        "curve": draw_curve(loss),
        "losses": [v for v in (loss[0], loss[-1]) if v is not None] if loss else [],
        "steps": record.get("steps") or 0,
        "seconds": ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if value >= 0.05),
    }


def _query(
    record: Record, raw: dict[str, Any], query: int, ranks: Mapping[str, list[int | None]], arms: list[str]
) -> dict[str, Any]:
    truth = None if raw["answers"] is None else raw["answers"][query]
    columns = []
    for arm in arms:
        own = record["arms"].get(arm, {})
        ranked = own["ranked"][query] if query < len(own.get("ranked", [])) else []
        place = ranks[arm][query] if arm in ranks and query < len(ranks[arm]) else None
        answers = [
            {
                "answer": entry["answer"],
                "votes": entry["votes"],
                "score": entry["score"],
                "right": None if truth is None else i == place or entry["answer"] == truth,
            }
            for i, entry in enumerate(ranked, 1)
        ]
        columns.append(
            {
                "label": label(arm),
                "fell_back": own.get("fell_back", False),
                "answers": answers[:SHOWN_ANSWERS],
                "more": len(answers[SHOWN_ANSWERS:]),
                "right_in_more": any(a["right"] for a in answers[SHOWN_ANSWERS:]),
                "steps": (own.get("steps") or [None] * (query + 1))[query],
            }
        )
    return {"input": raw["queries"][query], "truth": truth, "arms": columns}


def _difficulty(curves: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One drawing for every group and quantity, its arms beside each other."""
    places = {(group, name): None for of in curves.values() for group, numbers in of.items() for name in numbers}
    found = []
    for group, name in places:
        of_arms = {arm: of[group][name] for arm, of in curves.items() if name in of.get(group, {})}
        if any(len(curve["bins"]) > 1 for curve in of_arms.values()):
            halves = [f"{label(arm)}: {_half(curve)}" for arm, curve in of_arms.items()]
            drawing = draw_accuracy({label(arm): curve["bins"] for arm, curve in of_arms.items()})
            found.append({"title": f"{group}: {name.replace('_', ' ')}", "drawing": drawing, "halves": halves})
    return found


def _half(curve: Mapping[str, Any]) -> str:
    if curve["at_50"] is None:
        return "does not cross 50%"
    ends = ["?" if curve[end] is None else f"{curve[end]:.3g}" for end in ("low", "high")]
    return f"50% at {curve['at_50']:.3g} ({' to '.join(ends)})"


def _arm_card(arm: str, metrics: Mapping[str, Any], attempts: int, tasks: int) -> dict[str, Any]:
    numbers = metrics["arms"][arm]
    seconds = sum(metrics["seconds_by_arm"][arm].values())
    return {
        "label": label(arm),
        "headline": numbers[f"pass@{attempts}"],
        "rows": [(name.replace("_", " "), numbers[name]) for name in shown_numbers([metrics]) if numbers[name]],
        "seconds": f"{seconds / tasks:.1f} s a task" if tasks and seconds else "",
    }


def _paired(metrics: Mapping[str, Any], arms: list[str], attempts: int) -> str:
    """The difference of the last arm and the first; empty where there is none."""
    if len(arms) < 2 or not metrics["arms"][arms[0]][f"pass@{attempts}"]:
        return ""
    result = compare(metrics, arms[0], metrics, arms[-1], attempts)
    return (
        f"{label(arms[-1]).capitalize()} against {label(arms[0])}: {100 * result.difference:+.1f} points "
        f"({100 * result.low:+.1f} to {100 * result.high:+.1f}); {len(result.gained)} tasks gained, "
        f"{len(result.lost)} lost, exact McNemar p = {result.p_value:.2g}"
    )


def _legend(tasks: list[dict[str, Any]], arms: list[str]) -> list[tuple[str, str]]:
    """(class, meaning) of the squares, one a task; empty where nothing is scored."""
    if not any(t["classes"] for t in tasks):
        return []
    if len(arms) < 2:
        return [("solved gained", "solved"), ("unsolved", "not solved")]
    first, last = label(arms[0]), label(arms[-1])
    return [
        ("solved", "solved both ways"),
        ("solved gained", f"only {last}"),
        ("lost", f"only {first}"),
        ("unsolved", "neither"),
    ]


def _facts(metrics: Mapping[str, Any]) -> list[tuple[str, str]]:
    device, versions = metrics.get("device"), metrics.get("versions") or {}
    seconds = {k: v for k, v in metrics["seconds"].items() if v}
    facts = {
        "model": metrics.get("model"),
        "device": _join(device, ("count", "kind", "platform")) if isinstance(device, dict) else device,
        "seconds": ", ".join(f"{name} {clock_time(value)}" for name, value in seconds.items()),
        "compilations": metrics.get("compilations"),
        "waste": wasted(metrics),
        "tokens": ", ".join(f"{name} {value:,}" for name, value in metrics["tokens"].items() if value),
        "tasks": ", ".join(f"{count} {status.replace('_', ' ')}" for status, count in metrics["statuses"].items()),
        "seed": metrics.get("seed"),
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "command": metrics.get("command"),
    }
    return [(name, str(value)) for name, value in facts.items() if value not in (None, "")]


def _join(device: Mapping[str, Any], names: tuple[str, ...]) -> str:
    count, kind, platform = (device.get(name) for name in names)
    return f"{count} x {kind} ({platform})"


def _filters(tasks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("solved", "unsolved", "flipped", "failed")
    counts = {name: sum(name in t["classes"] for t in tasks) for name in names}
    return [{"name": "all", "count": len(tasks)}, *({"name": n, "count": c} for n, c in counts.items() if c)]
