"""How few-shot prompts of the reasoning domains are put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

SEPARATOR = "\n\n"
"""Between a solved example and what follows."""


class FewShotPrompts:
    """`prompt` from parts that a domain writes.

    A prompt is `instructions`, then `question` and `answer_text` of each
    demo, each closed by SEPARATOR, then the question asked. So a prompt with
    one more demo begins like the one before, and the place of every answer in
    it is known.
    """

    def instructions(self, demos: Sequence[tuple[str, Any]]) -> str:
        """What comes first. May depend on whether there are demos, never on the question."""
        raise NotImplementedError

    def question(self, query: str, alone: bool = False) -> str:
        """One problem, up to where its answer begins; `alone` without demos, which would show the answer's form."""
        raise NotImplementedError

    def answer_text(self, answer: Any) -> str:
        """An answer as a demo shows it and as `parse_text` reads it."""
        raise NotImplementedError

    def prompt(self, demos: Sequence[tuple[str, Any]], query: str) -> str:
        """The whole prompt; the answer is what follows it."""
        shown = "".join(self.question(x) + self.answer_text(y) + SEPARATOR for x, y in demos)
        return self.instructions(demos) + shown + self.question(query, alone=not demos)
