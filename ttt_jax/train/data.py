"""Training batches of re-arc tasks, each a pure function of (seed, step).

Nothing is carried from one batch to the next, so a run resumes exactly and the
data do not depend on how many processes generate them. Only numpy here: worker
processes import this module and must not start jax.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from ttt_jax.tasks.encoding import PAD, encode_pairs, encoded_length
from ttt_jax.tasks.rearc import Pair, training_ids
from ttt_jax.tasks.task import keyed_rng
from ttt_jax.tasks.transforms import random_transform
from ttt_jax.train.config import ReArcConfig
from ttt_jax.train.overlap import is_held
from ttt_jax.train.rules import Rule, draw_rule

# What part a token plays in the loss; the values of `Batch.roles`.
NO_LOSS, INPUT_ROLE, FIRST_OUTPUT, MIDDLE_OUTPUT, LAST_OUTPUT = range(5)

# The arrays of a batch that go to the device, uint8[rows, length] each.
BATCH_ARRAYS = ("tokens", "rows", "cols", "roles")

# Rows that are drawn again while they are too empty; the fullest of them is then taken.
_MAX_REDRAWS = 6


@dataclass(frozen=True)
class Batch:
    """Sequences of one length, in the fewest bytes; `sft.expand` makes the model's arrays of them.

    Attributes:
      tokens: uint8[rows, length].
      rows, cols: uint8[rows, length], the grid positions (the sequence position is the index).
      roles: uint8[rows, length], one of NO_LOSS .. LAST_OUTPUT.
      real_tokens: how many are not padding.
      pairs: how many pairs were generated for it, those thrown away not counted.
      seconds: CPU time that making it took.
      failures: pairs thrown away, by reason.
    """

    tokens: np.ndarray
    rows: np.ndarray
    cols: np.ndarray
    roles: np.ndarray
    real_tokens: int
    pairs: int
    seconds: float
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def length(self) -> int:
        return self.tokens.shape[1]

    def arrays(self) -> dict[str, np.ndarray]:
        return {name: getattr(self, name) for name in BATCH_ARRAYS}


def batch_length(config: ReArcConfig, seed: int, step: int) -> int:
    """The length bucket of a step."""
    rng = keyed_rng("length", seed, step)
    return config.lengths[int(rng.choice(len(config.lengths), p=config.length_probabilities))]


def make_batch(config: ReArcConfig, seed: int, step: int) -> Batch:
    """The training batch of a step: rows of the training generators."""
    length = batch_length(config, seed, step)
    return make_rows(config, training_ids(), length, config.rows(length), ("train", seed, step), cut=True)


def make_rows(
    config: ReArcConfig, ids: Sequence[str], length: int, rows: int, key: tuple[str | int, ...], cut: bool = False
) -> Batch:
    """`rows` sequences of at most `length` tokens, padded.

    Row i takes its pairs from key `(*key, i // config.reuse)`, and its
    symmetry, colours and order from `(*key, i)`.

    Args:
      ids: the generators drawn from.
      key: names this batch among all others.
      cut: a row that has its pairs takes one more that does not fit, which ends where the row does: fewer tokens are
        padding, and what there is of the pair teaches as much a token as any other.
    """
    started = time.process_time()
    batch = Batch(
        tokens=np.full((rows, length), PAD, np.uint8),
        rows=np.zeros((rows, length), np.uint8),
        cols=np.zeros((rows, length), np.uint8),
        roles=np.full((rows, length), NO_LOSS, np.uint8),
        real_tokens=0,
        pairs=0,
        seconds=0.0,
    )
    real_tokens = generated = 0
    pairs: list[Pair] = []
    for i in range(rows):
        if i % config.reuse == 0:
            rng = keyed_rng("pairs", *key, i // config.reuse)
            pairs, drawn = draw_pairs(config, ids, length, rng, batch.failures, cut)
            generated += drawn
        transform = random_transform(config.transforms, len(pairs), keyed_rng("transform", *key, i))
        encoded = encode_pairs(transform.apply_pairs(pairs))
        n = min(len(encoded), length)
        batch.tokens[i, :n] = encoded.tokens[:n]
        batch.rows[i, :n] = encoded.positions[:n, 1]
        batch.cols[i, :n] = encoded.positions[:n, 2]
        batch.roles[i, :n] = roles(encoded.outputs, len(pairs))[:n]
        real_tokens += n
    seconds = time.process_time() - started
    return Batch(**batch.arrays(), real_tokens=real_tokens, pairs=generated, seconds=seconds, failures=batch.failures)


def roles(outputs: np.ndarray, pairs: int) -> np.ndarray:
    """`Encoded.outputs` (the pair an output token belongs to, or -1) to uint8 roles; the opening BOS has none."""
    by_pair = np.full(pairs + 1, MIDDLE_OUTPUT, np.uint8)
    by_pair[0] = FIRST_OUTPUT
    by_pair[pairs - 1] = LAST_OUTPUT
    by_pair[-1] = INPUT_ROLE  # index -1: not an output
    result = by_pair[outputs]
    result[0] = NO_LOSS
    return result


def draw_pairs(
    config: ReArcConfig,
    ids: Sequence[str],
    length: int,
    rng: np.random.Generator,
    failures: Counter[str],
    cut: bool = False,
) -> tuple[list[Pair], int]:
    """Pairs of one rule that fit in `length` tokens and fill `min_fill` of it; with `cut` the last may not fit.

    Where several draws leave the row emptier than that, the fullest is taken.

    Returns:
      the pairs, and how many were generated in all.
    """
    bounds, probabilities = zip(*config.difficulties, strict=True)
    best: list[Pair] = []
    fullest = generated = 0
    for attempt in range(50):
        if best and attempt >= _MAX_REDRAWS:
            break
        rule = draw_rule(config, ids, rng, failures)
        difficulty = (0.0, bounds[int(rng.choice(len(bounds), p=probabilities))])
        target = int(rng.integers(config.min_pairs, config.max_pairs + 1))
        pairs, used, drawn = _fill_row(config, rule, difficulty, target, length, rng, failures, cut)
        generated += drawn
        if len(pairs) >= config.min_pairs and used > fullest and rule.shows_in(pairs):
            best, fullest = pairs, used
            if used >= config.min_fill * length:
                break
    if not best:
        raise ValueError(
            f"no {config.min_pairs} pairs of any generator fit in {length} tokens: raise data.lengths, "
            f"or lower data.min_pairs or the bounds of data.difficulties"
        )
    return best, generated


def _fill_row(
    config: ReArcConfig,
    rule: Rule,
    difficulty: tuple[float, float],
    target: int,
    length: int,
    rng: np.random.Generator,
    failures: Counter[str],
    cut: bool,
) -> tuple[list[Pair], int, int]:
    """Distinct pairs of one rule until the row is full: (pairs, tokens used, pairs generated)."""
    python_rng = Random(int(rng.integers(2**63)))
    pairs: list[Pair] = []
    seen: set[tuple[bytes, tuple[int, ...]]] = set()
    used, smallest, failed, drawn = 1, length, 0, 0  # BOS is the first token
    while len(pairs) < config.max_pairs and failed < rule.patience:
        if not cut and len(pairs) >= target and used >= config.min_fill * length:
            break
        pair = rule.sample(python_rng, difficulty, config.pair_timeout, failures)
        if pair is None:
            failed += 1
            continue
        drawn += 1
        if is_held(pair, config.exclude):
            failed += 1
            failures["pair of a task kept for evaluation"] += 1
            continue
        content = (pair[0].tobytes(), pair[0].shape)
        if content in seen:  # an input seen before could be answered by copying
            failed += 1
            failures["input repeated"] += 1
            continue
        # A symmetry may turn it: a newline a row becomes a newline a column.
        size = max(encoded_length([pair]), encoded_length([(pair[0].T, pair[1].T)])) - 1
        smallest = min(smallest, size)
        if used + size > length:
            if cut and len(pairs) >= config.min_pairs:
                pairs.append(pair)
                used = length
            break
        seen.add(content)
        pairs.append(pair)
        used += size
        if used + (config.min_pairs - len(pairs)) * smallest > length:  # it will not hold enough pairs
            break
    return pairs, used, drawn
