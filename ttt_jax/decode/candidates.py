"""Queries in, candidates out: every view of every query of a group, decoded side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from jaxtyping import Int

from ttt_jax.config import DecodeConfig, RunConfig
from ttt_jax.decode.candidate import Candidate, Scores
from ttt_jax.decode.generate import Generated, Prompts, generate
from ttt_jax.decode.lots import ScoreShapes, score_rooms
from ttt_jax.decode.params import take
from ttt_jax.decode.sampling import row_key
from ttt_jax.decode.score import Read, score_candidates
from ttt_jax.decode.search import Completion, Search, search, search_rooms
from ttt_jax.decode.speculate import Speculated, decode_by_drafts, speculates
from ttt_jax.decode.views import View
from ttt_jax.process.judging import judged_steps
from ttt_jax.runtime.mesh import put
from ttt_jax.select.rank import SCORED
from ttt_jax.tasks.task import Answer, Domain


def decode_candidates(
    model: Any,
    base: Any,
    trainable: Any | None,
    queries: Sequence[tuple[int, Sequence[View]]],
    domain: Domain,
    config: DecodeConfig,
    length: int,
    seed: int,
    on_stage: Callable[[str], None] = lambda stage: None,
    on_read: Callable[[Read], None] | None = None,
    on_speculated: Callable[[Speculated], None] = lambda how: None,
) -> list[list[Candidate]]:
    """Decodes every view of every query and maps the answers back.

    Args:
      model: a `Decoder`.
      base: its parameters.
      trainable: adapted variables with a leading axis over slots, or None for in-context.
      queries: `(slot, views)`: which entry of `trainable` belongs to the query, and its views.
      domain: parses answers.
      config: views, samples, temperature, slots.
      length: prompts are padded to this many tokens.
      seed: of sampling.
      on_stage: see `generate`.
      on_read: given what was read of each batch of `config.slots` queries, for `score_queries`.
      on_speculated: given what drafts did in each batch, where `config.speculate` asks for them.

    Returns:
      The candidates of each query, view by view, those that did not parse included; then, where asked for,
      what search found.
    """
    candidates: list[list[Candidate]] = []
    count = side_by_side(config)
    for start in range(0, len(queries), count):
        batch = queries[start : start + count]
        slots = np.zeros(count, np.int32)
        slots[: len(batch)] = [slot for slot, _ in batch]
        adapted = None if trainable is None else take_slots(trainable, slots)
        views = [views for _, views in batch]
        asked = prompts(views, domain, config, length)
        if speculates(config):
            generated, how = decode_by_drafts(
                model, base, adapted, asked, views, domain, config, on_stage,
                (lambda caches: on_read(Read(caches.others, 1, caches.first))) if on_read else None,
            )  # fmt: skip
            on_speculated(how)
        else:
            generated = generate(
                model, base, adapted, asked, domain.syntax,
                stop_token=domain.stop_tokens, pad_token=domain.pad_token,
                max_new_tokens=config.max_new_tokens or domain.max_answer_tokens,
                chunk=config.chunk, temperature=config.temperature, top_p=config.top_p,
                grammar=config.grammar, keys=row_keys(views, config, seed), samples=config.samples, on_stage=on_stage,
                on_cache=lambda cache: on_read(Read(cache, config.samples)) if on_read else None,
            )  # fmt: skip
        found = [candidates_of(of_query, generated, q, config.samples, domain) for q, of_query in enumerate(views)]
        if config.search_above is not None:
            options = search_options(config, domain)
            completions = search(model, base, adapted, asked, generated, options, on_stage)
            for of_query, its_views, its_rows in zip(found, views, completions, strict=False):
                of_query += searched_candidates(its_views, its_rows, domain)
        candidates += found
    return candidates


def side_by_side(config: DecodeConfig) -> int:
    """`decode.slots` as a number, which `auto` has become before anything is decoded."""
    assert isinstance(config.slots, int), "decode.slots: auto is for the pipeline to resolve"
    return config.slots


def search_options(config: DecodeConfig, domain: Domain) -> Search:
    """The search that the options ask for."""
    assert config.search_above is not None
    longest = config.max_new_tokens or domain.max_answer_tokens
    return Search(
        config.search_above, config.search_passes, domain.syntax, domain.stop_tokens, domain.pad_token,
        config.grammar, longest, search_rooms(config.chunk, longest),
    )  # fmt: skip


def searched_candidates(
    views: Sequence[View], completions: Sequence[Sequence[Completion]], domain: Domain
) -> list[Candidate]:
    """What search found beside the greedy answer of each view of one query, likeliest first, mapped back."""
    rows = [
        (view, sample, completion)
        for view, of_view in zip(views, completions, strict=False)
        for sample, completion in enumerate(of_view, 1)
    ]
    if not rows:
        return []
    lengths = np.array([len(completion.tokens) for _, _, completion in rows], np.int32)
    tokens = np.full((len(rows), lengths.max()), domain.pad_token, np.int32)
    for row, (_, _, completion) in enumerate(rows):
        tokens[row, : lengths[row]] = completion.tokens
    logprobs = np.array([completion.logprob for _, _, completion in rows], np.float32)
    said = Generated(tokens[None], logprobs[None], lengths[None])
    plain = candidates_of([view for view, _, _ in rows], said, 0, 1, domain)
    return [
        replace(candidate, sample=sample, searched=True) for candidate, (_, sample, _) in zip(plain, rows, strict=True)
    ]


def candidates_of(
    views: Sequence[View], generated: Generated, query: int, samples: int, domain: Domain
) -> list[Candidate]:
    """What the rows of one query (an index into `generated`) say, mapped back."""
    candidates = []
    for row, (view, sample) in enumerate((v, s) for v in views for s in range(samples)):
        tokens = tuple(generated.tokens[query, row, : generated.lengths[query, row]].tolist())
        answer = domain.decoded(tokens, view.task)
        candidates.append(
            Candidate(
                query=view.query,
                view=view.transform.name,
                group=view.transform.group,
                sample=sample,
                tokens=tokens,
                logprob=float(generated.logprobs[query, row]),
                answer=None if answer is None else view.transform.invert(answer),
                steps=judged_steps(view, domain, tokens),
            )
        )
    return candidates


def score_queries(
    model: Any,
    base: Any,
    trainable: Any | None,
    queries: Sequence[tuple[int, Sequence[View]]],
    answers: Sequence[Sequence[Answer]],
    domain: Domain,
    slots: int,
    shapes: ScoreShapes,
    read: Read | None = None,
    on_padding: Callable[[int, int], None] = lambda computed, useful: None,
) -> list[Scores | None]:
    """The log-probability of answers to each query under each of its views, by answer key.

    Args:
      model, base, trainable, queries, domain: as for `decode_candidates`.
      answers: to each query, in its task's own frame.
      slots: queries side by side.
      shapes: of prompts and answers (`score_shapes`).
      read: what decoding has read of the same views, where that was kept; then all queries go side by side.
      on_padding: see `score_candidates`.
    """
    scores: list[Scores | None] = []
    for start in range(0, len(queries), slots):
        batch = queries[start : start + slots]
        index = np.zeros(slots, np.int32)
        index[: len(batch)] = [slot for slot, _ in batch]
        adapted = None if trainable is None else take_slots(trainable, index)
        empty: list[Any] = [[]] * (slots - len(batch))
        views = [*(views for _, views in batch), *empty]
        asked = [*answers[start : start + slots], *empty]
        found = score_candidates(model, base, adapted, views, asked, domain, shapes, read, on_padding)
        scores += found[: len(batch)]
    return scores


def reuses_prompts(config: RunConfig, domain: Domain, queries: int, slots: int) -> bool:
    """Whether scoring takes up what decoding a group has read of its prompts.

    So it is where the views are the same, all queries go side by side, and nothing else comes between that needs
    the memory.
    """
    return (
        config.select.method in SCORED
        and config.select.score_views is None
        and config.decode.search_above is None
        and not domain.shared_prefix
        and queries <= slots
    )


def score_length(queries: Sequence[tuple[int, Sequence[View]]], lengths: Sequence[int]) -> int:
    """What the prompts of a group's scoring views are padded to: the smallest bucket that holds them.

    Views drawn anew may turn a prompt over and make it longer than any; then a length of its own.
    """
    needed = max(len(view.prompt) for _, views in queries for view in views)
    return min((size for size in lengths if size >= needed), default=128 * -(-needed // 128))


def score_shapes(length: int, domain: Domain, config: RunConfig) -> ScoreShapes:
    """The shapes in which any answers are scored after prompts of `length` tokens, known before there are answers."""
    longest = domain.max_answer_tokens
    if said := config.decode.max_new_tokens:
        # An answer may have up to twice the tokens under another view: a grid of one row, turned.
        longest = min(2 * said, max(said, longest))
    return ScoreShapes(length, config.select.score_candidates, score_rooms(longest))


def stack_size(tasks: int, slots: int) -> int:
    """How many adapters are stacked for the tasks of a group of so many slots.

    A power of two, or as many as there are slots, so that groups of any size need few programs.
    """
    return min(1 << (tasks - 1).bit_length(), max(tasks, slots))


def take_slots(stacked: Any, slots: Int[np.ndarray, " queries"]) -> Any:
    """The entries of a stacked pytree that belong to the queries, one each, on the devices.

    Of a stack on the host every device is sent the entries of its own queries, and no others.
    """
    if all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(stacked)):
        return put(jax.tree.map(lambda x: x[slots], stacked))
    return take(stacked, slots)


def prompts(views: Sequence[Sequence[View]], domain: Domain, config: DecodeConfig, length: int) -> Prompts:
    """Right-padded prompts [slots, views, length]; rows and slots without a view have length 0."""
    shape = (side_by_side(config), config.views)
    tokens = np.full((*shape, length), domain.pad_token, np.int32)
    positions = np.zeros((*shape, length, domain.position_axes), np.int32)
    lengths = np.zeros(shape, np.int32)
    for q, of_query in enumerate(views):
        for v, view in enumerate(of_query):
            size = len(view.prompt)
            tokens[q, v, :size] = view.prompt.tokens
            positions[q, v, :size] = view.prompt.positions
            lengths[q, v] = size
    return Prompts(tokens, positions, lengths)


def row_keys(views: Sequence[Sequence[View]], config: DecodeConfig, seed: int) -> np.ndarray | None:
    """Random keys of the rows, uint32[slots, views x samples, 2]; None for greedy decoding."""
    if config.temperature <= 0:
        return None
    keys = np.zeros((side_by_side(config), config.views * config.samples, 2), np.uint32)
    for q, of_query in enumerate(views):
        for v, view in enumerate(of_query):
            for s in range(config.samples):
                keys[q, v * config.samples + s] = row_key(seed, view.task.id, view.query, view.transform.name, s)
    return keys
