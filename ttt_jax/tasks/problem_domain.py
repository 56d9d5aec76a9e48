"""What the domains of generated problems have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.problem_text import ProblemText, with_steps
from ttt_jax.tasks.problem_transform import ProblemTransform, check_kinds
from ttt_jax.tasks.source import parse_source
from ttt_jax.tasks.task import Answer, Augmenter, LoadedTasks, Task, Transform
from ttt_jax.tasks.text import TextDomain
from ttt_jax.tokenizers.chat import Turns, chat_turns


class ProblemDomain(TextDomain):
    """Tasks made by a generator, or read from records; inputs are `ProblemText`s.

    To be written by a subclass, beside what `TextDomain` asks for: the
    attributes below, `read_path`, `draw_transform` and `draw_views`.
    """

    one_line = False
    problem: type
    """Of the problems behind the inputs."""
    kinds: tuple[str, ...]
    """Of transforms."""
    options: type
    """What `tasks.source` may say; has `split`, `steps` and `chat`."""
    make_tasks: Callable[[Any], list[Task]]
    """options -> all tasks of a source."""
    draw_task: Callable[[Any, int], Task]
    """(options, index) -> one task of endlessly many, whatever `each` says."""

    def read_path(self, config: TasksConfig) -> LoadedTasks:
        """The tasks of the records in `config.path`."""
        raise NotImplementedError

    def draw_transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> ProblemTransform:
        raise NotImplementedError

    def draw_views(
        self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator
    ) -> Sequence[ProblemTransform]:
        raise NotImplementedError

    def read(self, config: TasksConfig) -> LoadedTasks:
        """All tasks of `config.path` (public records, zero-shot) or else of `config.source` (generated)."""
        if config.path is not None:
            return self.read_path(config)
        return LoadedTasks(config.source, tuple(self.make_tasks(self.parse_options(config.source))))

    def parse_options(self, source: str) -> Any:
        """The options that a source states. Raises ValueError where it is none of this domain."""
        return parse_source(source, self.name, self.options)

    def pieces(self, demos: Sequence[tuple[Any, Answer]], query: Any = None) -> Iterator[tuple[str, int]]:
        """Under the model's chat template where the inputs ask for it: questions are the user's turns, answers the
        assistant's, and their stop token ends a turn."""
        first = demos[0][0] if demos else query
        if not isinstance(first, ProblemText) or not first.chat:
            yield from super().pieces(demos, query)
            return
        turns = self._turns
        lead = turns.first + self.opening(demos, query)
        for k, (x, y) in enumerate(demos):
            yield lead + self.question(x).rstrip() + turns.answer, -1
            yield self.solved_text(x, y), k
            lead = turns.again
        if query is not None:
            yield lead + self.question(query, alone=not demos).rstrip() + turns.answer, -1

    @cached_property
    def _turns(self) -> Turns:
        return chat_turns(self._tokenizer, self.stop_token)

    def solved_text(self, query: Any, answer: Answer) -> str:
        """With the steps to the answer, where the query asks for them."""
        if not with_steps(query):
            return super().solved_text(query, answer)
        from ttt_jax.process.judging import worked_answer  # verifiers know of domains, so not the other way round

        return worked_answer(self, query, answer)

    def traced(self, trace: Sequence[str], answer: Answer) -> Answer:
        """The right answer that an oracle trace comes to: `answer`, unless there are several."""
        del trace
        return answer

    def to_json(self, answer: Answer) -> Any:
        return answer

    def transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> Transform:
        check_kinds(kinds, self.kinds, self.name)
        return self.draw_transform(kinds, task, rng)

    def views(self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[Transform]:
        check_kinds(kinds, self.kinds, self.name)
        return [*self.draw_views(kinds, task, count, rng)]

    def augmenter(self, name: str, task: Task, rng: np.random.Generator) -> Augmenter:
        raise ValueError(f"{self.name}: no augmenter is called {name!r}: every change of a problem is invertible")
