"""Training batches of worked problems as text, each a pure function of (seed, step).

A row is one task of the generators' train splits: solved examples, a problem,
the oracle's steps and the answer, in the very tokens that the problem's domain
is asked and answered in later. Rows that fill a smaller bucket are drawn again.
Only numpy here: worker processes import this module and must not start jax.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import numpy as np

from ttt_jax.tasks.problem_domain import ProblemDomain
from ttt_jax.tasks.registry import get_domain
from ttt_jax.tasks.task import Encoded, Task, keyed_rng
from ttt_jax.tokenizers.text import TextTokenizer
from ttt_jax.train.config import TracesConfig, TrainConfig
from ttt_jax.train.data import NO_LOSS, roles

# Draws for one row; the fullest that fits is then taken.
_MAX_DRAWS = 40

_EVAL_TOKENS = 8192

Source = tuple[ProblemDomain, Any]
"""A domain in the tokens of the model, and the options of one of its sources."""


@dataclass(frozen=True)
class TextBatch:
    """Sequences of one length; `data.Batch` for text.

    Attributes:
      tokens: int32[rows, length].
      roles: uint8[rows, length], as in `data`; the outputs are steps and answers.
      real_tokens: how many are not padding.
      pairs: how many tasks were drawn for it, those thrown away not counted.
      seconds: CPU time that making it took.
      failures: tasks thrown away, by reason.
    """

    tokens: np.ndarray
    roles: np.ndarray
    real_tokens: int
    pairs: int
    seconds: float
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    def arrays(self) -> dict[str, np.ndarray]:
        return {"tokens": self.tokens, "roles": self.roles}


@lru_cache
def open_sources(sources: tuple[str, ...], tokenizer: str, seed: int) -> tuple[Source, ...]:
    """Domains and options of `tasks.source` texts.

    Args:
      sources: of generated domains.
      tokenizer: the directory or .gguf file that it is read from.
      seed: of the generators; takes the place of the sources' own.

    Raises:
      ValueError: there is no such domain, split or option.
    """
    text = TextTokenizer.load(tokenizer)
    opened = []
    for source in sources:
        domain = get_domain(source.partition("/")[0])
        if not isinstance(domain, ProblemDomain):
            raise ValueError(f"traces.sources: {source!r}: the domain {domain.name!r} has no generator")
        bound = domain.bind(text)
        assert isinstance(bound, ProblemDomain)
        opened.append((bound, replace(bound.parse_options(source), seed=seed)))
    return tuple(opened)


def make_batch(config: TracesConfig, tokenizer: str, seed: int, step: int) -> TextBatch:
    """The training batch of a step."""
    rng = keyed_rng("length", seed, step)
    length = config.lengths[int(rng.choice(len(config.lengths), p=config.length_probabilities))]
    sources = open_sources(config.sources, tokenizer, seed)
    return make_rows(config, sources, length, config.rows(length), ("train", seed, step))


def make_rows(
    config: TracesConfig, sources: Sequence[Source], length: int, rows: int, key: tuple[str | int, ...]
) -> TextBatch:
    """`rows` sequences of at most `length` tokens, padded; row i is drawn from `(*key, i)`.

    Args:
      config: lengths, and the weights of its sources.
      sources: drawn from by `config.weights` where these are as many, else equally.
      length: a bucket of the config.
      rows: sequences.
      key: names this batch among all others.

    Raises:
      ValueError: no task of any source fits.
    """
    started = time.process_time()
    batch = TextBatch(
        tokens=np.full((rows, length), sources[0][0].pad_token, np.int32),
        roles=np.full((rows, length), NO_LOSS, np.uint8),
        real_tokens=0,
        pairs=0,
        seconds=0.0,
    )
    real_tokens = drawn = 0
    for i in range(rows):
        encoded, tries = _draw_row(config, sources, length, keyed_rng("traces", *key, i), batch.failures)
        n = len(encoded)
        batch.tokens[i, :n] = encoded.tokens
        batch.roles[i, :n] = roles(encoded.outputs, int(encoded.outputs.max()) + 1)
        real_tokens, drawn = real_tokens + n, drawn + tries
    seconds = time.process_time() - started
    return replace(batch, real_tokens=real_tokens, pairs=drawn, seconds=seconds)


def _draw_row(
    config: TracesConfig, sources: Sequence[Source], length: int, rng: np.random.Generator, failures: Counter[str]
) -> tuple[Encoded, int]:
    """A worked task that no smaller bucket holds, else the longest of several that fit; and how many were drawn."""
    weights = np.array(config.weights if len(config.weights) == len(sources) else [1.0] * len(sources))
    smaller = max((n for n in config.lengths if n < length), default=0)
    best: Encoded | None = None
    for tries in range(1, _MAX_DRAWS + 1):
        domain, options = sources[int(rng.choice(len(sources), p=weights / weights.sum()))]
        try:
            task = domain.draw_task(options, int(rng.integers(2**31)))
        except ValueError:  # the generator gave up on a rare combination of options
            failures["not generated"] += 1
            continue
        encoded = _fit(domain, task, length)
        if encoded is None:
            failures["too long"] += 1
            continue
        if best is None or len(encoded) > len(best):
            best = encoded
        if len(best) > smaller:
            return best, tries
    if best is None:
        raise ValueError(f"no task of the traces' sources fits in {length} tokens: raise traces.lengths")
    return best, _MAX_DRAWS


def _fit(domain: ProblemDomain, task: Task, length: int) -> Encoded | None:
    """The worked task, without as many of its last demos as it takes to fit; a few-shot task keeps at least one."""
    assert task.answers is not None
    for demos in range(len(task.demos), min(len(task.demos), 1) - 1, -1):
        encoded = domain.encode_solved(task.demos[:demos], task.queries[0], task.answers[0])
        if len(encoded) <= length:
            return encoded
    return None


def eval_batches(config: TrainConfig, tokenizer: str) -> dict[str, list[TextBatch]]:
    """Fixed sequences, the same at every step: `held_out` sources, and `fresh` tasks of the training sources."""
    data = config.traces
    assert data is not None
    if not config.eval.every:
        return {}
    length = config.eval.length
    # The whole logits of a batch are computed: of a vocabulary of 50,000, these take about two gigabytes.
    rows = max(1, _EVAL_TOKENS // (length * data.row_multiple)) * data.row_multiple
    batches = -(-config.eval.rows // rows)
    return {
        name: [
            make_rows(data, open_sources(sources, tokenizer, config.seed), length, rows, (name, config.seed, b))
            for b in range(batches)
        ]
        for name, sources in (("held_out", data.held_out or data.sources), ("fresh", data.sources))
    }
