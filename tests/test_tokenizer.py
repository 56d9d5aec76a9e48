"""The wrapper around a text model's tokenizer: round trips, special tokens, chat, and files that lack something."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tokenizers import processors

from tests.random_checkpoint import byte_tokenizer
from ttt_jax.model.io import ModelError
from ttt_jax.tokenizers.text import TextTokenizer

CHAT = [{"role": "user", "content": " Hi <b> & 'you' "}, {"role": "assistant", "content": "Hello"}]


@pytest.mark.parametrize("text", ["", "the thin thing", "  two\n\n\tlines ", "naïve 日本 🙂", "<b> a < b"])
def test_text_survives_encoding_and_decoding(text: str) -> None:
    tokenizer = byte_tokenizer()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.encode_batch([text, "x"]) == [tokenizer.encode(text), tokenizer.encode("x")]


def test_special_tokens_are_left_out_of_text_unless_asked_for() -> None:
    tokenizer = byte_tokenizer()
    tokens = [tokenizer.bos_token, *tokenizer.encode("the end"), tokenizer.eos_token]
    assert tokenizer.decode(tokens) == "the end"
    assert tokenizer.decode(tokens, special=True) == "<bos>the end<eos>"
    assert tokenizer.encode("<bos>the end<eos>") == tokens


def test_what_the_model_puts_around_a_text_can_be_left_out() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.core.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.bos_token)]
    )
    assert tokenizer.encode("the") == [tokenizer.bos_token, *tokenizer.encode("the", special=False)]


def test_a_conversation_follows_the_template() -> None:
    tokenizer = byte_tokenizer()
    text = tokenizer.render_chat(CHAT)
    assert text == "<bos>[user] Hi <b> & 'you'\n[assistant] Hello\n[assistant] "
    assert not tokenizer.render_chat(CHAT, generation_prompt=False).endswith("[assistant] ")
    tokens = tokenizer.encode_chat(CHAT)
    assert tokens[0] == tokenizer.bos_token and tokens.count(tokenizer.bos_token) == 1


def test_a_template_may_refuse_write_json_and_leave_loops() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'x' %}{{ raise_exception('no role x') }}{% endif %}"
        "{% if loop.index > 1 %}{% break %}{% endif %}{{ m | tojson }}{{ strftime_now('%Y')[:2] }}{% endfor %}"
    )
    tokenizer = TextTokenizer(byte_tokenizer().core, chat_template=source)
    assert tokenizer.render_chat(CHAT) == json.dumps(CHAT[0], ensure_ascii=False) + "20"
    with pytest.raises(ModelError, match="no role x"):
        tokenizer.render_chat([{"role": "x", "content": ""}])


def test_a_template_cannot_reach_python() -> None:
    tokenizer = TextTokenizer(byte_tokenizer().core, chat_template="{{ messages.__class__.__base__.__subclasses__() }}")
    with pytest.raises(ModelError, match="chat template"):
        tokenizer.render_chat(CHAT)


def test_without_a_template_there_is_no_chat() -> None:
    with pytest.raises(ModelError, match="no chat template"):
        TextTokenizer(byte_tokenizer().core).render_chat(CHAT)


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    original = byte_tokenizer()
    core, special, end = original.core, original.special, original.encode("e")[0]
    TextTokenizer(core, special, [end], original.chat_template).save(tmp_path)
    loaded = TextTokenizer.load(tmp_path)
    assert loaded.encode("the end <eos>") == original.encode("the end <eos>")
    assert loaded.render_chat(CHAT) == original.render_chat(CHAT)
    assert (loaded.bos_token, loaded.eos_token, loaded.pad_token) == (0, 1, 1)
    assert loaded.stop_tokens == tuple(sorted({original.eos_token, end}))


def test_special_tokens_and_templates_are_read_in_every_spelling(tmp_path: Path) -> None:
    original = byte_tokenizer()
    original.save(tmp_path)
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / "generation_config.json").unlink()
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": {"content": "<bos>"}, "eos_token": "t"}))
    templates = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "{{ bos_token }}yes"}]
    settings = {"eos_token": {"content": "<eos>", "lstrip": False}, "pad_token": None, "chat_template": templates}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    (tmp_path / "config.json").write_text(json.dumps({"eos_token_id": [1, 7]}))
    loaded = TextTokenizer.load(tmp_path)
    assert (loaded.bos_token, loaded.eos_token, loaded.stop_tokens) == (0, 1, (1, 7))
    assert loaded.render_chat([]) == "<bos>yes"


def test_a_directory_without_a_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json: no such file"):
        TextTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"")
    with pytest.raises(ModelError, match="fast tokenizer"):
        TextTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json: cannot be read"):
        TextTokenizer.load(tmp_path)


def test_a_special_token_outside_the_vocabulary_is_named() -> None:
    with pytest.raises(ModelError, match="eos_token '<end>' not in the vocabulary"):
        TextTokenizer(byte_tokenizer().core, {"eos_token": "<end>"})
