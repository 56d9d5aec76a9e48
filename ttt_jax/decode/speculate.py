"""Speculative decoding across views: the answer that one view gives is the draft of all others.

After adaptation most views of a query answer alike. So the first is decoded
alone; its answer, mapped back and into every other view, is written after that
view's prompt, and both are read in one parallel pass, `check`. At every token of
the draft it asks what the view would have chosen itself, under the same grammar:
the longest agreeing beginning is taken over, and what follows is decoded
greedily as ever, from the cache that the pass has filled. The answers are the
greedy ones, to rounding (arXiv 2211.17192 with a draft instead of a draft model,
and without sampling). Shapes: T queries, R further views of each, S room for a
draft, N longest answer, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt32

from ttt_jax.config import DecodeConfig
from ttt_jax.decode.generate import (
    Begun,
    DecodeState,
    Generated,
    Prompts,
    Rules,
    begin,
    block_rows,
    finish,
    first_room,
    generate,
    read_rows,
)
from ttt_jax.decode.params import cast
from ttt_jax.decode.sampling import Sampling, choose
from ttt_jax.decode.search import search_rooms
from ttt_jax.decode.views import View, answer_written, answered
from ttt_jax.decode.written import walk, with_places
from ttt_jax.model.cache import Cache
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.mesh import constrain, put, tasks_here
from ttt_jax.tasks.task import Answer, Domain

# Bytes of logits that the tokens of drafts may take at a time.
LOGIT_BYTES = 1 << 28

Draft = tuple[int, ...]
"""Tokens that an answer may begin with, or be; empty where there is nothing to offer."""

draft_rooms = search_rooms
"""Drafts lie in few shapes, as the unfinished answers of the search do."""


def speculates(config: DecodeConfig) -> bool:
    """Whether there are drafts: with one view there is nothing to draft for."""
    return config.speculate and config.views > 1


@dataclass(frozen=True)
class Speculated:
    """How a batch of Q queries was decoded.

    Attributes:
      room: drafts were padded to so many tokens.
      first: int32[Q], tokens of the answer that was decoded first.
      offered: int32[Q, R], tokens of each draft; 0 where there was none.
      accepted: int32[Q, R], how many of them were taken over.
      after: int32[Q, R], tokens that were decoded after them.
    """

    room: int
    first: Int[np.ndarray, " Q"]
    offered: Int[np.ndarray, "Q R"]
    accepted: Int[np.ndarray, "Q R"]
    after: Int[np.ndarray, "Q R"]

    def counts(self) -> list[dict[str, float]]:
        """Of each query: drafts, tokens offered and accepted, drafts accepted whole, its share of the batch's steps.

        Steps are tokens that all rows decode side by side, after the one that reading gives: those that were taken,
        and those that decoding all views at once would have taken (`plain_steps`).
        """
        queries = len(self.first)
        steps = _steps(self.first) + _steps(self.after)
        plain = max(_steps(self.first), _steps(self.accepted + self.after))
        whole = (self.offered > 0) & (self.accepted == self.offered) & (self.after == 0)
        return [
            {
                "drafts": int((self.offered[q] > 0).sum()),
                "offered": int(self.offered[q].sum()),
                "accepted": int(self.accepted[q].sum()),
                "whole": int(whole[q].sum()),
                "steps": steps / queries,
                "plain_steps": plain / queries,
            }
            for q in range(queries)
        ]


def _steps(lengths: Int[np.ndarray, ...]) -> int:
    return max(0, int(lengths.max()) - 1)


def summed(counts: Sequence[dict[str, float]]) -> dict[str, float]:
    """The counts of several queries (`Speculated.counts`) as one."""
    return {name: sum(of[name] for of in counts) for name in counts[0]}


class Caches(NamedTuple):
    """What was read: of the first view (one row a query) and of the others."""

    first: Cache
    others: Cache


def decode_by_drafts(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prompts: Prompts,
    views: Sequence[Sequence[View]],
    domain: Domain,
    config: DecodeConfig,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_caches: Callable[[Caches], None] | None = None,
) -> tuple[Generated, Speculated]:
    """The greedy answers of all views, those after the first by way of drafts.

    Args:
      model, base, adapted: as for `generate`.
      prompts: T x (1 + R), a row a view.
      views: of the first Q of T queries; the other rows are padding.
      domain: parses the first answer and writes it in the other views.
      config: grammar, chunk, max_new_tokens.
      on_stage: told what runs next.
      on_caches: given what was read; without it the first view's cache is let go before the others are read.

    Returns:
      What `generate` returns for the same prompts, and how it came about.
    """
    longest = config.max_new_tokens or domain.max_answer_tokens
    rules = draft_rules(domain, config)
    one, others = Prompts(*(x[:, :1] for x in prompts)), Prompts(*(x[:, 1:] for x in prompts))
    caches: list[Cache] = []
    keep = caches.append if on_caches else lambda cache: None
    first = generate(
        model, base, adapted, one, rules.syntax, stop_token=rules.stop_token, pad_token=rules.pad_token,
        max_new_tokens=longest, chunk=config.chunk, grammar=rules.grammar,
        on_stage=lambda text: on_stage(f"first view: {text}"), on_cache=keep,
    )  # fmt: skip

    said = [tuple(row[0, : n[0]].tolist()) for row, n in zip(first.tokens, first.lengths, strict=True)]
    drafts = [drafts_of(of_query, said[q], domain, longest) for q, of_query in enumerate(views)]
    rest = take_up(model, base, adapted, others, drafts, rules, longest, config.chunk, on_stage, keep)
    if on_caches:
        on_caches(Caches(*caches))
    own = slice(len(views))
    after = rest.said.lengths - rest.accepted
    how = Speculated(rest.room, first.lengths[own, 0], rest.offered[own], rest.accepted[own], after[own])
    return Generated(*(np.concatenate(both, axis=1) for both in zip(first, rest.said, strict=True))), how


class TakenUp(NamedTuple):
    """Answers by way of drafts.

    Attributes:
      said: as `generate` gives it.
      offered, accepted: int32[T, R], tokens of each draft, and how many of them were taken over.
      room: drafts were padded to so many tokens.
    """

    said: Generated
    offered: Int[np.ndarray, "T R"]
    accepted: Int[np.ndarray, "T R"]
    room: int


def take_up(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prompts: Prompts,
    drafts: Sequence[Sequence[Draft]],
    rules: Rules,
    longest: int,
    chunk: int,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_cache: Callable[[Cache], None] = lambda cache: None,
) -> TakenUp:
    """The greedy answers to prompts, each with a draft of any worth.

    Args:
      model, base, adapted, on_stage, on_cache: as for `generate`.
      prompts: T x R.
      drafts: of the rows of the first queries, each of at most `longest` tokens; the other rows have none.
      rules: greedy.
      longest: the most tokens of an answer, its stop token included.
      chunk: as for `generate`.
    """
    base, adapted = cast(base, model.dtype), cast(adapted, model.dtype)
    most = max((len(draft) for of_query in drafts for draft in of_query), default=0)
    room = min(size for size in draft_rooms(chunk, longest) if size >= most)
    with_drafts, offered = _offered(prompts, drafts, room, rules.pad_token)
    width, free = with_drafts.tokens.shape[-1], first_room(model, chunk, longest)
    keys = np.zeros((*offered.shape, 2), np.uint32)
    on_stage(f"reading prompts and drafts of {width} tokens")
    options: dict[str, Any] = dict(rules=rules, slots=width + free, longest=longest, room=room)
    state, accepted = check(model, base, adapted, *put((with_drafts, offered, keys)), **options)
    after = finish(model, base, adapted, state, width, free, rules, on_stage, on_cache)
    accepted = np.asarray(accepted)
    return TakenUp(_joined(drafts, accepted, after, rules.pad_token), offered, accepted, room)


def draft_rules(domain: Domain, config: DecodeConfig) -> Rules:
    """Greedy decoding."""
    return Rules(domain.syntax, domain.stop_tokens, domain.pad_token, Sampling(), config.grammar)


def drafts_of(views: Sequence[View], said: Sequence[int], domain: Domain, longest: int) -> list[Draft]:
    """A draft for every view after the first, of what the first has said.

    Where the domain writes that answer as the first view did, the draft is what it writes in the other view. Where it
    does not (steps before the answer, a space too many), the draft is what was said. No answer, or one that
    has no form in a view, is no draft.
    """
    first, *others = views
    answer = domain.decoded(said, first.task)
    if answer is None:
        return [()] * len(others)
    answer = first.transform.invert(answer)
    usual = _written(first, answer, domain) == tuple(said)
    drafts = [_written(view, answer, domain) if usual else tuple(said) for view in others]
    return [_cut(draft, domain.stop_tokens)[:longest] for draft in drafts]


def _written(view: View, answer: Answer, domain: Domain) -> Draft:
    try:
        return tuple(answer_written(answered(view, answer), domain).tokens.tolist())
    except (ValueError, KeyError):
        # A model may say what no transform of its task knows.
        return ()


def _cut(draft: Draft, stops: Sequence[int]) -> Draft:
    """Nothing comes after the first stop token of an answer."""
    end = next((i for i, token in enumerate(draft, 1) if token in stops), len(draft))
    return draft[:end]


def _offered(
    prompts: Prompts, drafts: Sequence[Sequence[Draft]], room: int, pad: int
) -> tuple[Prompts, Int[np.ndarray, "T R"]]:
    """Prompts with drafts written after them, and how long these are."""
    T, R, P = prompts.tokens.shape
    tokens = np.full((T, R, P + room), pad, np.int32)
    positions = np.zeros((T, R, P + room, prompts.positions.shape[-1]), np.int32)
    tokens[..., :P], positions[..., :P, :] = prompts.tokens, prompts.positions
    written = np.zeros((T, R), np.int32)
    for t, of_query in enumerate(drafts):
        for r, draft in enumerate(of_query):
            start, size = int(prompts.lengths[t, r]), len(draft)
            tokens[t, r, start : start + size], written[t, r] = draft, size
    return Prompts(tokens, positions, prompts.lengths + written), written


def _joined(
    drafts: Sequence[Sequence[Draft]], accepted: Int[np.ndarray, "T R"], after: Generated, pad: int
) -> Generated:
    """What was accepted of drafts, and after it what was decoded."""
    tokens = np.full_like(after.tokens, pad)
    for t, of_query in enumerate(drafts):
        for r, draft in enumerate(of_query):
            n, more = int(accepted[t, r]), int(after.lengths[t, r])
            tokens[t, r, :n] = draft[:n]
            tokens[t, r, n : n + more] = after.tokens[t, r, :more]
    return Generated(tokens, after.logprobs, accepted + after.lengths)


@partial(jax.jit, static_argnames=("model", "rules", "slots", "longest", "room"))
def check(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prompts: Prompts,
    written: Int[Array, "T R"],
    keys: UInt32[Array, "T R 2"],
    *,
    rules: Rules,
    slots: int,
    longest: int,
    room: int,
) -> tuple[DecodeState, Int[Array, "T R"]]:
    """Reads prompts with drafts at their ends, and chooses each row's first token after what it accepts of its draft.

    Args:
      model, base, adapted: in the compute type (`params.cast`).
      prompts: with the drafts; their positions are not looked at.
      written: how many of a prompt's last tokens are its draft, at most `room`.
      keys: of rows that sample nothing.
      rules: greedy.
      slots: of the cache.
      longest: the most tokens of an answer.
      room: S.

    Returns:
      The state to go on from, in which rows whose draft is a whole answer are
      done, and how many tokens of its draft each row accepts.
    """
    drafts, places, legal = walk(rules.syntax, prompts, written, room)
    prompts = with_places(prompts, written, places)
    T, R, P = prompts.tokens.shape
    begins = prompts.lengths - written
    no_key = jnp.zeros(2, jnp.uint32)
    rows = tasks_here(T) * block_rows(T, R, P)
    piece = max(1, min(room, LOGIT_BYTES // (4 * rows * model.config.vocab_size)))

    def look(logits_of, hidden, begins, draft, legal, written):
        """Of a block of rows of one query: accepted, their log-probability, and the logits after them."""

        def before(step):
            """The hidden states that predict the tokens `step` [rows, any] of the drafts."""
            at = jnp.clip(begins[:, None] - 1 + step, 0, P - 1)
            return jnp.take_along_axis(hidden, at[..., None], axis=1)

        def judge(steps):
            """Whether the tokens `steps` [piece] are those that the rows choose, and their log-probabilities."""
            logits = logits_of(before(jnp.broadcast_to(steps, (len(draft), len(steps)))))
            allowed = None if legal is None else legal[:, steps]
            ask = jax.vmap(jax.vmap(lambda row, may: choose(row, may, no_key, 0, rules.sampling)))
            token, logprob, alive = ask(logits, allowed)
            return (token == draft[:, steps]) & alive, logprob

        count = -(-room // piece)
        # The last piece goes over the room's last token again and again: `_side_by_side` leaves that out.
        steps = jnp.minimum(jnp.arange(count * piece), room - 1).reshape(count, piece)
        agreed, logprobs = judge(steps[0]) if count == 1 else _side_by_side(jax.lax.map(judge, steps), room)
        agreed = jnp.cumprod(agreed & (jnp.arange(room)[None] < written[:, None]), axis=1).astype(bool)
        accepted = jnp.sum(agreed, axis=1, dtype=jnp.int32)
        return accepted, jnp.sum(jnp.where(agreed, logprobs, 0.0), axis=1), logits_of(before(accepted[:, None]))[:, 0]

    allowed = legal if rules.grammar else None
    cache, found = read_rows(model, base, adapted, prompts, slots, look, begins, drafts, allowed, written)
    accepted, logprobs, logits = found
    last = jnp.take_along_axis(drafts, jnp.maximum(accepted - 1, 0)[..., None], axis=2)[..., 0]
    ended = (accepted > 0) & jnp.isin(last, jnp.asarray(rules.stop_token))
    floor, left = jnp.full((T, R), -jnp.inf, jnp.float32), jnp.where(ended, 0, longest - accepted)
    begun: Any = Begun(accepted, logprobs, floor, left)  # pyright: ignore[reportArgumentType]
    # What was not accepted is as if it had never been read.
    prompts = prompts._replace(lengths=begins + accepted)
    cache = replace(
        cache,
        valid=jnp.arange(slots)[None, None] < prompts.lengths[..., None],
        spans=cache.spans and replace(cache.spans, prompts=prompts.lengths),
    )
    return constrain((begin(cache, logits, prompts, keys, rules, longest, begun), accepted))


def _side_by_side(
    pieces: tuple[Float[Array, "pieces rows piece"], ...], room: int
) -> tuple[Float[Array, "rows room"], ...]:
    return tuple(jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1)[:, :room] for x in pieces)
