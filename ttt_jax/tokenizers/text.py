"""The tokenizer of a text model: text to tokens and back, special tokens, and the chat template."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers

from ttt_jax.model.errors import ModelError
from ttt_jax.tokenizers.chat import ChatTemplate

TOKENIZER, SETTINGS, TEMPLATE = "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"
GENERATION = "generation_config.json"
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class TextTokenizer:
    """Text to tokens and back.

    Args:
      core: of the `tokenizers` package.
      special: the texts of `bos_token`, `eos_token`, `unk_token` and `pad_token`, those that there are.
      stop_tokens: tokens that end an answer, beside eos.
      chat_template: jinja2 source.

    Attributes:
      bos_token, eos_token, pad_token: ids or None; pad falls back to eos.
      stop_tokens: sorted ids.
      vocab_size: number of ids that the tokenizer can give; a model may have room for more.

    Raises:
      ModelError: a special token is not in the vocabulary.
    """

    def __init__(
        self,
        core: tokenizers.Tokenizer,
        special: Mapping[str, str | None] | None = None,
        stop_tokens: Iterable[int] = (),
        chat_template: str | None = None,
    ):
        self.core = core
        self.special = {name: text for name, text in (special or {}).items() if text is not None}
        ids = {name: core.token_to_id(text) for name, text in self.special.items()}
        if absent := [f"{name} {self.special[name]!r}" for name, found in ids.items() if found is None]:
            raise ModelError(f"tokenizer: {', '.join(absent)} not in the vocabulary")
        self.bos_token, self.eos_token = ids.get("bos_token"), ids.get("eos_token")
        self.pad_token = ids.get("pad_token", self.eos_token)
        ends = {*stop_tokens, *([] if self.eos_token is None else [self.eos_token])}
        self.stop_tokens = tuple(sorted(ends))
        self.vocab_size = core.get_vocab_size(with_added_tokens=True)
        self.chat_template = chat_template
        self._chat = ChatTemplate(chat_template, self.special) if chat_template else None

    @classmethod
    def load(cls, path: str | Path) -> TextTokenizer:
        """The tokenizer beside a Hugging Face checkpoint, or the one inside a .gguf file.

        Raises:
          ModelError: there is none, or it cannot be read.
        """
        path = Path(path)
        if path.is_file():
            from ttt_jax.tokenizers.from_gguf import tokenizer_from_gguf

            return tokenizer_from_gguf(path)
        file = path / TOKENIZER
        if not file.is_file():
            pieces = (path / "tokenizer.model").is_file()
            hint = "; tokenizer.model alone is not enough: save it with transformers' fast tokenizer" if pieces else ""
            raise ModelError(f"{file}: no such file{hint}")
        try:
            core = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises a bare Exception
            raise ModelError(f"{file}: cannot be read: {error}") from error
        settings = {**_json(path / "special_tokens_map.json"), **_json(path / SETTINGS)}
        template = _template(settings.get("chat_template"))
        if (path / TEMPLATE).is_file():
            template = (path / TEMPLATE).read_text(encoding="utf-8")
        stops = _json(path / GENERATION).get("eos_token_id", _json(path / "config.json").get("eos_token_id"))
        stops = [] if stops is None else stops if isinstance(stops, list) else [stops]
        return cls(core, {name: _text(settings.get(name)) for name in _SPECIAL}, stops, template)

    def save(self, path: str | Path) -> None:
        """Writes the files that `load`, and transformers' AutoTokenizer, read."""
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        self.core.save(str(path / TOKENIZER))
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **self.special}
        (path / SETTINGS).write_text(json.dumps(settings, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        if self.chat_template:
            (path / TEMPLATE).write_text(self.chat_template, encoding="utf-8")
        if self.stop_tokens:
            record = {"bos_token_id": self.bos_token, "eos_token_id": list(self.stop_tokens)}
            (path / GENERATION).write_text(json.dumps(record, indent=2) + "\n")

    def encode(self, text: str, special: bool = True) -> list[int]:
        """Tokens of a text.

        Args:
          special: also what the model puts around every text (for most, a first `bos_token`).
        """
        return self.core.encode(text, add_special_tokens=special).ids

    def encode_batch(self, texts: Sequence[str], special: bool = True) -> list[list[int]]:
        """`encode` of many texts, in parallel."""
        return [encoding.ids for encoding in self.core.encode_batch(list(texts), add_special_tokens=special)]

    def decode(self, tokens: Sequence[int], special: bool = False) -> str:
        """The text of tokens; special tokens are left out, or written as they are."""
        return self.core.decode([int(token) for token in tokens], skip_special_tokens=not special)

    def render_chat(self, messages: Sequence[Mapping[str, str]], generation_prompt: bool = True, **values: Any) -> str:
        """The text of a conversation under the chat template.

        Args:
          messages: `{"role": "system" | "user" | "assistant", "content": text}`, in order.
          generation_prompt: end with the opening of an assistant's turn.
          values: further variables of the template.

        Raises:
          ModelError: the tokenizer has no template, or the template refuses the conversation.
        """
        if self._chat is None:
            raise ModelError("tokenizer: there is no chat template; write the prompt as plain text")
        return self._chat.render(messages, generation_prompt, **values)

    def encode_chat(
        self, messages: Sequence[Mapping[str, str]], generation_prompt: bool = True, **values: Any
    ) -> list[int]:
        """Tokens of a conversation; the template itself writes the special tokens."""
        return self.encode(self.render_chat(messages, generation_prompt, **values), special=False)


def _json(file: Path) -> dict[str, Any]:
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ModelError(f"{file}: cannot be read: {error}") from error


def _text(token: Any) -> str | None:
    """A special token as a string, or as the record of an added token."""
    return token["content"] if isinstance(token, dict) else token


def _template(template: Any) -> str | None:
    """One template, or the one called `default` of several."""
    if isinstance(template, list):
        return {entry["name"]: entry["template"] for entry in template}.get("default")
    return template
