"""A text that remembers the problem it was written from."""

from __future__ import annotations

from typing import Any


class ProblemText(str):
    """What a model reads: a plain string wherever one is expected, JSON included.

    Transforms rewrite the problem, not the text, so the text carries it. A
    text that was read back from disk is a plain `str` and cannot be transformed.

    Attributes:
      problem: a frozen dataclass whose `str()` is this text.
      steps: whether the steps to the answer are asked for, and shown where this is a demonstration.
      chat: whether it is asked as a user's turn of the model's chat template.
    """

    problem: Any
    steps: bool
    chat: bool

    def __new__(cls, problem: Any, steps: bool = False, chat: bool = False) -> ProblemText:
        text = super().__new__(cls, str(problem))
        text.problem, text.steps, text.chat = problem, steps, chat
        return text

    def __reduce__(self) -> tuple:
        return ProblemText, (self.problem, self.steps, self.chat)

    def rewritten(self, problem: Any) -> ProblemText:
        """Another problem, asked in the same way."""
        return ProblemText(problem, self.steps, self.chat)


def problem_of(text: Any, kind: type) -> Any:
    """The problem behind a query input.

    Raises:
      ValueError: the text has none, or one of another domain.
    """
    if isinstance(text, ProblemText) and isinstance(text.problem, kind):
        return text.problem
    raise ValueError(
        f"a query input carries no {kind.__name__}: it was not made by this domain's `read`, "
        "or went through a file; load the tasks again"
    )


def with_steps(text: Any) -> bool:
    """Whether an input asks for steps; False for texts without a problem."""
    return isinstance(text, ProblemText) and text.steps
