"""Every completion that a view finds likely: search over answers above a probability, batched over tasks and views.

The greedy answers are there already. One parallel pass over a view's prompt and
answer, `branch_points`, gives at every token the others that could have come and
how likely the answer would have been with each: the branches of the search
tree. The likeliest of them are read as prompts, all in one pass, continued
greedily (`generate.generate`, which gives a row up once it is too unlikely), and
looked through for branches in their turn, until none is left above the
threshold or the passes are used up.

What is found is what depth-first search finds (Franzen et al., ICML 2025,
arXiv 2505.07859): all completions above the threshold, in shapes that never change. Branches and answers are
disjoint events, so that a view never has more than 1 / threshold of them, and
the buffers on the device have a size that always suffices. Shapes: T tasks, R
rows, P prompt length, N longest answer, V vocabulary, K branches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ttt_jax.decode.generate import Begun, Generated, Prompts, generate
from ttt_jax.decode.params import cast, variables
from ttt_jax.decode.syntax import Syntax
from ttt_jax.decode.written import placed, walk
from ttt_jax.model.decoder import Decoder
from ttt_jax.runtime.mesh import over_tasks, tasks_here

# Tokens in one forward pass over answers.
BRANCH_TOKENS = 1 << 16


class Completion(NamedTuple):
    """One answer, its stop token included, and its log-probability in nats."""

    tokens: tuple[int, ...]
    logprob: float


@dataclass(frozen=True)
class Search:
    """What is looked for, and in which shapes.

    Attributes:
      above: completions at least as likely as this are found, 0 < above < 1.
      passes: how often branches are read and continued; each pass takes the likeliest R of every task.
      syntax, stop_tokens, pad_token, grammar: as for `generate`.
      max_new_tokens: the most tokens of an answer.
      rooms: what is written of answers lies, after the prompts, in the smallest of these that holds it, and as much
        is kept free for what follows. Ascending; the last is `max_new_tokens`.
    """

    above: float
    passes: int
    syntax: Syntax
    stop_tokens: tuple[int, ...]
    pad_token: int
    grammar: bool
    max_new_tokens: int
    rooms: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 0 < self.above < 1 or self.passes < 1:
            raise ValueError(f"search: above {self.above} must lie in (0, 1), passes {self.passes} be at least 1")
        if self.rooms[-1] != self.max_new_tokens or list(self.rooms) != sorted(set(self.rooms)):
            raise ValueError(f"search: rooms {self.rooms} must ascend to max_new_tokens {self.max_new_tokens}")

    @property
    def floor(self) -> float:
        """The threshold in nats."""
        return math.log(self.above)

    @property
    def branches(self) -> int:
        """The most disjoint events of a probability of `above` or more."""
        return math.floor(1 / self.above)


def search_rooms(chunk: int, longest: int) -> tuple[int, ...]:
    """Rooms for answers of up to `longest` tokens: one or two chunks, then four times as many, so that they are few."""
    rooms, room = [], 2 * chunk
    while 2 * room <= longest:
        rooms.append(room)
        room *= 4
    return (*rooms, longest)


class _Branch(NamedTuple):
    """The beginning of an answer of row `row`."""

    logprob: float
    row: int
    tokens: tuple[int, ...]


def search(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prompts: Prompts,
    seeds: Generated,
    options: Search,
    on_stage: Callable[[str], None] = lambda stage: None,
) -> list[list[list[Completion]]]:
    """Finds the completions of every prompt that are likelier than a threshold, those given excepted.

    With the grammar, only legal completions are looked for; their probabilities
    are the model's own all the same.

    Args:
      model, base, adapted: as for `generate`.
      prompts: T x R; rows of length 0 are padding.
      seeds: an answer to each, from which the search sets out; best the greedy one.
      options: threshold, budget and syntax.
      on_stage: told what runs next.

    Returns:
      For each task and row the completions, likeliest first. They are all that
      there are unless the passes were used up before.
    """
    base, adapted = cast(base, model.dtype), cast(adapted, model.dtype)
    T, R = prompts.lengths.shape
    found: list[list[list[Completion]]] = [[[] for _ in range(R)] for _ in range(T)]
    pending: list[list[_Branch]] = [[] for _ in range(T)]
    began: list[list[_Branch]] = [
        [_Branch(0.0, r, ()) if prompts.lengths[t, r] else _NOTHING for r in range(R)] for t in range(T)
    ]
    answers, room = seeds, 0
    for taken in range(options.passes):
        whole = _whole(began, answers, options)
        longest = max((len(b.tokens) for of_task in whole for b in of_task), default=0)
        # One room for all passes, unless answers become longer.
        room = max(room, min(size for size in options.rooms if size >= longest))
        width = prompts.tokens.shape[-1] + room
        on_stage(f"search: looking for branches, {width} tokens")
        _add_branches(model, base, adapted, prompts, began, whole, width, options, pending, found)
        if not any(pending):
            break
        began = [[*of_task[:R], *[_NOTHING] * (R - len(of_task))] for of_task in pending]
        pending = [of_task[R:] for of_task in pending]
        on_stage(f"search, pass {taken + 1}: reading and continuing answers, {width} tokens")
        begun = Begun(
            written=_array(began, lambda branch: len(branch.tokens), np.int32),
            logprobs=_array(began, lambda branch: branch.logprob, np.float32),
            floor=np.full((T, R), options.floor, np.float32),
            left=_array(began, lambda branch: options.max_new_tokens - len(branch.tokens), np.int32),
        )
        answers = generate(
            model, base, adapted, _continued(prompts, began, width, options), options.syntax,
            stop_token=options.stop_tokens, pad_token=options.pad_token, max_new_tokens=options.max_new_tokens,
            chunk=room, grammar=options.grammar, begun=begun,
        )  # fmt: skip
        for t, r in np.ndindex(T, R):
            branch = began[t][r]
            completion = Completion(branch.tokens + _row(answers, t, r), float(answers.logprobs[t, r]))
            if branch is not _NOTHING and _complete(completion, options):
                found[t][branch.row].append(completion)
    return [[sorted(row, key=lambda c: -c.logprob) for row in of_task] for of_task in found]


_NOTHING = _Branch(0.0, -1, ())


def _add_branches(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prompts: Prompts,
    began: Sequence[Sequence[_Branch]],
    whole: Sequence[Sequence[_Branch]],
    width: int,
    options: Search,
    pending: list[list[_Branch]],
    found: list[list[list[Completion]]],
) -> None:
    """Looks for branches off what `whole` continues `began` with.

    They go to `pending`, best first; those that are a stop token, and so complete, to `found`.
    """
    points = branch_points(
        model, base, adapted, _continued(prompts, whole, width, options),
        _array(whole, lambda branch: len(branch.tokens), np.int32),
        _array(began, lambda branch: len(branch.tokens), np.int32),
        np.float32(options.floor),
        syntax=options.syntax, grammar=options.grammar, longest=options.max_new_tokens, most=options.branches,
    )  # fmt: skip
    steps, tokens, logprobs = map(np.asarray, points)
    for t, r, k in zip(*np.nonzero(logprobs > -np.inf), strict=True):
        row, written = whole[t][r].row, whole[t][r].tokens[: int(steps[t, r, k])]
        branch = _Branch(float(logprobs[t, r, k]), row, (*written, int(tokens[t, r, k])))
        if branch.tokens[-1] in options.stop_tokens:
            found[t][row].append(Completion(branch.tokens, branch.logprob))
        elif len(branch.tokens) < options.max_new_tokens:
            pending[t].append(branch)
    for of_task in pending:
        # The tokens decide between equals, so that no order of rows does.
        of_task.sort(key=lambda branch: (-branch.logprob, branch.row, branch.tokens))


def _whole(began: Sequence[Sequence[_Branch]], answers: Generated, options: Search) -> list[list[_Branch]]:
    """What the rows have written in all. What goes beyond the longest answer is no beginning of one."""
    return [
        [
            b if b is _NOTHING else b._replace(tokens=(b.tokens + _row(answers, t, r))[: options.max_new_tokens])
            for r, b in enumerate(of_task)
        ]
        for t, of_task in enumerate(began)
    ]


@partial(jax.jit, static_argnames=("model", "syntax", "grammar", "longest", "most"))
def branch_points(
    model: Decoder,
    base: Any,
    adapted: Any | None,
    prompts: Prompts,
    written: Int[Array, "T R"],
    known: Int[Array, "T R"],
    floor: Float[Array, ""],
    *,
    syntax: Syntax,
    grammar: bool,
    longest: int,
    most: int,
) -> tuple[Int[Array, "T R K"], Int[Array, "T R K"], Float[Array, "T R K"]]:
    """Where answers could have gone on otherwise, in one parallel pass.

    Args:
      model, base, adapted: in the compute type (`params.cast`).
      prompts: with answers at their ends.
      written: how many of a prompt's last tokens belong to its answer.
      known: how many of these are no news: branches off them are left out.
      floor: branches less likely than this are left out, in nats.
      syntax, grammar: legal tokens.
      longest: the most tokens of an answer.
      most: K, at least 1 / exp(floor): then nothing is left out for want of room.

    Returns:
      The index in the answer, the other token, and the log-probability of the
      answer up to and including that token; -inf where there is no more branch.
    """
    T, R, P = prompts.tokens.shape
    rows = max(n for n in range(1, R + 1) if R % n == 0 and (n == 1 or tasks_here(T) * n * P <= BRANCH_TOKENS))
    N, V = min(longest, P), model.config.vocab_size
    steps = jnp.arange(N)
    start = prompts.lengths - written
    answers, _, legal = walk(syntax, prompts, written, N)

    def one_row(logits, answer, legal, written, known):
        logprobs = jax.nn.log_softmax(logits)  # [N, V]: before each token of the answer
        chosen = jnp.take_along_axis(logprobs, answer[:, None], axis=1)[:, 0]
        before = jnp.cumsum(chosen) - chosen
        total = before[:, None] + logprobs
        other = (jnp.arange(V)[None] != answer[:, None]) & ((steps >= known) & (steps < written))[:, None]
        if grammar and legal is not None:
            other &= legal
        total = jnp.where(other & (total >= floor), total, -jnp.inf)
        best, index = jax.lax.top_k(total.reshape(-1), min(most, N * V))
        return index // V, index % V, best

    def one_task(adapter, tokens, positions, start, *of_rows):
        collections = variables(base, adapter)
        hidden, _ = model.apply(collections, tokens, positions, method="hidden")
        # The token before an answer's first predicts it.
        at = jnp.clip(start[:, None] - 1 + steps[None], 0, P - 1)
        hidden = jnp.take_along_axis(hidden, at[..., None], axis=1)
        logits: Any = model.apply(collections, hidden, method="logits")
        return jax.vmap(one_row)(logits, *of_rows)

    def blocks(x):
        return jnp.moveaxis(x.reshape(T, R // rows, rows, *x.shape[2:]), 1, 0)

    arrays = (prompts.tokens, prompts.positions, start, answers, legal, written, known)
    out = jax.lax.map(lambda block: over_tasks(one_task)(adapted, *block), jax.tree.map(blocks, arrays))
    return jax.tree.map(lambda x: jnp.moveaxis(x, 0, 1).reshape(T, R, -1), out)


def _complete(completion: Completion, options: Search) -> bool:
    return (
        completion.logprob >= options.floor
        and len(completion.tokens) <= options.max_new_tokens
        and completion.tokens[-1] in options.stop_tokens
    )


def _row(answers: Generated, t: int, r: int) -> tuple[int, ...]:
    return tuple(answers.tokens[t, r, : answers.lengths[t, r]].tolist())


def _array(branches: Sequence[Sequence[_Branch]], value: Callable[[_Branch], float], dtype: Any) -> np.ndarray:
    return np.array([[value(branch) for branch in of_task] for of_task in branches], dtype)


def _continued(prompts: Prompts, branches: Sequence[Sequence[_Branch]], width: int, options: Search) -> Prompts:
    """The prompt of each branch's row with its tokens written after it, padded to `width`."""
    T, R, axes = *prompts.lengths.shape, prompts.positions.shape[-1]
    tokens = np.full((T, R, width), options.pad_token, np.int32)
    positions = np.zeros((T, R, width, axes), np.int32)
    lengths = np.zeros((T, R), np.int32)
    for t, r in np.ndindex(T, R):
        branch = branches[t][r]
        if branch is _NOTHING:
            continue
        size = int(prompts.lengths[t, branch.row])
        end = lengths[t, r] = size + len(branch.tokens)
        tokens[t, r, :size] = prompts.tokens[t, branch.row, :size]
        tokens[t, r, size:end] = branch.tokens
        positions[t, r, :size] = prompts.positions[t, branch.row, :size]
    written = _array(branches, lambda branch: len(branch.tokens), np.int32)
    return placed(options.syntax, Prompts(tokens, positions, lengths), written, options.max_new_tokens)
