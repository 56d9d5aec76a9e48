"""Likelihoods of given answers: one batched forward pass, each task with its own adapter."""

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
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.mesh import over_tasks, put, tasks_here
from ttt_jax.tasks.task import Answer, Domain, Encoded

# Tokens in one forward pass: bounds its activations, more fills no accelerator better.
SCORE_TOKENS = 1 << 16


def score(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    tokens: Int[np.ndarray, "T R L"],
    positions: Int[np.ndarray, "T R L axes"],
    weights: Float[np.ndarray, "T R L"],
) -> Float[np.ndarray, "T R"]:
    """Weighted log-likelihood of every sequence, in nats.

    Args:
      model: the decoder; its dtype is the compute type.
      base: parameters shared by all tasks.
      adapted: variables of each task, stacked along a leading axis: {"lora": adapters}, or
        {"params": ...} after full-weight adaptation; None is the base alone (in-context).
      tokens: right-padded sequences of T tasks; padding has weight 0.
      positions: as the model takes them.
      weights: weights[t, r, i] times log p(tokens[t, r, i] | what precedes it)
        is summed over i; the first token cannot be predicted and is ignored.
    """
    base, adapted = cast(base, model.dtype), cast(adapted, model.dtype)
    return np.asarray(_score(model, base, adapted, *put((tokens, positions, weights))))


@partial(jax.jit, static_argnames="model")
def _score(model: Decoder, base: Any, adapted: Any | None, tokens, positions, weights) -> Float[Array, "T R"]:
    def one_task(adapter, tokens, positions, weights):
        collections = variables(base, adapter)
        hidden, _ = model.apply(collections, tokens, positions, method="hidden")
        # The whole length goes through, the last position against a dummy
        # target of weight 0, so that lengths stay those of the buckets.
        targets = jnp.roll(tokens, -1, axis=1)
        weights = jnp.roll(weights, -1, axis=1).at[:, -1].set(0.0)
        logprobs: Any = model.apply(collections, hidden, targets, method="token_logprobs")
        return jnp.sum(jnp.where(weights == 0, 0.0, weights * logprobs), axis=1)

    return over_tasks(one_task)(adapted, tokens, positions, weights)


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
    stop token included. All sequences go through in a few batches of one shape
    a length.

    Args:
      model, base, adapted: as for `score`; entry t belongs to query t.
      views: of T queries.
      answers: of the same queries, each in its task's own frame (`select.likelihood.likeliest`).
      domain: writes answers and gives them their keys.
      lengths: length buckets that sequences are padded to; prompts fit the largest.

    Returns:
      For each query, by `domain.key(answer)`, nats under each view, in the order of the views.
    """
    base, adapted = cast(base, model.dtype), cast(adapted, model.dtype)
    rows = [
        # Longest first, so that later batches are shorter.
        sorted(
            (_row(i, view, answer, domain) for answer in of_query for i, view in enumerate(views[t])),
            key=lambda r: -len(r.written),
        )
        for t, of_query in enumerate(answers)
    ]
    found: list[dict[str, list[float]]] = [
        {domain.key(a): [math.nan] * len(views[t]) for a in of_query} for t, of_query in enumerate(answers)
    ]
    # A prompt fits the largest bucket; its answer may reach beyond.
    sizes = (*lengths, max(lengths) + domain.max_answer_tokens)
    most, start = max(map(len, rows), default=0), 0
    while start < most:
        needed = max(len(of_query[start].written) for of_query in rows if start < len(of_query))
        length = min(size for size in sizes if size >= needed)
        # A power of two of rows: few compiled shapes, however many candidates there are.
        fitting = max(1, SCORE_TOKENS // (length * tasks_here(len(rows))))
        block = min(1 << (fitting.bit_length() - 1), 1 << (most - 1).bit_length())
        batch = [of_query[start : start + block] for of_query in rows]
        scores = score(model, base, adapted, *_pad(batch, block, length, domain))
        for of_answers, of_query, values in zip(found, batch, scores, strict=True):
            for row, value in zip(of_query, values, strict=False):
                of_answers[row.key][row.view] = float(value)
        start += block
    return found


class _Row(NamedTuple):
    """One answer written in one view, and which of its tokens count."""

    key: str
    view: int
    written: Encoded
    weights: np.ndarray


def _row(index: int, view: View, answer: Answer, domain: Domain) -> _Row:
    # The answer goes through the transform as the answer of a task whose only
    # query is this one, so that it changes exactly as the demos do.
    solved = replace(view.task, queries=(view.task.queries[view.query],), answers=(answer,))
    shown = view.transform.apply(solved)
    assert shown.answers is not None
    written = domain.encode([*shown.demos, (shown.queries[0], shown.answers[0])])
    return _Row(domain.key(answer), index, written, (written.outputs == len(shown.demos)).astype(np.float32))


def _pad(batch: Sequence[Sequence[_Row]], rows: int, length: int, domain: Domain):
    """tokens, positions and weights of `score`; missing rows are padding of weight 0."""
    shape = (len(batch), rows, length)
    tokens = np.full(shape, domain.pad_token, np.int32)
    positions = np.zeros((*shape, domain.position_axes), np.int32)
    weights = np.zeros(shape, np.float32)
    for t, of_query in enumerate(batch):
        for r, row in enumerate(of_query):
            size = len(row.written)
            tokens[t, r, :size] = row.written.tokens
            positions[t, r, :size] = row.written.positions
            weights[t, r, :size] = row.weights
    return tokens, positions, weights
