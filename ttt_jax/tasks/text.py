"""Domains whose tasks are text: how pieces of text become one token sequence.

A subclass writes texts (`instructions`, `question`, `answer_text`) and reads
them (`parse_text`); this class does everything that has to do with tokens. Every piece is tokenised on its own, so
an answer has the same tokens in a demonstration, under the loss and when it is
decoded, whatever stands around it:

    instructions | question | answer stop | gap question | answer stop | gap question

`stop` is one token: a newline where answers are one line, else the tokenizer's
end of text. `gap` is the rest of the separator.
"""

from __future__ import annotations

import copy
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from ttt_jax.config import TasksConfig
from ttt_jax.tasks.subset import choose_tasks
from ttt_jax.tasks.task import Answer, Augmenter, Encoded, LoadedTasks, Task, Transform

if TYPE_CHECKING:
    from ttt_jax.decode.syntax import Syntax

NEWLINE = "\n"
SEPARATOR = "\n\n"
"""Between a solved example and what follows, so that a prompt with one more demo begins like the one before."""
_REMEMBERED = 1 << 15  # pieces of text whose tokens are kept


class OpenedText(str):
    """An input that remembers how the prompts of its task begin, where tasks of a domain begin differently."""

    opening: str

    def __new__(cls, text: str, opening: str) -> OpenedText:
        opened = super().__new__(cls, text)
        opened.opening = opening
        return opened

    def __reduce__(self) -> tuple:
        return OpenedText, (str(self), self.opening)


class TextDomain:
    """`ttt_jax.tasks.task.Domain` of text. Subclasses say what is written and read.

    To be written by a subclass: `name`, `read`, `instructions`, `question`,
    `answer_text`, and `parse_text` (or `parse_for`, where the task matters).
    The rest has defaults: answers are strings, and demonstrations may be
    reordered.

    A domain made by name has no tokens yet; `bind` gives it those of a model.
    """

    name: str
    position_axes = 1
    one_line = True
    """Answers end at the first newline; False ends them at the tokenizer's end of text."""
    max_answer_tokens = 128
    shared_prefix = False

    vocab_size: int
    pad_token: int
    stop_token: int
    stop_tokens: tuple[int, ...]

    # Set by `bind`.
    _tokenizer: Any
    _tokens: Callable[[str], np.ndarray]
    _gap: str
    _start: np.ndarray

    # -- what a subclass writes ----------------------------------------------------------------------

    def read(self, config: TasksConfig) -> LoadedTasks:
        """Every task that there is, bad ones refused by name."""
        raise NotImplementedError

    def instructions(self, demos: Sequence[tuple[Any, Answer]]) -> str:
        """What comes first. May depend on whether there are demos, never on the question."""
        raise NotImplementedError

    def question(self, query: Any, alone: bool = False) -> str:
        """One problem, up to where its answer begins; `alone` without demos, which would show the answer's form."""
        raise NotImplementedError

    def answer_text(self, answer: Answer) -> str:
        """An answer as a demo shows it and as `parse_text` reads it."""
        raise NotImplementedError

    def solved_text(self, query: Any, answer: Answer) -> str:
        """What a demo shows below its question."""
        del query
        return self.answer_text(answer)

    def parse_text(self, text: str) -> Answer | None:
        """The answer in what a model wrote, None where there is none."""
        raise NotImplementedError

    def opening(self, demos: Sequence[tuple[Any, Answer]], query: Any) -> str:
        """What comes first: the input's own opening where it has one (`OpenedText`), else `instructions`."""
        first = demos[0][0] if demos else query
        return first.opening if isinstance(first, OpenedText) else self.instructions(demos)

    def parse_for(self, task: Task, text: str) -> Answer | None:
        """`parse_text`, for domains where it depends on the task."""
        del task
        return self.parse_text(text)

    # -- tokens --------------------------------------------------------------------------------------

    def bind(self, tokenizer: Any) -> TextDomain:
        """This domain in the tokens of a model.

        Raises:
          ValueError: the model reads no text, or its tokenizer has no token that could end an answer.
        """
        if not callable(getattr(tokenizer, "decode", None)):
            raise ValueError(
                f"tasks.domain {self.name!r} is text, and the model reads none (its tokens are those of "
                f"{getattr(tokenizer, 'name', tokenizer)!r}): choose a language model, such as smollm2-135m-instruct"
            )
        bound = copy.copy(self)
        bound._tokenizer = tokenizer
        bound._tokens = lru_cache(_REMEMBERED)(lambda text: np.array(tokenizer.encode(text, special=False), np.int32))
        bound.vocab_size = tokenizer.vocab_size
        ends, newline = set(tokenizer.stop_tokens), _newline(tokenizer) if self.one_line else None
        stop = newline if newline is not None else tokenizer.eos_token
        if stop is None:
            raise ValueError(
                f"tasks.domain {self.name!r}: the tokenizer has no end-of-text token to end an answer with"
            )
        bound.stop_token, bound._gap = stop, SEPARATOR
        if newline is not None:
            bound._gap = SEPARATOR.removeprefix(NEWLINE)
            # A line may also end in a token that holds more than the newline.
            ends |= {token for token in range(tokenizer.vocab_size) if NEWLINE in tokenizer.decode([token])}
        bound.stop_tokens = tuple(sorted({stop, *ends}))
        bound.pad_token = stop if tokenizer.pad_token is None else tokenizer.pad_token
        bound._start = np.array(tokenizer.encode("", special=True), np.int32)
        return bound

    @cached_property
    def syntax(self) -> Syntax:
        from ttt_jax.decode.syntax import TextSyntax

        return TextSyntax()

    def load(self, config: TasksConfig) -> LoadedTasks:
        """The tasks that the rules leave, each with as many demonstrations as fit `config.demo_tokens`."""
        loaded = self.read(config)
        if config.demo_tokens is not None:
            loaded = replace(loaded, tasks=tuple(self._fit(task, config.demo_tokens) for task in loaded.tasks))
        return choose_tasks(loaded, config, self.prompt_tokens)

    def pieces(self, demos: Sequence[tuple[Any, Answer]], query: Any = None) -> Iterator[tuple[str, int]]:
        """Texts in order, each with the index of the pair whose answer it is, -1 for others."""
        yield self.opening(demos, query), -1
        gap = ""
        for k, (x, y) in enumerate(demos):
            yield gap + self.question(x), -1
            yield self.solved_text(x, y), k
            gap = self._gap
        if query is not None:
            yield gap + self.question(query, alone=not demos), -1

    def encode(self, demos: Sequence[tuple[Any, Answer]], query: Any = None) -> Encoded:
        return self._write(self.pieces(demos, query))

    def encode_solved(self, demos: Sequence[tuple[Any, Answer]], query: Any, answer: Answer) -> Encoded:
        """The prompt of a query, exactly as `encode` writes it, and its answer: what a model is fine-tuned on."""
        return self._write([*self.pieces(demos, query), (self.solved_text(query, answer), len(demos))])

    def _write(self, pieces: Iterable[tuple[str, int]]) -> Encoded:
        parts, outputs = [self._start], [np.full(len(self._start), -1, np.int32)]
        for text, pair in pieces:
            tokens = self._tokens(text)
            if pair >= 0:
                tokens = np.append(tokens, np.int32(self.stop_token))
            parts.append(tokens)
            outputs.append(np.full(len(tokens), pair, np.int32))
        tokens = np.concatenate(parts)
        return Encoded(tokens, np.arange(len(tokens), dtype=np.int32)[:, None], np.concatenate(outputs))

    def prompt(self, demos: Sequence[tuple[Any, Answer]], query: Any) -> str:
        shown = "".join(self.question(x) + self.solved_text(x, y) + SEPARATOR for x, y in demos)
        return self.opening(demos, query) + shown + self.question(query, alone=not demos)

    def prompt_tokens(self, task: Task) -> int:
        """Tokens of the demonstrations and the longest query, as a prompt."""
        return len(self._start) + max(
            sum(len(self._tokens(text)) + (pair >= 0) for text, pair in self.pieces(task.demos, query))
            for query in task.queries
        )

    def text_of(self, tokens: Sequence[int]) -> str:
        """What decoded tokens say: up to the first newline where answers are one line."""
        text = self._tokenizer.decode(tokens)
        return text.split(NEWLINE, 1)[0] if self.one_line else text

    def parse(self, tokens: Sequence[int]) -> Answer | None:
        return self.parse_text(self.text_of(tokens))

    def decoded(self, tokens: Sequence[int], task: Task) -> Answer | None:
        """As `parse`; an answer that ran out of room is read too, as far as it goes."""
        return self.parse_for(task, self.text_of(tokens))

    def _fit(self, task: Task, limit: int) -> Task:
        """Whole demonstrations are dropped, the last first, until the longest prompt fits `limit` tokens."""
        fitted = task
        while fitted.demos and self.prompt_tokens(fitted) > limit:
            fitted = replace(fitted, demos=fitted.demos[:-1])
        return replace(fitted, dropped_demos=len(task.demos) - len(fitted.demos))

    # -- answers and transforms: strings, and the order of the demonstrations ---------------------------

    def same(self, a: Answer, b: Answer) -> bool:
        return self.key(a) == self.key(b)

    def key(self, answer: Answer) -> str:
        """Case and spacing do not count."""
        return " ".join(str(answer).lower().split())

    def to_json(self, answer: Answer) -> Any:
        return answer

    def from_json(self, value: Any) -> Answer:
        return value

    def transform(self, kinds: Sequence[str], task: Task, rng: np.random.Generator) -> Transform:
        check_order(kinds, self.name)
        return random_order(task, rng) if kinds else DemoOrder()

    def views(self, kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[Transform]:
        check_order(kinds, self.name)
        return [DemoOrder(), *(random_order(task, rng) if kinds else DemoOrder() for _ in range(count - 1))]

    def augmenter(self, name: str, task: Task, rng: np.random.Generator) -> Augmenter:
        raise ValueError(f"adapt.examples.augmenters: {self.name} has no augmenters, {name!r} was asked for")

    def rewriter(self, pairs: Sequence[tuple[Any, Answer]]) -> None:
        """None: texts are put together from remembered tokens as it is."""


@dataclass(frozen=True)
class DemoOrder:
    """The demonstrations in another order; questions and answers stay as they are.

    Attributes:
      order: demo `order[i]` comes i-th; empty for the order as given.
    """

    order: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        return f"order({','.join(map(str, self.order))})" if self.order else "identity"

    @property
    def group(self) -> str:
        return "identity"

    def apply(self, task: Task) -> Task:
        return replace(task, demos=tuple(task.demos[i] for i in self.order)) if self.order else task

    def invert(self, answer: Answer) -> Answer:
        return answer


def random_order(task: Task, rng: np.random.Generator) -> DemoOrder:
    """Every order of the task's demonstrations is equally likely."""
    return DemoOrder(tuple(rng.permutation(len(task.demos)).tolist()))


def check_order(kinds: Sequence[str], domain: str) -> None:
    """Raises ValueError at a kind of transform other than `order`."""
    for kind in kinds:
        if kind != "order":
            near = difflib.get_close_matches(kind, ("order",), 1)
            hint = "did you mean 'order'?" if near else "there is only 'order', the order of the demonstrations"
            raise ValueError(f"transforms: {domain} has no transform called {kind!r}: {hint}")


def _newline(tokenizer: Any) -> int | None:
    """The token that is a newline and nothing else; None where there is none."""
    tokens = tokenizer.encode(NEWLINE, special=False)
    return tokens[-1] if tokens and tokenizer.decode(tokens[-1:]) == NEWLINE else None
