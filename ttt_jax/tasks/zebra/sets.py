"""Sets of generated puzzles and tasks: the same from a seed, whatever the number of worker processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import TypeVar

import numpy as np

from ttt_jax.tasks.problem_text import ProblemText
from ttt_jax.tasks.splits import split_names
from ttt_jax.tasks.task import Task, keyed_rng
from ttt_jax.tasks.zebra.generate import Generated, generate
from ttt_jax.tasks.zebra.puzzle import Attribute, level
from ttt_jax.tasks.zebra.records import Record
from ttt_jax.tasks.zebra.vocabulary import draw_attributes, vocabulary_splits
from ttt_jax.tasks.zebra.wording import WORDINGS, convention_splits, make_convention

A = TypeVar("A")
B = TypeVar("B")

SIZES = tuple(f"{n}x{m}" for n, m in product(range(2, 7), range(2, 7)))
"""Houses x attributes, the 25 of the benchmark."""

_TRIES = 400


@cache
def size_splits() -> dict[str, tuple[str, ...]]:
    """Split -> sizes."""
    return split_names("zebra size", SIZES)


@dataclass(frozen=True)
class ZebraOptions:
    """What `tasks.source` may say: `zebra/test?sizes=3x3,4x4&demos=4&convention=latent`."""

    split: str
    sizes: tuple[str, ...] = ()
    """Empty: those of the split. `all`: all 25. Training takes only its own, so that the others stay unseen."""
    each: int = 4
    """Tasks of every size."""
    demos: int = 0
    queries: int = 1
    seed: int = 0
    wording: str = "plain"
    """A wording, or `any` for one drawn for each task."""
    convention: str = "none"
    """`latent`: each task renames relations in its own way, which only its demos reveal."""
    steps: bool = False
    """Answers are asked for, and demos shown, with the steps that lead to them."""
    chat: bool = False
    """Problems are the user's turns and answers the assistant's, under the model's chat template."""

    def __post_init__(self):
        own = size_splits()[self.split]
        sizes = own if not self.sizes else SIZES if self.sizes == ("all",) else self.sizes
        object.__setattr__(self, "sizes", sizes)
        for size in sizes:
            if size not in SIZES:
                raise ValueError(f"tasks.source: sizes={size}, there are {SIZES[0]} to {SIZES[-1]}")
            if self.split == "train" and size not in own:
                raise ValueError(f"tasks.source: sizes={size} is held out of training, which has {', '.join(own)}")
        if self.wording != "any" and self.wording not in WORDINGS:
            raise ValueError(f"tasks.source: wording={self.wording}, there are any, {', '.join(WORDINGS)}")
        if self.convention not in ("none", "latent"):
            raise ValueError(f"tasks.source: convention={self.convention}, there are none and latent")
        if self.convention == "latent" and self.demos == 0:
            raise ValueError("tasks.source: convention=latent needs demos, nothing else reveals what the words mean")
        if self.each < 1 or self.queries < 1 or self.demos < 0:
            raise ValueError("tasks.source: each and queries count from 1, demos from 0")


def make_tasks(options: ZebraOptions, workers: int = 1) -> list[Task]:
    """The tasks of a source; task i of a size is the same whatever else is asked for."""
    return _map(_task, [(options, size, i) for size in options.sizes for i in range(options.each)], workers)


def draw_task(options: ZebraOptions, index: int) -> Task:
    """Task `index` of endlessly many, size by size in turn."""
    return _task((options, options.sizes[index % len(options.sizes)], index // len(options.sizes)))


def make_records(
    split: str, seed: int, each: int = 40, sizes: Sequence[str] = SIZES, workers: int = 1, wording: str = "plain"
) -> list[Record]:
    """A benchmark as ZebraLogic publishes it: `each` puzzles of every size (1000 by default), with their difficulty."""
    return _map(_record, [(split, seed, size, i, wording) for size in sizes for i in range(each)], workers)


def _record(key: tuple[str, int, str, int, str]) -> Record:
    split, seed, size, index, wording = key
    rng = keyed_rng("zebra record", *key)
    made = _puzzle(_attributes(split, size, rng), rng, wording, "")
    puzzle = made.puzzle
    extra = {
        "search_space": puzzle.search_space,
        "level": level(puzzle.search_space),
        "conflicts": made.conflicts,
        "proof_conflicts": made.proof_conflicts,
        "wording": puzzle.wording,
    }
    return Record(f"lgp-{split}-{size}-{seed}-{index}", puzzle, made.solution, str(puzzle), extra)


def _task(key: tuple[ZebraOptions, str, int]) -> Task:
    options, size, index = key
    shape = f"{options.demos}+{options.queries}-{options.wording}-{options.convention}"
    rng = keyed_rng("zebra task", options.split, options.seed, size, index, shape)
    id_ = f"zebra-{options.split}-{size}-{shape}-{options.seed}-{index}"
    for _ in range(_TRIES):
        attributes = _attributes(options.split, size, rng)
        convention = str(rng.choice(convention_splits()[options.split])) if options.convention == "latent" else ""
        wording = options.wording if options.wording != "any" else str(rng.choice(list(WORDINGS)))
        made = [_puzzle(attributes, rng, wording, convention) for _ in range(options.demos + options.queries)]
        texts = [ProblemText(m.puzzle, options.steps, options.chat) for m in made]
        if len(set(texts)) == len(texts) and _revealed(made[: options.demos], made[options.demos :], convention):
            break
    else:
        raise ValueError(
            f"{id_}: {_TRIES} draws gave no distinct puzzles whose demos reveal every relation of the queries; "
            "ask for more demos or larger sizes"
        )
    answers = [m.puzzle.answer(m.solution) for m in made]
    pairs = list(zip(texts, answers, strict=True))
    return Task(id_, tuple(pairs[: options.demos]), tuple(texts[options.demos :]), tuple(answers[options.demos :]))


def _attributes(split: str, size: str, rng: np.random.Generator) -> tuple[Attribute, ...]:
    houses, attributes = map(int, size.split("x"))
    return draw_attributes(str(rng.choice(vocabulary_splits()[split])), houses, attributes, rng)


def _puzzle(attributes: Sequence[Attribute], rng: np.random.Generator, wording: str, convention: str) -> Generated:
    return generate(attributes, rng, wording=wording, convention=convention)


def _revealed(demos: Sequence[Generated], queries: Sequence[Generated], convention: str) -> bool:
    """Whether every query has renamed relations, and each of them stands in a demo."""
    renamed = set(make_convention(convention))
    if not renamed:
        return True
    shown = {clue.kind for made in demos for clue in made.puzzle.clues}
    asked = [renamed & {clue.kind for clue in made.puzzle.clues} for made in queries]
    return all(kinds and kinds <= shown for kinds in asked)


def _map(function: Callable[[A], B], keys: Sequence[A], workers: int) -> list[B]:
    if workers <= 1:
        return [function(key) for key in keys]
    import multiprocessing

    # Forking a process that runs jax threads may deadlock.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(pool.map(function, keys, chunksize=max(1, min(16, len(keys) // (4 * workers)))))
