"""Decoding the many queries of one task: what their prompts have in common is read once.

The prompts of a view begin with the same demonstrations. Their common tokens
go through the model once, `read_prefix`; every query then starts from a copy of
those keys and values and reads only its own tokens, `read_suffixes`. What
follows is `generate.decode_chunk`. The results are those of `decode_candidates`
but for rounding. Shapes: V views, R rows (queries x views x samples), P prefix
length, L suffix length, N longest answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt32

from ttt_jax.config import DecodeConfig
from ttt_jax.decode.candidate import Candidate
from ttt_jax.decode.candidates import candidates_of, row_keys, take_slots
from ttt_jax.decode.generate import DecodeState, Prompts, Rules, begin, finish
from ttt_jax.decode.params import cast, variables
from ttt_jax.decode.sampling import Sampling
from ttt_jax.decode.views import View
from ttt_jax.model.cache import Cache
from ttt_jax.model.decoder import Decoder
from ttt_jax.tasks.task import Domain

# Bytes of attention scores that suffixes may take at a time.
SCORE_BYTES = 1 << 29


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
    """Decodes every view of every query, task by task.

    Args:
      model, base, trainable, domain, seed, on_stage: as for `decode_candidates`.
      tasks: `(slot, views of each query)`: which entry of `trainable` belongs to the task. All queries of a
        task have the same transforms in the same order.
      config: `slots` queries of a task go side by side.
      lengths: prefixes and suffixes are padded to the smallest of these that fits.

    Returns:
      The candidates of each query, task after task.
    """
    base = cast(base, model.dtype)
    sampling = Sampling(config.temperature, config.top_p)
    rules = Rules(domain.syntax, domain.stop_tokens, domain.pad_token, sampling, config.grammar)
    longest = config.max_new_tokens or domain.max_answer_tokens
    found: list[list[Candidate]] = []
    for slot, queries in tasks:
        adapted = None if trainable is None else cast(take_slots(trainable, np.array([slot])), model.dtype)
        common = common_lengths(queries)
        heads = [view.prompt for view in queries[0]]
        P = _bucket(max(common), lengths)
        L = _bucket(
            max(len(v.prompt) - n for of_query in queries for v, n in zip(of_query, common, strict=True)), lengths
        )
        prefix = _pad([(h, 0, n) for h, n in zip(heads, common, strict=True)], len(heads), P, domain)
        on_stage(f"reading {len(heads)} x {P} common tokens")
        shared = read_prefix(model, base, adapted, prefix)
        for start in range(0, len(queries), config.slots):
            batch = queries[start : start + config.slots]
            rows = [
                (view.prompt, n, len(view.prompt))
                for of_query in batch
                for view, n in zip(of_query, common, strict=True)
                for _ in range(config.samples)
            ]
            suffixes = _pad(rows, config.slots * config.views * config.samples, L, domain)
            keys = row_keys(batch, config, seed)
            count = suffixes.lengths.shape[1]
            keys = np.zeros((1, count, 2), np.uint32) if keys is None else keys.reshape(1, count, 2)
            room = min(config.chunk, longest - 1)
            on_stage(f"reading {count} x {L} tokens after {P} common ones")
            state = read_suffixes(
                model, base, adapted, shared, prefix.lengths[0], suffixes, keys,
                rules=rules, samples=config.samples, slots=P + L + room, longest=longest,
            )  # fmt: skip
            generated = finish(model, base, adapted, state, P + L, room, rules, on_stage)
            by_query = generated.by_query(config.slots)
            found += [candidates_of(of_query, by_query, q, config.samples, domain) for q, of_query in enumerate(batch)]
    return found


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
def read_prefix(model: Decoder, base: Any, adapted: Any | None, prefix: Prompts) -> tuple[Any, Any]:
    """Keys and values of right-padded prefixes [1, V, P]: per layer [V, kv_heads, P, head_dim]."""
    P = prefix.tokens.shape[-1]
    first = None if adapted is None else jax.tree.map(lambda x: x[0], adapted)

    def read(row):
        cache = Cache.empty(model.config, 1, P, model.dtype)
        tokens, positions = (x[None] for x in row)
        _, cache = model.apply(variables(base, first), tokens, positions, None, cache, method="hidden")
        return jax.tree.map(lambda x: x[0], (cache.keys, cache.values))

    return jax.lax.map(read, (prefix.tokens[0], prefix.positions[0]))


@partial(jax.jit, static_argnames=("model", "rules", "samples", "slots", "longest"))
def read_suffixes(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    shared: tuple[Any, Any],
    prefix_lengths: Int[Array, " V"],
    suffixes: Prompts,
    keys: UInt32[Array, "1 R 2"],
    *,
    rules: Rules,
    samples: int,
    slots: int,
    longest: int,
) -> DecodeState:
    """Reads every row's own tokens after a copy of its view's prefix, and chooses its first token.

    The cache has the prefix in slots 0 to P - 1, the suffix in P to P + L - 1, and room up to `slots`.
    """
    _, R, L = suffixes.tokens.shape
    V, _, P, _ = shared[0][0].shape
    c = model.config
    block = _block_rows(R, c.num_heads * L * (P + L) * 4)
    view = (jnp.arange(R) // samples) % V
    first = None if adapted is None else jax.tree.map(lambda x: x[0], adapted)
    collections = variables(base, first)
    last = jnp.maximum(suffixes.lengths[0] - 1, 0)

    def read_block(i, filled):
        rows = partial(jax.lax.dynamic_slice_in_dim, start_index=i * block, slice_size=block)
        of_view = rows(view)
        room = [(0, 0), (0, 0), (0, L), (0, 0)]
        layers = jax.tree.map(lambda x: jnp.pad(x[of_view], room), shared)
        valid = jnp.arange(P + L)[None] < prefix_lengths[of_view][:, None]
        cache = Cache(keys=layers[0], values=layers[1], valid=valid, length=jnp.asarray(P, jnp.int32))
        tokens, positions = rows(suffixes.tokens[0]), rows(suffixes.positions[0])
        hidden, cache = model.apply(collections, tokens, positions, None, cache, method="hidden")
        hidden = jnp.take_along_axis(hidden, rows(last)[:, None, None], axis=1)
        logits: Any = model.apply(collections, hidden, method="logits")
        new = (logits[:, 0], cache.keys, cache.values)
        return jax.tree.map(
            lambda old, x: jax.lax.dynamic_update_slice(old, x, (i * block, *[0] * (old.ndim - 1))), filled, new
        )

    empty = Cache.empty(c, R, slots, model.dtype)
    logits = jnp.zeros((R, c.vocab_size), jnp.float32)
    logits, layer_keys, layer_values = jax.lax.fori_loop(0, R // block, read_block, (logits, empty.keys, empty.values))
    slot = jnp.arange(slots)[None]
    read = (slot < prefix_lengths[view][:, None]) | ((slot >= P) & (slot < P + suffixes.lengths[0][:, None]))
    cache = Cache(
        keys=jax.tree.map(lambda x: x[None], layer_keys),
        values=jax.tree.map(lambda x: x[None], layer_values),
        valid=read[None],
        length=jnp.asarray(P + L, jnp.int32),
    )
    return begin(cache, logits[None], suffixes, keys, rules, longest)


def _block_rows(rows: int, bytes_a_row: int) -> int:
    """The most rows, dividing `rows`, whose scores stay within SCORE_BYTES (at least one)."""
    return max((n for n in range(1, rows + 1) if rows % n == 0 and n * bytes_a_row <= SCORE_BYTES), default=1)


def _bucket(length: int, lengths: Sequence[int]) -> int:
    return min(size for size in lengths if size >= length)


def _pad(parts: Sequence[tuple[Any, int, int]], rows: int, length: int, domain: Domain) -> Prompts:
    """Parts (sequence, from, to) of sequences as right-padded rows [1, rows, length]; missing rows have length 0."""
    tokens = np.full((1, rows, length), domain.pad_token, np.int32)
    positions = np.zeros((1, rows, length, domain.position_axes), np.int32)
    lengths = np.zeros((1, rows), np.int32)
    for row, (encoded, start, stop) in enumerate(parts):
        size = stop - start
        tokens[0, row, :size] = encoded.tokens[start:stop]
        positions[0, row, :size] = encoded.positions[start:stop]
        lengths[0, row] = size
    return Prompts(tokens, positions, lengths)
