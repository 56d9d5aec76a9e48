"""The byte-level BPE tokenizer that a GGUF file describes in its metadata, rebuilt."""

from __future__ import annotations

from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from ttt_jax.model.errors import ModelError
from ttt_jax.model.gguf_file import GGUFSource
from ttt_jax.tokenizers.text import TOKENIZER, TextTokenizer

# Kinds of tokens in tokenizer.ggml.token_type.
CONTROL, USER_DEFINED = 3, 4

# How each kind cuts text before merging, from the tokenizer.json of the models named.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPLITS = {
    "llama-bpe": _WORDS + r"\p{N}{1,3}" + _REST,  # Llama 3
    "qwen2": _WORDS + r"\p{N}" + _REST,
}
_PLAIN = ("gpt-2", "default")
_DIGITS = ("smollm",)


def tokenizer_from_gguf(path: str | Path) -> TextTokenizer:
    """The tokenizer and chat template of a .gguf file.

    A file with a SentencePiece vocabulary (`tokenizer.ggml.model` llama) needs
    the model's tokenizer.json beside it.

    Raises:
      ModelError: names what the metadata lacks, or asks for.
    """
    file = GGUFSource(path)
    if (kind := file.need("tokenizer.ggml.model")) != "gpt2":
        if (file.path.parent / TOKENIZER).is_file():
            return TextTokenizer.load(file.path.parent)
        raise ModelError(f"{path}: tokenizer.ggml.model {kind!r} is not rebuilt; put the model's {TOKENIZER} beside it")

    tokens: list[str] = file.need("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ", 1)) for merge in file.need("tokenizer.ggml.merges")]
    before = file.get("tokenizer.ggml.pre", "default")
    vocab = {token: i for i, token in enumerate(tokens)}
    core = Tokenizer(models.BPE(vocab, merges, ignore_merges=before == "llama-bpe"))
    core.pre_tokenizer = _pre_tokenizer(before, path)
    core.decoder = decoders.ByteLevel()
    if before == "qwen2":
        core.normalizer = normalizers.NFC()

    typed = list(zip(tokens, file.get("tokenizer.ggml.token_type") or [0] * len(tokens), strict=True))
    core.add_special_tokens([AddedToken(token, special=True) for token, kind in typed if kind == CONTROL])
    core.add_tokens([AddedToken(token, normalized=False) for token, kind in typed if kind == USER_DEFINED])

    names = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
    ids = {ours: file.get(f"tokenizer.ggml.{theirs}_token_id") for ours, theirs in names.items()}
    special = {name: None if i is None else tokens[i] for name, i in ids.items()}
    if file.get("tokenizer.ggml.add_bos_token", before == "llama-bpe") and special["bos_token"]:
        bos = special["bos_token"]
        core.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(
                    single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, ids["bos_token"])]
                ),
            ]
        )
    turn_ends = [file.get(f"tokenizer.ggml.{name}_token_id") for name in ("eot", "eom")]
    return TextTokenizer(core, special, [i for i in turn_ends if i is not None], file.get("tokenizer.chat_template"))


def _pre_tokenizer(kind: str, path: str | Path) -> pre_tokenizers.PreTokenizer:
    if kind in _PLAIN:
        return pre_tokenizers.ByteLevel(add_prefix_space=False)
    if kind in _DIGITS:
        digits = pre_tokenizers.Digits(individual_digits=True)
        return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    if kind in _SPLITS:
        split = pre_tokenizers.Split(Regex(_SPLITS[kind]), behavior="isolated")
        return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    known = ", ".join((*_PLAIN, *_DIGITS, *_SPLITS))
    raise ModelError(f"{path}: tokenizer.ggml.pre {kind!r} is not one of {known}")
