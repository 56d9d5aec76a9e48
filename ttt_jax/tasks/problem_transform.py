"""What the transforms of generated problems have in common: a change of one problem, made to a whole task."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from ttt_jax.tasks.problem_text import ProblemText, problem_of
from ttt_jax.tasks.task import Answer, Task


class ProblemTransform:
    """One change, the same for all problems of a task, and the order of the demos.

    A subclass is a frozen dataclass with `order` (demo `order[i]` comes i-th;
    empty for the order as given), `parts`, `group`, `apply_problem`,
    `apply_answer` and `invert`.
    """

    kind: ClassVar[type]
    """Of the problems."""
    order: tuple[int, ...]

    @property
    def name(self) -> str:
        order = [f"order({','.join(map(str, self.order))})"] if self.order else []
        return "+".join([*self.parts(), *order]) or "identity"

    def parts(self) -> list[str]:
        """The changes of a problem, in words."""
        raise NotImplementedError

    def apply_problem(self, problem: Any) -> Any:
        raise NotImplementedError

    def apply_answer(self, answer: Answer) -> Answer:
        """An answer of the task as given, in the changed task."""
        raise NotImplementedError

    @property
    def group(self) -> str:
        """The group of the hierarchical vote that its answers belong to."""
        raise NotImplementedError

    def invert(self, answer: Answer) -> Answer:
        """An answer of the changed task back in the task as given."""
        raise NotImplementedError

    def apply(self, task: Task) -> Task:
        def text(x: Any) -> ProblemText:
            problem = problem_of(x, self.kind)  # says so where there is none
            return x.rewritten(self.apply_problem(problem))

        demos = [(text(x), self.apply_answer(y)) for x, y in task.demos]
        return replace(
            task,
            demos=tuple(demos[i] for i in self.order) if self.order else tuple(demos),
            queries=tuple(map(text, task.queries)),
            answers=None if task.answers is None else tuple(map(self.apply_answer, task.answers)),
        )


T = TypeVar("T", bound=ProblemTransform)


def problems_of(task: Task, kind: type) -> list[Any]:
    """The problems of all demos and queries. Raises ValueError where one is of another kind, or none."""
    return [problem_of(x, kind) for x in (*(x for x, _ in task.demos), *task.queries)]


def check_kinds(kinds: Sequence[str], known: Sequence[str], domain: str) -> None:
    """Raises ValueError at a kind of transform that the domain does not have; names the nearest."""
    for kind in kinds:
        if kind not in known:
            near = difflib.get_close_matches(kind, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"transforms: {domain} has no transform called {kind!r}: {hint}")


def draw_order(kinds: Sequence[str], task: Task, rng: np.random.Generator) -> tuple[int, ...]:
    """An order of the demos where `order` is asked for and there are several; else empty."""
    return tuple(rng.permutation(len(task.demos)).tolist()) if "order" in kinds and len(task.demos) > 1 else ()


def distinct_views(identity: T, draw: Callable[[int], T], task: Task, count: int) -> list[T]:
    """Identity first; at most `count`, none of which shows the same texts as another.

    Args:
      identity: leaves the task as it is.
      draw: number of the attempt, from 0 -> another transform.
      task: viewed; its answers are not looked at.
      count: how many at most.
    """

    def shown(view: T) -> tuple[str, ...]:
        changed = view.apply(task.hide_answers())
        return (*changed.queries, *(x for x, _ in changed.demos))

    views, seen = [identity], {shown(identity)}
    for attempt in range(20 * count):
        if len(views) >= count:
            break
        view = draw(attempt)
        if (texts := shown(view)) not in seen:
            seen.add(texts)
            views.append(view)
    return views[:count]
