"""Chat templates: the jinja2 source that a model brings, run in a sandbox."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from ttt_jax.model.errors import ModelError


def _refuse(message: str) -> None:
    raise jinja2.TemplateError(message)


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    # jinja2's own filter escapes <, > and & for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _now(form: str) -> str:
    return datetime.now().strftime(form)


class Turns(NamedTuple):
    """What stands around the user's and the assistant's words in a conversation of several turns.

    Attributes:
      first: before the first question.
      answer: between a question and its answer.
      again: between the stop token of an answer and the next question.
    """

    first: str
    answer: str
    again: str


def chat_turns(tokenizer: Any, stop_token: int) -> Turns:
    """The turns of a tokenizer's chat template, special tokens written as text.

    Args:
      tokenizer: a `TextTokenizer`.
      stop_token: ends answers, so the template must write it there.

    Raises:
      ModelError: there is no template, or turns cannot be put one after the other.
    """
    question, answer, second = "THE FIRST QUESTION", "THE ANSWER", "THE SECOND QUESTION"
    roles = (("user", question), ("assistant", answer), ("user", second))
    text = tokenizer.render_chat([{"role": role, "content": content} for role, content in roles])
    first, _, rest = text.partition(question)
    opened, _, rest = rest.partition(answer)
    between, _, closed = rest.partition(second)
    stop = tokenizer.decode([stop_token], special=True)
    if closed != opened or not between.startswith(stop):
        raise ModelError(
            f"chat template: answers do not end with {stop!r}, or turns differ from one another; leave out chat=true"
        )
    # What the tokenizer puts before every text is there already.
    return Turns(first.removeprefix(tokenizer.decode(tokenizer.encode(""), special=True)), opened, between[len(stop) :])


class ChatTemplate:
    """A conversation as text.

    Args:
      source: jinja2, with the variables and functions that Hugging Face's templates use.
      special: texts of the special tokens, by name (`bos_token`).

    Raises:
      ModelError: the source is not jinja2.
    """

    def __init__(self, source: str, special: Mapping[str, str]):
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
        self.special = dict(special)
        try:
            self.template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ModelError(f"chat template: {error}") from error

    def render(self, messages: Sequence[Mapping[str, str]], generation_prompt: bool, **values: Any) -> str:
        variables = {"tools": None, "documents": None, **self.special, **values}
        try:
            return self.template.render(messages=messages, add_generation_prompt=generation_prompt, **variables)
        except jinja2.TemplateError as error:
            raise ModelError(f"chat template: {error}") from error
