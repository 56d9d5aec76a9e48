"""Likelihoods of given answers under views of a query: prompts are read once, every answer attends to its own.

Shapes: T queries (each with its task's adapter), P prompt length, C answers of
a query, S length of an answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttt_jax.decode.params import cast, variables
from ttt_jax.decode.views import View
from ttt_jax.model.cache import Cache, Prefix
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.mesh import over_tasks, put, tasks_here
from ttt_jax.tasks.task import Answer, Domain, Encoded

# Bytes of attention scores that answers may take at a time.
SCORE_BYTES = 1 << 30


def score_candidates(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    views: Sequence[Sequence[View]],
    answers: Sequence[Sequence[Answer]],
    domain: Domain,
    lengths: Sequence[int],
) -> list[dict[str, list[float]]]:
    """The likelihood of each query's answers under each of its views (Franzen et al., ICML 2025).

    That of an answer in a view is the log-probability of writing it there, its
    stop token included.

    Args:
      model: the decoder; its dtype is the compute type.
      base: parameters shared by all tasks.
      adapted: variables of each query's task, stacked along a leading axis: {"lora": adapters}, or
        {"params": ...} after full-weight adaptation; None is the base alone (in-context).
      views: of T queries.
      answers: of the same queries, each in its task's own frame (`select.likelihood.likeliest`).
      domain: writes answers and gives them their keys.
      lengths: length buckets that prompts are padded to; they fit the largest.

    Returns:
      For each query, by `domain.key(answer)`, nats under each view, in the order of the views.
    """
    base, adapted = cast(base, model.dtype), cast(adapted, model.dtype)
    found: list[dict[str, list[float]]] = [
        {domain.key(a): [math.nan] * len(views[t]) for a in of_query} for t, of_query in enumerate(answers)
    ]

    def keep(running: list[tuple[int, list[list[_Row]], Array]]) -> None:
        for v, batch, scores in running:
            for of_answers, of_query, values in zip(found, batch, np.asarray(scores), strict=True):
                for row, value in zip(of_query, values, strict=False):
                    of_answers[row.key][v] = float(value)

    running: list[tuple[int, list[list[_Row]], Array]] = []
    for v in range(max((len(of_query) for of_query in views), default=0)):
        rows = [
            # Longest first, so that later batches are shorter.
            sorted((_row(views[t][v], answer, domain) for answer in of_query), key=lambda row: -row.length)
            if v < len(views[t])
            else []
            for t, of_query in enumerate(answers)
        ]
        most, start = max(map(len, rows)), 0
        if not most:
            continue
        opened = max(row.opened for of_query in rows for row in of_query)
        P = min(size for size in lengths if size >= opened)
        heads = _pad([[(row.written, 0, row.opened) for row in of_query[:1]] for of_query in rows], 1, P, domain)
        prefix = read_heads(model, base, adapted, *put(tuple(x[:, 0] for x in heads)))
        begun = []
        while start < most:
            needed = max(of_query[start].length for of_query in rows if start < len(of_query))
            # Powers of two: few compiled shapes, however many answers there are and however long.
            S = max(64, 1 << (needed - 1).bit_length())
            bytes_a_row = tasks_here(len(rows)) * model.config.num_heads * S * (P + S) * 4
            C = min(1 << (max(1, SCORE_BYTES // bytes_a_row).bit_length() - 1), 1 << (most - 1).bit_length())
            batch = [of_query[start : start + C] for of_query in rows]
            parts = [[(row.written, row.opened, len(row.written)) for row in of_query] for of_query in batch]
            begun.append((v, batch, score_tails(model, base, adapted, prefix, *put(_pad(parts, C, S, domain)))))
            start += C
        # The device computes one view while the answers of the next are written.
        keep(running)
        running = begun
    keep(running)
    return found


@partial(jax.jit, static_argnames="model")
def read_heads(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    tokens: Int[Array, "T P"],
    positions: Int[Array, "T P axes"],
    lengths: Int[Array, " T"],
) -> Prefix:
    """Keys and values of one right-padded prompt a query: per layer [T, kv_heads, P, head_dim]."""

    def read(of_task, tokens, positions):
        cache = Cache.empty(model.config, 1, tokens.shape[0], model.dtype)
        _, cache = model.apply(variables(base, of_task), tokens[None], positions[None], None, cache, method="hidden")
        return jax.tree.map(lambda x: x[0], (cache.keys, cache.values))

    keys, values = over_tasks(read)(adapted, tokens, positions)
    return Prefix(keys, values, jnp.asarray(lengths))


@partial(jax.jit, static_argnames="model")
def score_tails(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prefix: Prefix,
    tokens: Int[Array, "T C S"],
    positions: Int[Array, "T C S axes"],
    lengths: Int[Array, "T C"],
) -> Float[Array, "T C"]:
    """Log-probability of right-padded sequences after their query's prompt, their first token excepted; 0 of none."""

    def one_task(of_task, of_query, tokens, positions, lengths):
        collections = variables(base, of_task)
        cache = replace(Cache.empty(model.config, tokens.shape[0], tokens.shape[1], model.dtype), prefix=of_query)
        hidden, _ = model.apply(collections, tokens, positions, None, cache, method="hidden")
        # The whole length goes through, the last position against a dummy target that does not count.
        targets = jnp.roll(tokens, -1, axis=1)
        logprobs: Any = model.apply(collections, hidden, targets, method="token_logprobs")
        counts = jnp.arange(tokens.shape[1])[None] < lengths[:, None] - 1
        return jnp.sum(jnp.where(counts, logprobs, 0.0), axis=1)

    return over_tasks(one_task)(adapted, prefix, tokens, positions, lengths)


class _Row(NamedTuple):
    """One answer written in one view.

    Attributes:
      key: of the answer.
      written: prompt and answer.
      opened: where the last token of the prompt stands, which predicts the answer's first.
    """

    key: str
    written: Encoded
    opened: int

    @property
    def length(self) -> int:
        """Tokens from `opened` on."""
        return len(self.written) - self.opened


def _row(view: View, answer: Answer, domain: Domain) -> _Row:
    # The answer goes through the transform as the answer of a task whose only
    # query is this one, so that it changes exactly as the demos do.
    solved = replace(view.task, queries=(view.task.queries[view.query],), answers=(answer,))
    shown = view.transform.apply(solved)
    assert shown.answers is not None
    written = domain.encode([*shown.demos, (shown.queries[0], shown.answers[0])])
    return _Row(domain.key(answer), written, int(np.flatnonzero(written.outputs == len(shown.demos))[0]) - 1)


def _pad(parts: Sequence[Sequence[tuple[Encoded, int, int]]], rows: int, length: int, domain: Domain):
    """Tokens, positions and lengths of parts (sequence, from, to), padded to [T, rows, length]; absent rows have 0."""
    shape = (len(parts), rows, length)
    tokens = np.full(shape, domain.pad_token, np.int32)
    positions = np.zeros((*shape, domain.position_axes), np.int32)
    lengths = np.zeros(shape[:2], np.int32)
    for t, of_query in enumerate(parts):
        for r, (written, start, stop) in enumerate(of_query):
            size = lengths[t, r] = stop - start
            tokens[t, r, :size] = written.tokens[start:stop]
            positions[t, r, :size] = written.positions[start:stop]
    return tokens, positions, lengths
