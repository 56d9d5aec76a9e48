"""Likelihoods of given answers under views of a query, in a few shapes that are known before a run.

A view's prompt is read once, `read_heads`, or what decoding has read of it is
taken up, `view_heads`; its answers then attend to those keys and values and to
their own tokens, `score_tails`, in passes of `PASS_TOKENS` tokens. How many rows
and how many passes there are is data, not shape, so one program serves any
number of answers up to `rows`, and any length up to its room. Which room an
answer is scored in depends on its own length alone.

Shapes: T lots (some answers of one query, with its task's adapter; queries, where prompts are read), P prompt length,
C answers of a lot, S room for an answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttt_jax.decode.blocks import block_rows
from ttt_jax.decode.lots import (
    PASS_TOKENS,
    Lot,
    Row,
    ScoreShapes,
    Tails,
    computed_tokens,
    heads_of,
    lot_batches,
    scored_together,
    tails_of,
    written_row,
)
from ttt_jax.decode.params import cast, take, variables
from ttt_jax.decode.views import View
from ttt_jax.model.cache import Cache, Prefix
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.mesh import alone, constrain, over_tasks, put, tasks_here
from ttt_jax.tasks.task import Answer, Domain

# Prompt tokens that go through the model at a time.
HEAD_TOKENS = 1 << 16

# Mapped over tasks: everything but the write index, so that a write stays one slice for all rows.
_CACHE_AXES = Cache(keys=0, values=0, valid=0, length=None, prefix=0, spans=0)  # pyright: ignore[reportArgumentType]


def score_candidates(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    views: Sequence[Sequence[View]],
    answers: Sequence[Sequence[Answer]],
    domain: Domain,
    shapes: ScoreShapes,
    read: Read | None = None,
    on_padding: Callable[[int, int], None] = lambda computed, useful: None,
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
      shapes: prompts fit its length.
      read: where the same views were decoded: what was read then, from prompts padded to the same length.
      on_padding: told for each batch how many tokens of answers are computed, and how many of them are of use.

    Returns:
      For each query, by `domain.key(answer)`, nats under each view, in the order of the views.
    """
    base, adapted = cast(base, model.dtype), cast(adapted, model.dtype)
    found: list[dict[str, list[float]]] = [
        {domain.key(a): [math.nan] * len(views[t]) for a in of_query} for t, of_query in enumerate(answers)
    ]

    def rows_of(t: int, v: int) -> list[Row]:
        return [written_row(views[t][v], answer, domain) for answer in answers[t]] if v < len(views[t]) else []

    T = len(views)
    lots, size = scored_together(T, shapes.rows)
    mixed = alone()

    def keep(running: list[_Running]) -> None:
        for of_view in running:
            for (t, rows), values in zip(of_view.lots, np.asarray(of_view.scores), strict=False):
                for row, value in zip(rows, values, strict=False):
                    found[t][row.key][of_view.view] = float(value)

    running: list[_Running] = []
    for v in range(max(map(len, views), default=0)):
        rows = [rows_of(t, v) for t in range(T)]
        if not any(rows):
            continue
        heads = heads_of(rows, shapes.length, domain)
        prefix = read_heads(model, base, adapted, *put(heads)) if read is None else None
        begun = []
        for room, batch in lot_batches(rows, shapes, lots, size, mixed):
            which = np.array([t for t, _ in batch], np.int32) if mixed else None
            own = adapted if adapted is None or which is None else take(adapted, which)
            if prefix is not None:
                own_prefix = prefix if which is None else take(prefix, which)
            else:
                assert read is not None
                cache, row = read.of_view(v)
                lengths = heads[2] if which is None else heads[2][which]
                own_prefix = view_heads(
                    cache.keys, cache.values, np.int32(row), which, put(lengths), length=shapes.length
                )
            tails, most = tails_of([of_lot for _, of_lot in batch], size, room, domain)
            begun.append(_Running(v, batch, score_tails(model, base, own, own_prefix, put(tails), most)))
            on_padding(lots * size * computed_tokens(int(most.max()), room), int(tails.lengths.sum()))
        # The device computes one view while the answers of the next are written.
        keep(running)
        running = begun
    keep(running)
    return found


class _Running(NamedTuple):
    """Scores that the device computes.

    Attributes:
      view: index.
      lots: as `lot_batches` makes them.
      scores: nats, of each lot.
    """

    view: int
    lots: Sequence[Lot]
    scores: Float[Array, "T C"]


class Read(NamedTuple):
    """What decoding has read of the prompts that are scored.

    Attributes:
      cache: T queries x (views x samples) rows.
      samples: rows of a view.
      first: of T x 1 rows, where the first view was decoded alone; `cache` then lacks it.
    """

    cache: Cache
    samples: int
    first: Cache | None = None

    def of_view(self, v: int) -> tuple[Cache, int]:
        """Where the prompt of a view was read: a cache, and a row of every query in it."""
        if self.first is None:
            return self.cache, v * self.samples
        return (self.first, 0) if v == 0 else (self.cache, (v - 1) * self.samples)


@partial(jax.jit, static_argnames="model")
def read_heads(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    tokens: Int[Array, "T P"],
    positions: Int[Array, "T P axes"],
    lengths: Int[Array, " T"],
) -> Prefix:
    """Keys and values of one right-padded prompt a query: per layer [T, kv_heads, P, head_dim].

    Prompts go through the model at most about `HEAD_TOKENS` tokens at a time.
    """
    T, P = tokens.shape
    here = tasks_here(T)
    turns = min(n for n in range(1, here + 1) if here % n == 0 and (n == here or here // n * P <= HEAD_TOKENS))

    def read(of_task, tokens, positions):
        cache = Cache.empty(model.config, 1, P, model.dtype)
        _, cache = model.apply(variables(base, of_task), tokens[None], positions[None], None, cache, method="hidden")
        return jax.tree.map(lambda x: x[0], (cache.keys, cache.values))

    def in_turns(x):
        return x.reshape(T // turns, turns, *x.shape[1:]).swapaxes(0, 1)

    if turns == 1:
        keys, values = over_tasks(read)(adapted, tokens, positions)
    else:
        arguments = jax.tree.map(in_turns, (adapted, tokens, positions))
        layers = jax.lax.map(lambda turn: over_tasks(read)(*turn), arguments)
        keys, values = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(T, *x.shape[2:]), layers)
    return constrain(Prefix(keys, values, jnp.asarray(lengths)))


@partial(jax.jit, static_argnames="length")
def view_heads(
    keys: tuple[Float[Array, "T R kv_heads slots head_dim"], ...],
    values: tuple[Float[Array, "T R kv_heads slots head_dim"], ...],
    row: Int[Array, ""],
    which: Int[Array, " queries"] | None,
    lengths: Int[Array, " queries"],
    *,
    length: int,
) -> Prefix:
    """What `read_heads` gives, taken from one row of each query in the cache that its answers were decoded with.

    `which` says of which of the T queries; None: of all.
    """

    def of_row(x):
        own = x[which, row] if which is not None else jax.lax.dynamic_index_in_dim(x, row, axis=1, keepdims=False)
        return own[:, :, :length]

    keys, values = jax.tree.map(of_row, (keys, values))
    return constrain(Prefix(keys, values, jnp.asarray(lengths)))


@partial(jax.jit, static_argnames="model")
def score_tails(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prefix: Prefix,
    tails: Tails,
    longest: Int[Array, " C"],
) -> Float[Array, "T C"]:
    """The log-probability of what each row says after its query's prompt; 0 of no answer.

    Rows go through the model in blocks (`block_rows`), each block in passes of `PASS_TOKENS` tokens.
    As in decoding the loops are outside and the map over tasks inside.

    Args:
      model, base, adapted: in the compute type (`params.cast`).
      prefix: as `read_heads` gives it, without the last token of the prompt.
      tails: the rows.
      longest: the most tokens of the rows 0, 1, ... of all queries, which say how many passes there are; on every
        device, so that none has to ask another.
    """
    T, C, S = tails.tokens.shape
    c, P, step = model.config, prefix.keys[0].shape[-2], min(S, PASS_TOKENS)
    block = block_rows(model, C, tasks_here(T), step, P + S)

    def one_pass(of_task, of_query, cache, tokens, positions, targets, left):
        """The next tokens of a block of rows of one query: the cache after them, and their log-probability."""
        collections = variables(base, of_task)
        cache = replace(cache, prefix=of_query)
        hidden, read = model.apply(collections, tokens, positions, None, cache, method="hidden")
        after: Any = read
        logprobs: Any = model.apply(collections, hidden, targets, method="token_logprobs")
        counts = jnp.arange(step)[None] < left[:, None]
        return replace(after, prefix=None), jnp.sum(jnp.where(counts, logprobs, 0.0), axis=1)

    mapped = over_tasks(one_pass, in_axes=(0, 0, _CACHE_AXES, 0, 0, 0, 0), out_axes=(_CACHE_AXES, 0))

    def one_block(i, scores):
        rows = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i * block, block, 1), tails)
        most = jnp.max(jax.lax.dynamic_slice_in_dim(longest, i * block, block))

        def more(k, carry):
            cache, total = carry
            now = [
                jax.lax.dynamic_slice_in_dim(x, k * step, step, 2) for x in (rows.tokens, rows.positions, rows.targets)
            ]
            cache, logprobs = mapped(adapted, prefix, cache, *now, rows.lengths - k * step)
            return cache, total + logprobs

        empty = jax.vmap(lambda _: Cache.empty(c, block, S, model.dtype))(jnp.arange(T))
        empty = constrain(replace(empty, length=jnp.zeros((), jnp.int32)))
        _, total = jax.lax.fori_loop(0, -(-most // step), more, (empty, jnp.zeros((T, block), jnp.float32)))
        return jax.lax.dynamic_update_slice_in_dim(scores, total, i * block, 1)

    return constrain(jax.lax.fori_loop(0, C // block, one_block, jnp.zeros((T, C), jnp.float32)))
