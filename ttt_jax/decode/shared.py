"""Decoding tasks of many queries: what the prompts of a view have in common is read once, and kept once.

The prompts of a view begin with the same demonstrations. Their common tokens
go through the model once, `read_prefix`; every query then reads only its own
tokens, `read_suffixes`, attending to those keys and values, of which all rows
have one copy. What follows is `generate.decode_chunk`. The results are those of
`decode_candidates` but for rounding. Shapes: T views of tasks side by side
(each with its own prefix and adapter), R rows (queries x samples), P prefix
length, L suffix length, N longest answer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, UInt32

from ttt_jax.config import DecodeConfig
from ttt_jax.decode.blocks import block_rows
from ttt_jax.decode.candidate import Candidate
from ttt_jax.decode.candidates import candidates_of, row_keys, side_by_side, take_slots
from ttt_jax.decode.generate import DecodeState, Generated, Prompts, Rules, begin, finish
from ttt_jax.decode.params import cast, variables
from ttt_jax.decode.sampling import Sampling
from ttt_jax.decode.views import View
from ttt_jax.model.cache import Cache, Prefix
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.mesh import constrain, over_tasks, shards_here, tasks_here
from ttt_jax.tasks.task import Domain


@dataclass(frozen=True)
class SharedView:
    """One view of a task: the prompts of all its queries.

    Attributes:
      task, index: which view of which of the tasks.
      slot: the entry of the adapted variables that is the task's.
      rows: the view as each query has it.
      common: how many tokens the prompts begin with alike.
    """

    task: int
    index: int
    slot: int
    rows: tuple[View, ...]
    common: int

    @property
    def own(self) -> int:
        """Tokens of the longest prompt after the common ones."""
        return max(len(view.prompt) for view in self.rows) - self.common


def decode_shared(
    model: Decoder,
    base: Any,
    trainable: Any | None,
    tasks: Sequence[tuple[int, Sequence[Sequence[View]]]],
    domain: Domain,
    config: DecodeConfig,
    lengths: Sequence[int],
    seed: int,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> list[list[Candidate]]:
    """Decodes every view of every query.

    Args:
      model, base, trainable, domain, seed, on_stage: as for `decode_candidates`.
      tasks: `(slot, views of each query)`: which entry of `trainable` belongs to the task. All queries of a
        task have the same transforms in the same order.
      config: `slots` queries, of one task or of several, go side by side.
      lengths: the longest prefix of all tasks, and the suffixes of each, are padded to the smallest that fits.

    Returns:
      The candidates of each query, task after task.
    """
    base = cast(base, model.dtype)
    rules = Rules(
        domain.syntax, domain.stop_tokens, domain.pad_token, Sampling(config.temperature, config.top_p), config.grammar
    )
    longest = config.max_new_tokens or domain.max_answer_tokens
    room = min(config.chunk, longest - 1)
    views = [
        SharedView(i, v, slot, rows, common)
        for i, (slot, queries) in enumerate(tasks)
        for v, (rows, common) in enumerate(zip(zip(*queries, strict=True), common_lengths(queries), strict=True))
    ]
    # One prefix length for all, so that few shapes are compiled.
    P = _bucket(max(view.common for view in views), lengths)
    T, R = views_and_rows(max(len(view.rows) for view in views), side_by_side(config) * config.views, shards_here())
    by_length: dict[int, list[SharedView]] = defaultdict(list)
    for view in views:
        by_length[_bucket(view.own, lengths)].append(view)

    found: dict[tuple[int, int], list[list[Candidate]]] = {(view.task, view.index): [] for view in views}
    for L, of_length in sorted(by_length.items()):
        for batch in _batches(of_length, T):
            slots = np.array([view.slot for view in batch] + [0] * (T - len(batch)))
            adapted = None if trainable is None else cast(take_slots(trainable, slots), model.dtype)
            on_stage(f"reading {T} x {P} common tokens")
            prefix = read_prefix(model, base, adapted, _pad([_heads(batch)], (1, T, P), domain))
            for start in range(0, max(len(view.rows) for view in batch), R):
                rows = [view.rows[start : start + R] for view in batch]
                suffixes = _pad(
                    [_tails(of_view, view.common, config.samples) for of_view, view in zip(rows, batch, strict=True)],
                    (T, R * config.samples, L),
                    domain,
                )
                on_stage(f"reading {T} x {R * config.samples} x {L} tokens after {P} common ones")
                state = read_suffixes(
                    model, base, adapted, prefix, suffixes, _keys(rows, T, R, config, seed),
                    rules=rules, slots=L + room, longest=longest,
                )  # fmt: skip
                generated = finish(model, base, adapted, state, L, room, rules, on_stage)
                for t, (view, of_view) in enumerate(zip(batch, rows, strict=True)):
                    own = Generated(*(x[t : t + 1] for x in generated)).by_query(R)
                    found[view.task, view.index] += [
                        candidates_of([row], own, q, config.samples, domain) for q, row in enumerate(of_view)
                    ]
    return [
        [candidate for v in range(len(queries[q])) for candidate in found[i, v][q]]
        for i, (_, queries) in enumerate(tasks)
        for q in range(len(queries))
    ]


def views_and_rows(queries: int, room: int, shards: int = 1) -> tuple[int, int]:
    """How many views go side by side (T), with how many rows each (R); what a view has more goes in rounds.

    A view's rows are all on one device, so there are no more of them than a
    device has room for. They are a power of two, so that few shapes are compiled.

    Args:
      queries: the most of a view.
      room: rows side by side, on all devices.
      shards: devices that hold different views.
    """
    rows = min(1 << (queries - 1).bit_length(), max(1, room // shards))
    views = max(1, room // rows)
    return views + -views % shards, rows


def common_lengths(queries: Sequence[Sequence[View]]) -> list[int]:
    """For each view, how many tokens all the queries' prompts begin with alike, leaving one or more to each."""
    common = []
    for of_view in zip(*queries, strict=True):
        first = of_view[0].prompt.tokens
        most = min(len(view.prompt) for view in of_view) - 1
        for view in of_view[1:]:
            differs = np.flatnonzero(view.prompt.tokens[:most] != first[:most])
            most = int(differs[0]) if len(differs) else most
        common.append(most)
    return common


def read_tokens(queries: Sequence[Sequence[View]], samples: int) -> int:
    """Tokens that go through the model to read the prompts of a task."""
    common = common_lengths(queries)
    own = sum(len(v.prompt) - n for of_query in queries for v, n in zip(of_query, common, strict=True))
    return sum(common) + samples * own


@partial(jax.jit, static_argnames="model")
def read_prefix(model: Decoder, base: Any, adapted: Any | None, prompts: Prompts) -> Prefix:
    """Keys and values of right-padded prefixes [1, T, P]: per layer [T, kv_heads, P, head_dim]."""
    T, P = prompts.tokens.shape[1:]
    turns = tasks_here(T)  # one at a time on each device

    def read(of_task, tokens, positions):
        cache = Cache.empty(model.config, 1, P, model.dtype)
        _, cache = model.apply(variables(base, of_task), tokens[None], positions[None], None, cache, method="hidden")
        return jax.tree.map(lambda x: x[0], (cache.keys, cache.values))

    def in_turns(x):
        return x.reshape(T // turns, turns, *x.shape[1:]).swapaxes(0, 1)

    arguments = jax.tree.map(in_turns, (adapted, prompts.tokens[0], prompts.positions[0]))
    layers = jax.lax.map(lambda turn: over_tasks(read)(*turn), arguments)
    keys, values = jax.tree.map(lambda x: x.swapaxes(0, 1).reshape(T, *x.shape[2:]), layers)
    return constrain(Prefix(keys, values, jnp.asarray(prompts.lengths[0])))


@partial(jax.jit, static_argnames=("model", "rules", "slots", "longest"))
def read_suffixes(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prefix: Prefix,
    suffixes: Prompts,
    keys: UInt32[Array, "T R 2"],
    *,
    rules: Rules,
    slots: int,
    longest: int,
) -> DecodeState:
    """Reads every row's own tokens after its view's prefix, and chooses its first token.

    Args:
      adapted: variables of each view, stacked along T, or None.
      prefix: as `read_prefix` gives it.
      suffixes: [T, R, L], right-padded.
      keys: random keys of the rows.
      rules, longest: as for `generate.prefill`.
      slots: of each row's own cache, L and room for an answer.
    """
    T, R, L = suffixes.tokens.shape
    P = prefix.keys[0].shape[-2]
    c = model.config
    block = block_rows(model, R, tasks_here(T), L, P + L)
    last = jnp.maximum(suffixes.lengths - 1, 0)

    def read(of_task, of_view, tokens, positions, last):
        """A block of rows of one view."""
        cache = replace(Cache.empty(c, block, L, model.dtype), prefix=of_view)
        collections = variables(base, of_task)
        hidden, cache = model.apply(collections, tokens, positions, None, cache, method="hidden")
        hidden = jnp.take_along_axis(hidden, last[:, None, None], axis=1)
        logits: Any = model.apply(collections, hidden, method="logits")
        return logits[:, 0], cache.keys, cache.values

    def read_block(i, filled):
        rows = [
            jax.lax.dynamic_slice_in_dim(x, i * block, block, axis=1)
            for x in (suffixes.tokens, suffixes.positions, last)
        ]
        new = over_tasks(read)(adapted, prefix, *rows)
        return jax.tree.map(
            lambda old, x: jax.lax.dynamic_update_slice(old, x, (0, i * block, *[0] * (old.ndim - 2))), filled, new
        )

    empty = jax.vmap(lambda _: Cache.empty(c, R, slots, model.dtype))(jnp.arange(T))
    logits = jnp.zeros((T, R, c.vocab_size), jnp.float32)
    logits, layer_keys, layer_values = jax.lax.fori_loop(0, R // block, read_block, (logits, empty.keys, empty.values))
    cache = Cache(
        keys=layer_keys,
        values=layer_values,
        valid=jnp.arange(slots)[None, None] < suffixes.lengths[..., None],
        length=jnp.asarray(L, jnp.int32),
        # A copy: decoding takes its state over, and more rows may follow on the same prefix.
        prefix=jax.tree.map(jnp.copy, prefix),
    )
    return constrain(begin(cache, logits, suffixes, keys, rules, longest))


def _bucket(length: int, lengths: Sequence[int]) -> int:
    return min(size for size in lengths if size >= length)


def _batches(views: Sequence[SharedView], size: int) -> Iterable[Sequence[SharedView]]:
    return (views[start : start + size] for start in range(0, len(views), size))


Part = tuple[Any, int, int]
"""A sequence, from where to where."""


def _heads(views: Sequence[SharedView]) -> list[Part]:
    return [(view.rows[0].prompt, 0, view.common) for view in views]


def _tails(rows: Sequence[View], common: int, samples: int) -> list[Part]:
    return [(view.prompt, common, len(view.prompt)) for view in rows for _ in range(samples)]


def _pad(parts: Sequence[Sequence[Part]], shape: tuple[int, int, int], domain: Domain) -> Prompts:
    """Parts as right-padded rows of `shape`; missing rows have length 0."""
    tokens = np.full(shape, domain.pad_token, np.int32)
    positions = np.zeros((*shape, domain.position_axes), np.int32)
    lengths = np.zeros(shape[:2], np.int32)
    for t, of_view in enumerate(parts):
        for row, (encoded, start, stop) in enumerate(of_view):
            size = stop - start
            tokens[t, row, :size] = encoded.tokens[start:stop]
            positions[t, row, :size] = encoded.positions[start:stop]
            lengths[t, row] = size
    return Prompts(tokens, positions, lengths)


def _keys(rows: Sequence[Sequence[View]], T: int, R: int, config: DecodeConfig, seed: int) -> np.ndarray:
    """Random keys of rows, uint32[T, R x samples, 2]; zeros for greedy decoding."""
    keys = np.zeros((T, R * config.samples, 2), np.uint32)
    one_view = replace(config, slots=R, views=1)
    for t, of_view in enumerate(rows):
        found = row_keys([[view] for view in of_view], one_view, seed)
        if found is not None:
            keys[t] = found.reshape(R * config.samples, 2)
    return keys
