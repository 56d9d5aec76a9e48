"""What a run is doing, how far it is, and how long is left."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, Task
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

HEARTBEAT = 30.0
"""Seconds between lines of a long stage where nothing can be redrawn."""


@dataclass
class _Work:
    """One kind of stage: how much was planned, how much is done, in how long."""

    planned: float = 0.0
    done: float = 0.0
    seconds: float = 0.0


@dataclass
class _Stage:
    """A stage that is open."""

    name: str
    text: str
    units: float | None
    done: float = 0.0


class Progress:
    """A live display on a terminal, and plain lines, one a stage, anywhere else.

        plan = {"adapt": 8 * 64, "decode": 16}
        with Progress(total_tasks=8, plan=plan) as progress:
            with progress.stage("compile", "adapting: 8 tasks x 16 steps, length 1024"):
                ...
            with progress.stage("adapt", "8 tasks x 64 steps, length 1024", units=8 * 64):
                progress.advance(8 * 16, "loss 0.21")
            progress.task_done()

    A stage may be opened within another: the outer one rests meanwhile, and
    goes on where it was.

    The time left comes from the plan: of every kind of stage in it, the rate so
    far times the units that are left. Before each kind has run it is a lower
    bound. Without a plan it is the time of a task so far, times the tasks left.
    """

    def __init__(
        self,
        total_tasks: int,
        plan: Mapping[str, float] | None = None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        """
        Args:
          total_tasks: tasks that are to be done in this process.
          plan: stage name -> units of work of all its stages together.
          console: where to write; standard output where None.
          clock: seconds, for tests.
        """
        self.total_tasks = total_tasks
        self.tasks_done = 0
        self._console = console or Console(highlight=False)
        self._clock = clock
        self._start = clock()
        self._work = {name: _Work(planned=units) for name, units in (plan or {}).items()}
        self._open: list[_Stage] = []
        self._counted = self._last_line = self._start
        self._bars = self._make_bars() if self._console.is_terminal else None
        if self._bars:
            self._all = self._bars.add_task("tasks", total=total_tasks or None, note="")
            self._now = self._bars.add_task("", total=None, note="", visible=False)

    def __enter__(self) -> Progress:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars:
            self._bars.update(self._now, visible=False)
            self._bars.stop()
        else:
            self._line(f"end: {self._summary()}")

    @contextlib.contextmanager
    def stage(self, name: str, detail: str = "", units: float | None = None) -> Iterator[Progress]:
        """Everything inside is one stage, such as compile, adapt, decode or select.

        Args:
          name: its kind; those of the plan count towards the time left.
          detail: what exactly, such as "20 tasks x 64 steps, length 1024".
          units: how much work it is, in the plan's units; draws a bar.
        """
        if self._open:
            self._count(0)
        stage = _Stage(name, f"{name}  {detail}".rstrip(), units)
        self._open.append(stage)
        self._counted = self._clock()
        if self._bars:
            self._show(stage)
        else:
            self._line(f"{name:<9}{detail}  ({self._summary()})")
        try:
            yield self
        finally:
            self._count(0)
            self._open.remove(stage)
            if self._bars and self._open:
                self._show(self._open[-1])
            elif self._bars:
                self._bars.update(self._now, visible=False)

    def advance(self, units: float = 1, note: str = "") -> None:
        """So much of the open stage is done; `note` is shown beside it, such as the loss."""
        if not self._open:
            raise RuntimeError("advance: no stage is open")
        stage = self._open[-1]
        self._count(units)
        if self._bars:
            self._bars.update(self._now, completed=stage.done, note=note, refresh=True)
        elif self._clock() - self._last_line >= HEARTBEAT:
            share = f"{stage.done / stage.units:.0%}" if stage.units else f"{stage.done:g} done"
            self._line(f"  {stage.name} {share}{', ' + note if note else ''}  ({self._summary()})")

    def now(self, text: str, keep: bool = False) -> None:
        """What the open stage is doing; where nothing can be redrawn, printed if it is to `keep`."""
        if self._bars:
            self._bars.update(self._now, note=text)
        elif keep:
            self._line(f"  {text}")

    def task_done(self, count: int = 1) -> None:
        """So many more tasks are finished."""
        self.tasks_done += count
        if self._bars:
            self._bars.update(self._all, completed=self.tasks_done)

    def log(self, line: str) -> None:
        """A line that stays, above the live display."""
        if self._bars:
            self._bars.console.print(line, markup=False, highlight=False)
        else:
            self._line(line)

    def elapsed(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._start

    def left(self) -> tuple[float, bool] | None:
        """(seconds left, whether every kind of stage has been measured), or None where nothing is known."""
        planned = {name: work for name, work in self._work.items() if work.planned}
        if not planned:
            if not self.tasks_done:
                return None
            return self.elapsed() / self.tasks_done * max(self.total_tasks - self.tasks_done, 0), True
        seconds, known = 0.0, 0
        for name, work in planned.items():
            if work.done:
                known += 1
                # The rate is that of the last report; since then time has run on.
                here = bool(self._open) and name == self._open[-1].name
                running = self._clock() - self._counted if here else 0.0
                seconds += max((work.planned - work.done) * work.seconds / work.done - running, 0.0)
        return (seconds, known == len(planned)) if known else None

    def _summary(self) -> str:
        parts = [f"{self.tasks_done}/{self.total_tasks} tasks", f"{clock_time(self.elapsed())} elapsed"]
        left = self.left()
        if left and self.tasks_done < self.total_tasks:
            parts.append(f"{'about' if left[1] else 'more than'} {clock_time(left[0])} left")
        return ", ".join(parts)

    def _count(self, units: float) -> None:
        """Adds work of the innermost stage, and the seconds since the last time."""
        stage = self._open[-1]
        work, now = self._work.setdefault(stage.name, _Work()), self._clock()
        work.done += units
        work.seconds += now - self._counted
        stage.done += units
        self._counted = now

    def _show(self, stage: _Stage) -> None:
        assert self._bars
        self._bars.reset(self._now, description=stage.text, total=stage.units, visible=True, note="")
        self._bars.update(self._now, completed=stage.done, refresh=True)

    def _make_bars(self) -> Bars:
        return Bars(
            SpinnerColumn(finished_text=" "),
            BarColumn(bar_width=16),
            _Line(self, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=self._console,
        )

    def _line(self, text: str) -> None:
        self._last_line = self._clock()
        self._console.print(f"[{clock_time(self.elapsed())}] {text}", markup=False, highlight=False, soft_wrap=True)
        self._console.file.flush()


class _Line(ProgressColumn):
    """The text of a line of the live display, made anew at every refresh."""

    def __init__(self, progress: Progress, table_column: Column):
        super().__init__(table_column)
        self._progress = progress

    def render(self, task: Task) -> Text:
        if task.id == self._progress._all:
            return Text(self._progress._summary())
        parts = [task.description, task.fields["note"], clock_time(task.elapsed or 0)]
        return Text("  ".join(part for part in parts if part))


def clock_time(seconds: float) -> str:
    """75 as 1:15, 3700 as 1:01:40."""
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
