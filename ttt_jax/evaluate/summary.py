"""What a run says on the terminal when it is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ttt_jax.evaluate import measures
from ttt_jax.runtime.journal import Record
from ttt_jax.runtime.progress import clock_time

SHOWN_RANKS = 12
"""Of tasks with more queries, only the number of right answers is shown."""

LABELS = {"in_context": "in-context", "adapted": "adapted"}


def print_summary(metrics: Mapping[str, Any], records: Mapping[str, Record], console: Console | None = None) -> None:
    """A table with a line a task, then the totals of every arm.

    Args:
      metrics: of `compute_metrics`.
      records: task id -> journal record.
      console: standard output where None.
    """
    console = console or Console()
    arms, attempts = list(metrics["arms"]), max_attempts(metrics)
    table = Table(title="tasks: place of the right answer", title_justify="left", pad_edge=False)
    table.add_column("task")
    for arm in arms:
        table.add_column(label(arm))
    for column in ("steps", "loss", "seconds"):
        table.add_column(column, justify="right")
    table.add_column("note", overflow="fold")
    for id_, record in records.items():
        ranks = metrics["per_task"].get(id_, {})
        loss = record.get("final_loss")
        table.add_row(
            id_,
            *(_ranks(ranks.get(arm), attempts) for arm in arms),
            str(record.get("steps") or ""),
            "" if loss is None else f"{loss:.3g}",
            f"{sum(sum(a['seconds'].values()) for a in record['arms'].values()):.1f}",
            Text(note(record)),
        )
    console.print(table)
    print_measures(metrics, console)
    print_beside({"": metrics}, console)
    seconds = metrics["seconds"]
    parts = [f"{name} {clock_time(value or 0)}" for name, value in seconds.items()]
    console.print(
        f"{metrics['tasks']} tasks, {metrics['failed']} failed; {', '.join(parts)}; "
        f"{metrics.get('compilations') or 0} compilations",
        highlight=False,
    )
    if waste := wasted(metrics):
        console.print(waste, highlight=False)
    for line in drafted(metrics):
        console.print(line, highlight=False)


def drafted(metrics: Mapping[str, Any]) -> list[str]:
    """What speculative decoding did, a line an arm; none of a run without it."""
    return [
        f"{label(arm)}: {of['accepted']} of {of['offered']} draft tokens accepted "
        f"({of['accepted'] / max(1, of['offered']):.0%}), {of['whole']} of {of['drafts']} drafts whole; "
        f"{of['steps']} decoding steps, {of['plain_steps']} without drafts"
        for arm, of in (metrics.get("speculation") or {}).items()
    ]


def wasted(metrics: Mapping[str, Any]) -> str:
    """How much of the computed tokens was padding and of the time the device idle; empty where it is not known."""
    padding = {name: share for name, share in (metrics.get("padding") or {}).items() if share is not None}
    parts = ["padding: " + ", ".join(f"{name} {share:.0%}" for name, share in padding.items())] if padding else []
    if metrics.get("idle") is not None:
        parts.append(f"device idle {metrics['idle']:.1%} of the time")
    return "; ".join(parts)


def print_measures(metrics: Mapping[str, Any], console: Console) -> None:
    """The domain's own accuracies, where it has them."""
    rows = measures.table(metrics.get("measures", {}))
    if not rows:
        return
    table = Table(title="accuracy in %, with standard errors over seeds", title_justify="left", pad_edge=False)
    for column, title in enumerate(rows[0]):
        table.add_column(title, justify="right" if column else "left")
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)


def print_beside(runs: Mapping[str, Mapping[str, Any] | None], console: Console | None = None) -> None:
    """The numbers of several metrics side by side, a column an arm and a run; None is a run without metrics."""
    console = console or Console()
    columns = [
        ("\n".join(filter(None, [label(arm), name.replace("_", " ")])), numbers)
        for name, metrics in runs.items()
        if metrics
        for arm, numbers in metrics["arms"].items()
    ]
    table = Table(title="solved, with 95% intervals", title_justify="left", pad_edge=False)
    table.add_column("")
    for title, _ in columns:
        table.add_column(title, justify="right")
    for name in shown_numbers([metrics for metrics in runs.values() if metrics]):
        table.add_row(name.replace("_", " "), *(percent(numbers.get(name)) for _, numbers in columns))
    console.print(table)


def shown_numbers(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the numbers of every arm; partial credit only where a task has several test inputs."""
    several = any(len(ranks) > 1 for m in runs for arms in m["per_task"].values() for ranks in arms.values())
    names = dict.fromkeys(name for m in runs for numbers in m["arms"].values() for name in numbers)
    return [name for name in names if several or not (name.endswith("_partial") or name.startswith("outputs@"))]


def percent(number: Mapping[str, float] | None) -> str:
    """53.0% (43-63) of a metric; a dash where nothing was scored."""
    if number is None:
        return "-"
    return f"{number['value']:.1%} ({100 * number['low']:.0f}-{100 * number['high']:.0f})"


def label(arm: str) -> str:
    """How an arm is called in print."""
    return LABELS.get(arm, arm.replace("_", " "))


def note(record: Record) -> str:
    """Why a task is not done, and which arms fell back; empty for a task without trouble."""
    parts = [] if record["status"] == "done" else [record["status"].replace("_", " ")]
    if record.get("reason"):
        parts.append(record["reason"])
    text = ": ".join(parts)
    if dropped := record.get("dropped_demos"):
        text += f" {dropped} demonstrations too many for the prompt"
    if any(arm.get("fell_back") for arm in record["arms"].values()):
        text += " (answered in context)"
    return text.strip()


def max_attempts(metrics: Mapping[str, Any]) -> int:
    """The largest k of the pass@k that a metrics.json has."""
    names = next(iter(metrics["arms"].values()), {})
    return max((int(n[5:]) for n in names if n.startswith("pass@") and n[5:].isdigit()), default=2)


def _ranks(ranks: Sequence[int | None] | None, attempts: int) -> Text:
    if ranks is None:
        return Text("?", style="dim")
    solved = all(r is not None and r <= attempts for r in ranks)
    words = ["no" if r is None else str(r) for r in ranks]
    if len(ranks) > SHOWN_RANKS:
        right = sum(r is not None and r <= attempts for r in ranks)
        return Text(f"{right} of {len(ranks)}")
    return Text(("✓ " if solved else "✗ ") + " ".join(words), style="green" if solved else "red")
