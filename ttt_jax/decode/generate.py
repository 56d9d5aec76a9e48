"""Batched decoding with a key-value cache: tasks x rows, each task with its own adapter.

`prefill` reads all prompts; `decode_chunk` adds tokens until every row is
done or the cache is full; the loop on the host then makes room for more.
Only the room that answers have needed so far is ever read. Shapes in comments
and annotations: T tasks (one adapter each), R rows of a task (views x
samples), P prompt length, N longest answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from ttt_jax.decode.params import cast, variables
from ttt_jax.decode.sampling import Sampling, choose
from ttt_jax.decode.syntax import Syntax, replay
from ttt_jax.model.attention import reads_free_room
from ttt_jax.model.cache import Cache, Spans
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.mesh import constrain, over_tasks, put, tasks_here

# Prompt tokens in one forward pass of `prefill`: bounds its activations, more fills no accelerator better.
PREFILL_TOKENS = 1 << 16
# Room for new tokens that a cache has from the start where it costs memory alone.
AT_ONCE = 1 << 10

# Mapped over tasks: everything but the write index, so that a write stays one slice for all rows.
_CACHE_AXES = Cache(keys=0, values=0, valid=0, length=None, prefix=0, spans=0)  # pyright: ignore[reportArgumentType]


class Prompts(NamedTuple):
    """Right-padded prompts. A row of length 0 is padding: it is done from the start.

    Attributes:
      tokens: int32[T, R, P].
      positions: int32[T, R, P, axes].
      lengths: int32[T, R].
    """

    tokens: Int[np.ndarray, "T R P"]
    positions: Int[np.ndarray, "T R P axes"]
    lengths: Int[np.ndarray, "T R"]


class Generated(NamedTuple):
    """What the rows said.

    Attributes:
      tokens: int32[T, R, N], the stop token included, then pad tokens.
      logprobs: float32[T, R], sum over the generated tokens (the stop token
        included) of their log-probabilities under the model, in nats.
      lengths: int32[T, R], how many tokens were generated; a row that ended
        without a stop token ran out of room or had no token to choose.
    """

    tokens: Int[np.ndarray, "T R N"]
    logprobs: Float[np.ndarray, "T R"]
    lengths: Int[np.ndarray, "T R"]

    def by_query(self, queries: int) -> Generated:
        """The rows of one task as those of its queries: [1, queries x R, ...] to [queries, R, ...]."""
        return Generated(*(x.reshape(queries, -1, *x.shape[2:]) for x in self))


class Begun(NamedTuple):
    """Answers that prompts hold the beginnings of, as `search` and `speculate` go on from them.

    Attributes:
      written: int32[T, R], how many of a prompt's last tokens belong to its answer.
      logprobs: float32[T, R], their summed log-probability.
      floor: float32[T, R], a row ends, without a stop token, once the log-probability of its answer is below this.
      left: int32[T, R], the most tokens that may follow; a row with none left is done.
    """

    written: Int[np.ndarray, "T R"]
    logprobs: Float[np.ndarray, "T R"]
    floor: Float[np.ndarray, "T R"]
    left: Int[np.ndarray, "T R"]


@dataclass(frozen=True)
class Rules:
    """What is fixed while compiling, beside the model."""

    syntax: Syntax
    stop_token: int | tuple[int, ...]
    pad_token: int
    sampling: Sampling
    grammar: bool


class DecodeState(flax.struct.PyTreeNode):
    """A decoding batch between chunks; every chunk takes it over (donated) and returns the next.

    Attributes:
      cache: everything read, the token chosen last excepted.
      token: chosen last.
      syntax: where each row stands after that token.
      done: rows that take no more tokens.
      tokens, logprobs, lengths: as in `Generated`; logprobs count what was written before, too.
      floor, left: as in `Begun`.
      count: tokens chosen so far by rows that are not done.
      keys: each row's random key (`sampling.row_key`).
    """

    cache: Cache
    token: Int[Array, "T R"]
    syntax: Any
    done: Bool[Array, "T R"]
    tokens: Int[Array, "T R N"]
    logprobs: Float[Array, "T R"]
    lengths: Int[Array, "T R"]
    floor: Float[Array, "T R"]
    left: Int[Array, "T R"]
    count: Int[Array, ""]
    keys: UInt32[Array, "T R 2"]


def generate(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prompts: Prompts,
    syntax: Syntax,
    *,
    stop_token: int | tuple[int, ...],
    pad_token: int,
    max_new_tokens: int,
    chunk: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    grammar: bool = False,
    keys: UInt32[np.ndarray, "T R 2"] | None = None,
    samples: int = 1,
    begun: Begun | None = None,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_cache: Callable[[Cache], None] = lambda cache: None,
) -> Generated:
    """Continues every prompt until its stop token or `max_new_tokens`.

    A row's result depends on its own prompt, adapter and key, not on its
    neighbours, nor on `chunk`.

    Args:
      model: the decoder; its dtype is the compute type.
      base: parameters shared by all tasks.
      adapted: variables of each task, stacked along a leading axis: {"lora": adapters}, or
        {"params": ...} after full-weight adaptation; None is the base alone (in-context).
      prompts: T x R right-padded prompts.
      syntax: gives positions and legal tokens.
      stop_token: ends a row; where several do, a tuple of them.
      pad_token: fills rows that are done.
      max_new_tokens: the most tokens a row may generate, its stop token included.
      chunk: the cache starts with room for so many new tokens, and doubles that room whenever it is full (but see
        `first_room`).
      temperature: 0 is greedy.
      top_p: nucleus, 1 for none.
      grammar: choose legal tokens only, as `syntax.legal` says.
      keys: random keys, one for each sample of each prompt in turn; needed above temperature 0.
      samples: so many rows continue each prompt, which is read once. With `begun` only 1.
      begun: where prompts hold the beginnings of their answers; their log-probability counts in the result.
      on_stage: told what runs next; each text stands for one compiled program.
      on_cache: given the cache at the end, whose first slots hold the prompts (`score.view_heads`).

    Raises:
      ValueError: for options out of range, or sampling without keys.
    """
    if max_new_tokens < 1 or chunk < 1:
        raise ValueError(f"max_new_tokens {max_new_tokens} and decode.chunk {chunk} must be at least 1")
    if temperature > 0 and keys is None:
        raise ValueError("sampling (decode.temperature above 0) needs keys, one row_key(...) a row")
    if samples > 1 and begun is not None:
        raise ValueError("samples: what was begun goes on once")
    if keys is None:
        tasks, rows = prompts.lengths.shape
        keys = np.zeros((tasks, rows * samples, 2), np.uint32)
    rules = Rules(syntax, stop_token, pad_token, Sampling(temperature, top_p), grammar)
    base, adapted = cast(base, model.dtype), cast(adapted, model.dtype)

    width = prompts.tokens.shape[-1]
    room = first_room(model, chunk, max_new_tokens)
    on_stage(f"reading prompts of {width} tokens")
    options: dict[str, Any] = dict(rules=rules, slots=width + room, longest=max_new_tokens, samples=samples)
    state = prefill(model, base, adapted, *put((prompts, keys, begun)), **options)
    return finish(model, base, adapted, state, width, room, rules, on_stage, on_cache)


def first_room(model: Decoder, chunk: int, longest: int) -> int:
    """Slots for new tokens that a cache has at first, where an answer has at most `longest`.

    Where free room is never read it costs nothing but memory: with all of it at once there is one program of decoding,
    instead of one for each size that the cache grows to.
    """
    most = longest - 1  # the last token is never read, so it needs no slot
    return min(chunk if reads_free_room(model.kernels, model.dtype, model.config) else max(chunk, AT_ONCE), most)


def finish(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    state: DecodeState,
    width: int,
    room: int,
    rules: Rules,
    on_stage: Callable[[str], None],
    on_cache: Callable[[Cache], None] = lambda cache: None,
) -> Generated:
    """Goes on from a state until every row is done; `width` slots of its cache hold prompts, `room` are free."""
    longest = state.tokens.shape[-1]
    # Looked at on the host: a comparison of device arrays would be a program of its own.
    while not (int(state.count) >= longest or np.asarray(state.done).all()):
        if int(state.cache.length) == state.cache.slots:
            room = min(2 * room, longest - 1)
            grown = grow(state.cache.replace(prefix=None), slots=width + room)
            state = state.replace(cache=grown.replace(prefix=state.cache.prefix))
        on_stage(f"writing up to {room + 1} tokens after {width}")
        state = decode_chunk(model, base, adapted, state, rules=rules)
    on_cache(state.cache)
    return Generated(*(np.asarray(x) for x in (state.tokens, state.logprobs, state.lengths)))


@partial(jax.jit, static_argnames="slots")
def grow(cache: Cache, *, slots: int) -> Cache:
    """`Cache.grow` as one program. A prefix stays out of it: it does not change."""
    return constrain(cache.grow(slots))


@partial(jax.jit, static_argnames=("model", "rules", "slots", "longest", "samples"))
def prefill(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prompts: Prompts,
    keys: UInt32[Array, "T rows 2"],
    begun: Begun | None = None,
    *,
    rules: Rules,
    slots: int,
    longest: int,
    samples: int = 1,
) -> DecodeState:
    """Reads the prompts into a fresh cache of `slots` slots and chooses the first token of each of their samples."""

    def after(logits_of, hidden, last):
        """The logits after each prompt."""
        return logits_of(jnp.take_along_axis(hidden, last[:, None, None], axis=1))[:, 0]

    last = jnp.maximum(prompts.lengths - 1, 0)
    cache, logits = read_rows(model, base, adapted, prompts, slots, after, last)
    if samples > 1:
        of_rows = (cache.keys, cache.values, cache.valid, cache.spans, logits, prompts)
        of_rows = jax.tree.map(lambda x: jnp.repeat(jnp.asarray(x), samples, axis=1), of_rows)
        layer_keys, layer_values, valid, spans, logits, prompts = of_rows
        cache = replace(cache, keys=layer_keys, values=layer_values, valid=valid, spans=spans)
    return constrain(begin(cache, logits, prompts, keys, rules, longest, begun))


def read_rows(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prompts: Prompts,
    slots: int,
    look: Callable[..., Any],
    *of_rows: Any,
) -> tuple[Cache, Any]:
    """Inside jit: reads prompts into a fresh cache of `slots` slots, and what `look` finds in their hidden states.

    Rows go through the model in blocks of at most about `PREFILL_TOKENS` tokens, written into the
    cache in place.

    Args:
      look: `(logits_of, hidden, *of_rows)` of a block of rows of one task, to a pytree with an entry a row;
        `logits_of` gives the logits of hidden states [rows, any, hidden].
      of_rows: further arrays, [T, R, ...] (or None), handed to `look`.
    """
    T, R, P = prompts.tokens.shape
    rows = block_rows(T, R, P)
    inputs = (prompts.tokens, prompts.positions, *of_rows)

    def read(adapter, tokens, positions, *of_rows):
        """One task's block of rows: what is found there, and the block's cache."""
        collections = variables(base, adapter)
        cache = Cache.empty(model.config, rows, P, model.dtype)
        hidden, cache = model.apply(collections, tokens, positions, None, cache, method="hidden")
        found = look(lambda hidden: model.apply(collections, hidden, method="logits"), hidden, *of_rows)
        return found, cache.keys, cache.values

    def block(i):
        return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, i * rows, rows, 1), inputs)

    def read_block(i, filled):
        new = over_tasks(read)(adapted, *block(i))
        return jax.tree.map(lambda old, x: jax.lax.dynamic_update_slice_in_dim(old, x, i * rows, 1), filled, new)

    empty = jax.vmap(lambda _: Cache.empty(model.config, R, slots, model.dtype))(jnp.arange(T))
    found, _, _ = jax.eval_shape(lambda: over_tasks(read)(adapted, *block(0)))
    found = jax.tree.map(lambda x: jnp.zeros((T, R, *x.shape[2:]), x.dtype), found)
    found, cache_keys, cache_values = jax.lax.fori_loop(0, R // rows, read_block, (found, empty.keys, empty.values))
    cache = Cache(
        keys=cache_keys,
        values=cache_values,
        valid=jnp.arange(slots)[None, None] < prompts.lengths[..., None],
        length=jnp.asarray(P, jnp.int32),
        spans=Spans(jnp.asarray(prompts.lengths), P),
    )
    return cache, found


def begin(
    cache: Cache,
    logits: Float[Array, "T R V"],
    prompts: Prompts,
    keys: UInt32[Array, "T R 2"],
    rules: Rules,
    longest: int,
    begun: Begun | None = None,
) -> DecodeState:
    """The state with each row's first token, chosen from the logits after its prompt."""
    T, R = prompts.lengths.shape
    if begun is None:  # no loop then, whose end devices would have to agree on
        last = jnp.maximum(prompts.lengths - 1, 0)
        end = jnp.take_along_axis(prompts.positions, last[..., None, None], axis=2)[:, :, 0]
        syntax = _rows(rules.syntax.start)(end)
        logprobs, floor = jnp.zeros((T, R), jnp.float32), jnp.full((T, R), -jnp.inf, jnp.float32)
        left = jnp.full((T, R), longest, jnp.int32)
    else:
        opened = jnp.maximum(prompts.lengths - begun.written, 1)
        syntax = _rows(partial(replay, rules.syntax))(prompts.tokens, prompts.positions, opened, prompts.lengths)
        logprobs, floor, left = jnp.asarray(begun.logprobs), jnp.asarray(begun.floor), jnp.asarray(begun.left)
    state = DecodeState(
        cache=cache,
        token=jnp.full((T, R), rules.pad_token, jnp.int32),
        syntax=syntax,
        done=(prompts.lengths == 0) | (left <= 0),
        tokens=jnp.full((T, R, longest), rules.pad_token, jnp.int32),
        logprobs=logprobs,
        lengths=jnp.zeros((T, R), jnp.int32),
        floor=floor,
        left=left,
        count=jnp.zeros((), jnp.int32),
        keys=keys,
    )
    return _take_token(state, logits, rules)


@partial(jax.jit, static_argnames=("model", "rules"), donate_argnames="state")
def decode_chunk(model: Decoder, base: Any, adapted: Any | None, state: DecodeState, *, rules: Rules) -> DecodeState:
    """Adds tokens until every row is done, the cache is full or the answers are as long as they may be.

    The loop is outside and the map over tasks inside: the other way round,
    vmap would turn every step into a select over the whole cache.
    """
    slots, longest = state.cache.slots, state.tokens.shape[-1]

    def step(adapter, cache, token, position):
        """One token of all rows of one task."""
        collections = variables(base, adapter)
        hidden, cache = model.apply(collections, token[:, None], position[:, None], None, cache, method="hidden")
        logits: Any = model.apply(collections, hidden, method="logits")
        return logits[:, 0], cache

    step = over_tasks(step, in_axes=(0, _CACHE_AXES, 0, 0), out_axes=(0, _CACHE_AXES))

    def unfinished(state: DecodeState):
        return ~state.done.all() & (state.cache.length < slots) & (state.count < longest)

    def body(state: DecodeState) -> DecodeState:
        position = _rows(rules.syntax.position)(state.syntax)
        logits, cache = step(adapted, _reads(state), state.token, position)
        return _take_token(state.replace(cache=cache), logits, rules)

    return constrain(jax.lax.while_loop(unfinished, body, state))


def _reads(state: DecodeState) -> Cache:
    """The cache, in which rows that are done need not be read, where a kernel can leave them out."""
    spans = state.cache.spans
    if spans is None:
        return state.cache
    return replace(state.cache, spans=replace(spans, prompts=jnp.where(state.done, -1, spans.prompts)))


def _take_token(state: DecodeState, logits: Float[Array, "T R V"], rules: Rules) -> DecodeState:
    """Chooses every row's next token; rows that are done get pad and add nothing."""
    legal = _rows(rules.syntax.legal)(state.syntax) if rules.grammar else None
    pick = _rows(lambda row, allowed, key: choose(row, allowed, key, state.count, rules.sampling))
    token, logprob, alive = pick(logits, legal, state.keys)
    goes_on = ~state.done & alive
    token = jnp.where(goes_on, token, rules.pad_token)
    logprobs = state.logprobs + jnp.where(goes_on, logprob, 0.0)
    return state.replace(
        token=token,
        syntax=_rows(rules.syntax.advance)(state.syntax, token),
        # A row that goes on has chosen as many tokens as were counted.
        done=~goes_on
        | jnp.isin(token, jnp.asarray(rules.stop_token))
        | (logprobs < state.floor)
        | (state.count + 1 >= state.left),
        tokens=jax.lax.dynamic_update_slice_in_dim(state.tokens, token[..., None], state.count, axis=2),
        logprobs=logprobs,
        lengths=state.lengths + goes_on,
        count=state.count + 1,
    )


def _rows(f: Callable[..., Any]) -> Callable[..., Any]:
    """A function of one row, mapped over tasks and rows."""
    return jax.vmap(jax.vmap(f))


def block_rows(tasks: int, rows: int, width: int) -> int:
    """The most rows of each of `tasks`, dividing `rows`, whose prompts stay within PREFILL_TOKENS (at least one)."""
    here = tasks_here(tasks)
    fitting = [n for n in range(1, rows + 1) if rows % n == 0 and here * n * width <= PREFILL_TOKENS]
    return max(fitting, default=1)
