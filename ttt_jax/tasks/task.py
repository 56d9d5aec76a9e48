"""What a task is, and the one small protocol that a family of tasks implements.

Everything here is numpy on the host. Answers are kept apart from the problem
(`Task.answers`), so that `Task.hide_answers()` is all that the adapting and
decoding side of the house is ever given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from ttt_jax.config import TasksConfig
    from ttt_jax.decode.syntax import Syntax

# For grids an int8 array [height, width]; for text domains a string.
Answer = Any


@dataclass(frozen=True)
class Task:
    """A few-shot problem: solved demonstrations and unsolved queries.

    Attributes:
      id: unique within its benchmark.
      demos: `(input, output)` pairs.
      queries: query inputs, at least one.
      answers: the query outputs, or None where they are hidden or unknown.
      family: tasks of one family may share an adapter: no query of one is a
        demonstration of another.
      dropped_demos: demonstrations left out because the prompt was too long.
    """

    id: str
    demos: tuple[tuple[Any, Any], ...]
    queries: tuple[Any, ...]
    answers: tuple[Answer, ...] | None = None
    family: str = ""
    dropped_demos: int = 0

    def hide_answers(self) -> Task:
        """The same task as a solver may see it."""
        return replace(self, answers=None)


@dataclass(frozen=True)
class Encoded:
    """One token sequence.

    Attributes:
      tokens: int32[length].
      positions: int32[length, axes], axes as the domain's model expects them.
      outputs: int32[length], the index of the pair whose OUTPUT this token
        belongs to (its closing token included), -1 everywhere else. Loss
        masks are derived from it, never from token ids.
    """

    tokens: np.ndarray
    positions: np.ndarray
    outputs: np.ndarray

    def __len__(self) -> int:
        return len(self.tokens)


class Augmenter(Protocol):
    """A change of a whole task that keeps it a valid task (not always invertible)."""

    @property
    def name(self) -> str: ...

    def apply(self, task: Task) -> Task:
        """The changed task. Raises ValueError where the result is not a legal task."""
        ...


class Transform(Augmenter, Protocol):
    """An invertible augmenter: the only kind that may make a view of a query."""

    @property
    def group(self) -> str:
        """The group of the hierarchical vote that its answers belong to."""
        ...

    def invert(self, answer: Answer) -> Answer:
        """Maps an answer of the changed task back to the task as given."""
        ...


class Rewriter(Protocol):
    """Writes pairs of one task under many transforms, faster than changing and encoding them each time."""

    def length(self, pairs: Sequence[int]) -> int:
        """Tokens of `Domain.encode` of the pairs with these indices, as given."""
        ...

    def write(
        self, pairs: Sequence[int], transform: Any | None, tokens: np.ndarray, positions: np.ndarray
    ) -> list[tuple[int, int]] | None:
        """Writes what `Domain.encode` makes of changed pairs to the beginning of two arrays.

        Args:
          pairs: indices of the pairs, in the order of the task.
          transform: one of the domain's; None leaves the pairs as given. Its order may be one of the first pairs
            only: those after them keep their places.
          tokens: int32[room], contiguous.
          positions: int32[room, axes], contiguous.

        Returns:
          Where each output begins and ends (`Encoded.outputs`). None, with nothing written, where there is not
          room enough.
        """
        ...


WHOLE_FILE = "*"
"""The task id of a refusal that concerns a file beside the tasks, such as their solutions."""


@dataclass(frozen=True)
class Refused:
    """A task that could not be read, and why."""

    file: str
    task_id: str
    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.file}: task {self.task_id}: {self.field}: {self.reason}"


@dataclass(frozen=True)
class LoadedTasks:
    """What a domain found: the tasks it could read and those it refused."""

    benchmark: str
    tasks: tuple[Task, ...]
    refused: tuple[Refused, ...] = field(default=())


class Domain(Protocol):
    """A family of tasks. Adding a domain is one file in tasks/ that implements this."""

    name: str
    vocab_size: int
    position_axes: int
    pad_token: int
    stop_token: int
    """Closes every answer."""
    stop_tokens: tuple[int, ...]
    """Tokens that end decoding, `stop_token` among them."""
    max_answer_tokens: int
    """Room reserved for an answer, its stop token included; the same for every task."""

    syntax: Syntax
    """How positions go on, and which tokens are legal, while an answer is decoded."""

    shared_prefix: bool
    """All queries of a task have the same views, so that what their prompts have in common is read once."""

    def bind(self, tokenizer: Any) -> Domain:
        """This domain in the tokens of a model; what comes before needs no tokens.

        Args:
          tokenizer: the third of what `load_model` returns.

        Raises:
          ValueError: the model does not read such tasks.
        """
        ...

    def load(self, config: TasksConfig) -> LoadedTasks:
        """Reads the tasks that the config names, refusing bad ones by name."""
        ...

    def encode(self, demos: Sequence[tuple[Any, Any]], query: Any = None) -> Encoded:
        """Writes the demos (each with its output), then, where given, an open query.

        With a query the sequence ends where the first answer token is to be
        predicted. Training sequences are written without a query: the last
        demo then plays its part.
        """
        ...

    def parse(self, tokens: Sequence[int]) -> Answer | None:
        """Decoded tokens (with or without the stop token) to an answer, or None."""
        ...

    def decoded(self, tokens: Sequence[int], task: Task) -> Answer | None:
        """The answer that a decoder's row gives to a query of the task, whether or not it came to a stop token."""
        ...

    def same(self, a: Answer, b: Answer) -> bool:
        """Whether two answers count as equal."""
        ...

    def key(self, answer: Answer) -> str:
        """A canonical string of an answer: equal exactly when `same` holds. Used to count votes."""
        ...

    def to_json(self, answer: Answer) -> Any:
        """An answer as it is written to submission.json and candidates/."""
        ...

    def from_json(self, value: Any) -> Answer:
        """The inverse of `to_json`."""
        ...

    def transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> Transform:
        """One random invertible transform of the named kinds (training data)."""
        ...

    def views(self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[Transform]:
        """`count` transforms for decoding: identity first, then as different as can be."""
        ...

    def augmenter(self, name: str, task: Task, rng: np.random.Generator) -> Augmenter:
        """A named augmenter for training data; random parameters are drawn from rng."""
        ...

    def rewriter(self, pairs: Sequence[tuple[Any, Any]]) -> Rewriter | None:
        """What writes these pairs under many transforms; None where nothing is faster than `apply` and `encode`."""
        ...


def keyed_rng(*key: int | str) -> np.random.Generator:
    """A generator that depends on the key alone: (seed, task id, step, index), say.

    Strings are hashed with a stable hash (blake2), so results do not depend on
    the process, on PYTHONHASHSEED or on the number of workers.
    """
    import hashlib

    words: list[int] = []
    for part in key:
        if isinstance(part, str):
            digest = hashlib.blake2b(part.encode(), digest_size=8).digest()
            words += [int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:], "little")]
        else:
            words.append(int(part) & 0xFFFFFFFF)
    # An array of words means the same to numpy as a list of them, and is read three times as fast.
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(np.array(words, np.uint32))))
