"""The domain `reasoning`: several sources of generated problems, of one family or of several, in one set of tasks.

    tasks:
      domain: reasoning
      source: >-
        zebra/test?sizes=3x2,5x3&demos=4&each=20&steps=true
        novel:zebra/test?sizes=3x2&demos=4&convention=latent&each=20&steps=true
        graphs/test?questions=held_out&nodes=7&demos=4&each=20&steps=true

Sources are separated by spaces. What stands before a colon names the group that
a source's tasks are counted with; otherwise the name of its domain does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.problem_domain import ProblemDomain
from ttt_jax.tasks.problem_text import ProblemText
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Answer, Augmenter, LoadedTasks, Task, Transform
from ttt_jax.tasks.text import TextDomain

PARTS = ("zebra", "graphs", "diagnosis")


class ReasoningDomain(TextDomain):
    """Inputs are `ProblemText`s; an answer is {name of its domain: the answer there}."""

    name = "reasoning"
    one_line = False
    max_answer_tokens = max(get_domain(name).max_answer_tokens for name in PARTS)
    parts: Mapping[str, ProblemDomain]

    def __init__(self) -> None:
        self.parts = {name: _part(name) for name in PARTS}

    def bind(self, tokenizer: Any) -> TextDomain:
        bound = super().bind(tokenizer)
        assert isinstance(bound, ReasoningDomain)
        bound.parts = {name: part.bind(tokenizer) for name, part in self.parts.items()}  # type: ignore[misc]
        return bound

    def read(self, config: TasksConfig) -> LoadedTasks:
        """The tasks of every source; `config.path` is refused, since records are of one domain."""
        if config.path is not None:
            raise ValueError("tasks.path: the domain 'reasoning' is generated; to read records name their own domain")
        tasks: dict[str, Task] = {}
        for entry in config.source.split():
            head, _, source = entry.rpartition(":")
            name = source.partition("/")[0]
            if name not in self.parts:
                raise ValueError(f"tasks.source: {entry!r} names no domain of {', '.join(PARTS)}")
            for task in self.parts[name].read(replace(config, source=source)).tasks:
                if task.id in tasks:
                    raise ValueError(f"tasks.source: {entry!r} gives {task.id} again; set seed=.. of one of the two")
                tasks[task.id] = of_part(task, name, head or name)
        if not tasks:
            raise ValueError(
                "tasks.source: the domain 'reasoning' needs one or more sources, such as zebra/test?demos=4"
            )
        return LoadedTasks("reasoning", tuple(tasks.values()))

    # -- texts: those of the part -------------------------------------------------------------------------

    def pieces(self, demos: Sequence[tuple[Any, Answer]], query: Any = None) -> Iterator[tuple[str, int]]:
        part = self.part_of(demos[0][0] if demos else query)
        yield from part.pieces([(x, y[part.name]) for x, y in demos], query)

    def prompt(self, demos: Sequence[tuple[Any, Answer]], query: Any) -> str:
        part = self.part_of(query)
        return part.prompt([(x, y[part.name]) for x, y in demos], query)

    def solved_text(self, query: Any, answer: Answer) -> str:
        part = self.part_of(query)
        return part.solved_text(query, answer[part.name])

    def parse_for(self, task: Task, text: str) -> Answer | None:
        part = self.part_of(task.queries[0])
        answer = part.parse_for(task, text)
        return None if answer is None else {part.name: answer}

    def part_of(self, text: Any) -> ProblemDomain:
        """The domain that an input is of. Raises ValueError where it carries no problem."""
        problem = text.problem if isinstance(text, ProblemText) else None
        for part in self.parts.values():
            if isinstance(problem, part.problem):
                return part
        raise ValueError("reasoning: an input carries no problem: it went through a file; load the tasks again")

    # -- answers ------------------------------------------------------------------------------------------

    def same(self, a: Answer, b: Answer) -> bool:
        return a.keys() == b.keys() and all(self.parts[name].same(a[name], b[name]) for name in a)

    def key(self, answer: Answer) -> str:
        (entry,) = answer.items()
        return f"{entry[0]} {self.parts[entry[0]].key(entry[1])}"

    def to_json(self, answer: Answer) -> Any:
        return {name: self.parts[name].to_json(y) for name, y in answer.items()}

    def from_json(self, value: Any) -> Answer:
        """Raises ValueError where the value is no answer of one part."""
        if not isinstance(value, dict) or len(value) != 1 or not value.keys() <= self.parts.keys():
            raise ValueError(f"reasoning: {value!r} is no answer: expected {{domain: answer}}")
        return {name: self.parts[name].from_json(y) for name, y in value.items()}

    def transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> Transform:
        part = self.part_of(task.demos[0][0] if task.demos else task.queries[0])
        return PartTransform(part.name, part.transform(self._own(kinds, part), _unwrap(task), rng))

    def views(self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[Transform]:
        part = self.part_of(task.queries[0])
        views = part.views(self._own(kinds, part), _unwrap(task), count, rng)
        return [PartTransform(part.name, view) for view in views]

    def augmenter(self, name: str, task: Task, rng: np.random.Generator) -> Augmenter:
        return self.part_of(task.queries[0]).augmenter(name, task, rng)

    def measure(self, tasks: Sequence[Task], answers: Mapping[str, Sequence[Answer | None]]) -> dict[str, Any]:
        """Group -> what its domain measures."""
        groups: dict[tuple[str, str], list[Task]] = {}
        for task in tasks:
            if task.answers:
                (name,) = task.answers[0]
                groups.setdefault((task.family or name, name), []).append(task)
        found: dict[str, Any] = {}
        for (group, name), of in groups.items():
            own = {t.id: [a and a.get(name) for a in answers.get(t.id, [None] * len(t.queries))] for t in of}
            measured = getattr(self.parts[name], "measure")([_unwrap(t) for t in of], own)  # noqa: B009
            found[group if group not in found else f"{group} ({name})"] = measured
        return found

    def _own(self, kinds: Sequence[str], part: ProblemDomain) -> list[str]:
        """The kinds of transforms that a part has; those that no part has are refused."""
        known = {kind for other in self.parts.values() for kind in other.kinds}
        return [kind for kind in kinds if kind in part.kinds or kind not in known]


@dataclass(frozen=True)
class PartTransform:
    """A transform of a part's tasks, for tasks whose answers say which part they are of."""

    part: str
    inner: Transform

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def group(self) -> str:
        return self.inner.group

    def apply(self, task: Task) -> Task:
        return _wrap(self.inner.apply(_unwrap(task)), self.part)

    def invert(self, answer: Answer) -> Answer:
        return {self.part: self.inner.invert(answer[self.part])}


def of_part(task: Task, part: str, group: str) -> Task:
    """A task of one of PARTS as this domain has it, counted with a group."""
    return replace(_wrap(task, part), family=group)


def _part(name: str) -> ProblemDomain:
    part = get_domain(name)
    assert isinstance(part, ProblemDomain)
    return part


def _wrap(task: Task, name: str) -> Task:
    answers = None if task.answers is None else tuple({name: y} for y in task.answers)
    return replace(task, demos=tuple((x, {name: y}) for x, y in task.demos), answers=answers)


def _unwrap(task: Task) -> Task:
    answers = None if task.answers is None else tuple(next(iter(y.values())) for y in task.answers)
    return replace(task, demos=tuple((x, next(iter(y.values()))) for x, y in task.demos), answers=answers)
