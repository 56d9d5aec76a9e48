"""One task's demonstrations as training sequences (arXiv 2411.07279, section 3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ttt_jax.config import ExamplesConfig
from ttt_jax.tasks.task import Augmenter, Domain, Encoded, Task, Transform, keyed_rng

_PROBES = 8
_POOL_DRAWS = 10


_Written = tuple[Task, Encoded]
Arrays = dict[str, np.ndarray]
"""tokens, positions and weights, with equal leading axes."""


class _Drawn(NamedTuple):
    """A sequence before it is written: some demos (the held-out one last), how they change, and what may replace it."""

    demos: tuple[int, ...]
    part: Task
    transform: Transform
    augmented: Task | None


class TooLong(ValueError):
    """No training sequence of a task fits `max_tokens`."""


class ExampleStream:
    """Training batches of one task, every sequence a function of (seed, task id, step, index).

    Both layouts show demonstrations one after the other, each under the same
    transform. `all_outputs` writes them in the transform's order;
    `leave_one_out` holds one out, as the last pair; `direct` shows one alone.
    Where the whole task is longer than `config.max_tokens`, sequences have as many demonstrations,
    randomly chosen, as fit.

    With `config.cap` the sequences form a fixed pool of at most so many
    distinct ones, each used once an epoch in random order. For `leave_one_out`
    it is the paper's: every held-out demo, with and without each of the
    augmenters; of each, one copy under a random transform; if these are fewer
    than the cap, the same with one more demo left out; shuffled and cut.

    Only demonstrations are used: answers and query inputs are not.
    """

    max_length: int
    """Tokens of the longest sequence that it gives, at most `config.max_tokens`."""

    def __init__(self, task: Task, domain: Domain, config: ExamplesConfig, seed: int):
        """Prepares the stream; draws the pool where there is one.

        Raises:
          TooLong: not even two demonstrations (one, where there is one) fit.
          ValueError: an option is out of range or names no transform or augmenter.
        """
        if not task.demos:
            raise ValueError(f"task {task.id}: has no demonstrations to train on")
        for option, value in (("cap", config.cap), ("augment_every", config.augment_every)):
            if value is not None and value < 1:
                raise ValueError(f"adapt.examples.{option}: {value}, must be at least 1")
        self._task, self._domain, self._config, self._seed = task.hide_answers(), domain, config, seed
        self._rewriter = domain.rewriter(task.demos)
        # The demos that can lead a sequence that does not hold them all; none where all fit.
        self._leaders: tuple[int, ...] = ()
        # direct only: the demos that fit.
        self._singles: tuple[int, ...] = ()
        # Kept as grids and written when used: 400 tasks' pools of tokens would take gigabytes.
        self._pool: list[Task] | None = None
        if config.cap is not None and config.layout == "leave_one_out":
            self._set_pool(self._leave_one_out_pool(config.cap))
        else:
            whole = self._part(range(len(task.demos)))
            whole_length = self._length(range(len(task.demos)))
            if config.layout == "direct":
                self._singles = self._find_singles()
                self.max_length = max(self._length((i,)) for i in self._singles)
            elif whole_length > config.max_tokens:
                self._leaders = self._find_leaders(whole_length)
                self.max_length = config.max_tokens
            else:
                self.max_length = max(whole_length, *self._probe_lengths(whole))
            if config.cap is not None:
                self._set_pool(self._drawn_pool(config.cap))

    @property
    def pool_size(self) -> int | None:
        """Distinct sequences in the pool; None where every sequence is drawn afresh."""
        return None if self._pool is None else len(self._pool)

    def sequences(self, step: int, batch_size: int) -> list[Encoded]:
        """The `batch_size` sequences of a step, unpadded."""
        if self._pool is None:
            return [self._written(self._draw(self._rng(step, i)))[1] for i in range(batch_size)]
        size, orders, chosen = len(self._pool), {}, []
        for n in range(step * batch_size, (step + 1) * batch_size):
            epoch, place = divmod(n, size)
            if epoch not in orders:
                orders[epoch] = keyed_rng(self._seed, self._task.id, "epoch", epoch).permutation(size)
            chosen.append(self._encode(self._pool[orders[epoch][place]]))
        return chosen

    def batch(self, step: int, batch_size: int, length: int) -> Arrays:
        """The sequences of a step, padded on the right.

        Args:
          step: counts from 0.
          batch_size: sequences in the batch.
          length: tokens to pad to, at least `max_length`.

        Returns:
          tokens int32[batch_size, length], positions int32[batch_size, length, axes],
          weights float32[batch_size, length]; the padding has pad tokens, position 0 and weight 0.
        """
        arrays = self.padding((batch_size,), length)
        self.fill(arrays, step)
        return arrays

    def padding(self, shape: Sequence[int], length: int) -> Arrays:
        """What `fill` writes to: `batch`, of any leading shape, with nothing but padding."""
        if length < self.max_length:
            raise ValueError(f"task {self._task.id}: padded to {length}, its sequences take {self.max_length} tokens")
        return {
            "tokens": np.full((*shape, length), self._domain.pad_token, np.int32),
            "positions": np.zeros((*shape, length, self._domain.position_axes), np.int32),
            "weights": np.zeros((*shape, length), np.float32),
        }

    def fill(self, arrays: Arrays, step: int) -> None:
        """Writes the sequences of a step into padding of shape [batch_size, length]."""
        rows = list(zip(arrays["tokens"], arrays["positions"], arrays["weights"], strict=True))
        if self._pool is None and self._rewriter is not None:
            for i, row in enumerate(rows):
                self._rewrite(self._draw(self._rng(step, i)), *row)
            return
        for encoded, row in zip(self.sequences(step, len(rows)), rows, strict=True):
            self._copy(encoded, *row)

    def _rewrite(self, drawn: _Drawn, tokens: np.ndarray, positions: np.ndarray, weights: np.ndarray) -> None:
        """Writes `_written(drawn)` to a row of padding, from what the rewriter keeps."""
        assert self._rewriter
        if drawn.augmented:
            encoded = self._encode(drawn.transform.apply(drawn.augmented))
            if len(encoded) <= self.max_length:
                return self._copy(encoded, tokens, positions, weights)
        tokens, positions = tokens[: self.max_length], positions[: self.max_length]
        spans = self._rewriter.write(drawn.demos, drawn.transform, tokens, positions)
        if spans is None:
            spans = self._rewriter.write(drawn.demos, None, tokens, positions) or []
        of_output = _output_weights(len(spans), self._config)
        if self._config.input_loss:
            weights[1 : spans[-1][1]] = self._config.input_loss
        for (start, stop), weight in zip(spans, of_output, strict=False):
            weights[start:stop] = weight
        return None

    def _copy(self, encoded: Encoded, tokens: np.ndarray, positions: np.ndarray, weights: np.ndarray) -> None:
        size = len(encoded)
        tokens[:size], positions[:size] = encoded.tokens, encoded.positions
        weights[:size] = loss_weights(encoded.outputs, self._config)

    def _rng(self, step: int, index: int) -> np.random.Generator:
        return keyed_rng(self._seed, self._task.id, step, index)

    def _part(self, demos: Sequence[int], held_out: int | None = None) -> Task:
        """The task of some demos: one is the solved query where it is held out, else all are context."""
        pairs = self._task.demos
        context = tuple(pairs[i] for i in demos if i != held_out)
        x, y = pairs[demos[-1] if held_out is None else held_out]
        return Task(self._task.id, context, (x,), None if held_out is None else (y,))

    def _encode(self, part: Task) -> Encoded:
        return self._domain.encode([*part.demos, *zip(part.queries, part.answers or (), strict=False)])

    def _length(self, demos: Sequence[int]) -> int:
        """Tokens of some demos as given."""
        return self._rewriter.length(demos) if self._rewriter else len(self._encode(self._part(demos)))

    def _draw(self, rng: np.random.Generator) -> _Drawn:
        config = self._config
        demos = tuple(range(len(self._task.demos))) if not self._leaders else self._fitting(rng)
        if self._singles:
            demos = (int(rng.choice(self._singles)),)
        held_out = int(rng.choice(demos)) if config.layout == "leave_one_out" else None
        part, augmented = self._part(demos, held_out), None
        if held_out is not None:
            demos = (*(i for i in demos if i != held_out), held_out)
        transform = self._domain.transform(config.transforms, part, rng)
        if config.augmenters and rng.integers(config.augment_every) == 0:
            name = config.augmenters[int(rng.integers(len(config.augmenters)))]
            augmented = _augment(self._domain.augmenter(name, part, rng), part)
        return _Drawn(demos, part, transform, augmented)

    def _written(self, drawn: _Drawn) -> _Written:
        """The first that is no longer than `max_length`: augmented and transformed, transformed, as given."""
        for part in filter(None, (drawn.augmented, drawn.part)):
            changed = drawn.transform.apply(part)
            encoded = self._encode(changed)
            if len(encoded) <= self.max_length:
                return changed, encoded
        # A text may grow under a transform, and a grid that is turned may have more rows to close.
        return drawn.part, self._encode(drawn.part)

    def _probe_lengths(self, whole: Task) -> Iterable[int]:
        """Lengths within max_tokens of the whole task, transformed and augmented."""
        config, rng = self._config, keyed_rng(self._seed, self._task.id, "length")
        changes = [self._domain.transform(config.transforms, whole, rng) for _ in range(_PROBES)]
        changes += [self._domain.augmenter(name, whole, rng) for name in config.augmenters]
        lengths = [len(self._encode(part)) for change in changes if (part := _augment(change, whole))]
        return [0, *(n for n in lengths if n <= config.max_tokens)]

    def _find_singles(self) -> tuple[int, ...]:
        """Demos that fit alone. Raises TooLong where there are none."""
        lengths = [self._length((i,)) for i in range(len(self._task.demos))]
        fitting = tuple(i for i, length in enumerate(lengths) if length <= self._config.max_tokens)
        if not fitting:
            raise self._too_long(min(lengths))
        return fitting

    def _find_leaders(self, whole_length: int) -> tuple[int, ...]:
        """Demos that fit together with at least one other. Raises TooLong where there are none."""
        count, limit = len(self._task.demos), self._config.max_tokens
        if count == 1:
            raise self._too_long(whole_length)
        lengths = {(i, j): self._length((i, j)) for i in range(count) for j in range(count) if i != j}
        leaders = tuple(i for i in range(count) if min(lengths[i, j] for j in range(count) if j != i) <= limit)
        if not leaders:
            raise self._too_long(min(lengths.values()))
        return leaders

    def _fitting(self, rng: np.random.Generator) -> tuple[int, ...]:
        """Random demos that fit max_tokens, two or more, in the order of the task."""
        chosen = [int(rng.choice(self._leaders))]
        for i in rng.permutation(len(self._task.demos)).tolist():
            if i in chosen:
                continue
            more = sorted([*chosen, i])
            if self._length(more) <= self._config.max_tokens:
                chosen = more
        return tuple(chosen)

    def _set_pool(self, pool: list[_Written]) -> None:
        self._pool = [part for part, _ in pool]
        self.max_length = max(len(encoded) for _, encoded in pool)

    def _drawn_pool(self, cap: int) -> list[_Written]:
        pool: dict[bytes, _Written] = {}
        for n in range(_POOL_DRAWS * cap):  # a small task may not have `cap` distinct sequences
            _add(pool, self._written(self._draw(keyed_rng(self._seed, self._task.id, "pool", n))))
            if len(pool) == cap:
                break
        return list(pool.values())

    def _leave_one_out_pool(self, cap: int) -> list[_Written]:
        every = range(len(self._task.demos))
        rng = keyed_rng(self._seed, self._task.id, "pool")
        parts = [self._part(every, i) for i in every]
        pool = self._expand(parts, rng)
        if len(pool) < cap and len(every) > 2:
            parts = [
                self._part([k for k in every if k != left_out], i) for i in every for left_out in every if i != left_out
            ]
            pool += self._expand(parts, rng)
        if not pool:
            raise self._too_long(min(len(self._encode(part)) for part in parts))
        return pool[:cap]

    def _expand(self, parts: Sequence[Task], rng: np.random.Generator) -> list[_Written]:
        """The parts, each with each augmenter, and a transformed copy of each: distinct, fitting, shuffled."""
        pool: dict[bytes, _Written] = {}
        for part in parts:
            _add(pool, (part, self._encode(part)))
            for name in self._config.augmenters:
                variant = _augment(self._domain.augmenter(name, part, rng), part)
                if variant:
                    _add(pool, (variant, self._encode(variant)))
        for variant, _ in tuple(pool.values()):
            copy = self._domain.transform(self._config.transforms, variant, rng).apply(variant)
            _add(pool, (copy, self._encode(copy)))
        fitting = [written for written in pool.values() if len(written[1]) <= self._config.max_tokens]
        return [fitting[i] for i in rng.permutation(len(fitting))]

    def _too_long(self, length: int) -> TooLong:
        return TooLong(
            f"task {self._task.id}: its shortest training sequence takes {length} tokens, "
            f"adapt.examples.max_tokens is {self._config.max_tokens}"
        )


def hold_out(task: Task, domain: Domain, config: ExamplesConfig, seed: int) -> tuple[Task, Encoded | None]:
    """The task without one of its demonstrations, and the sequence that shows this one after all others.

    Which one is drawn from (seed, task id). A task of fewer than three
    demonstrations keeps them all, as does one whose demonstrations do not fit
    `max_tokens` together: there is no sequence then.
    """
    count = len(task.demos)
    if count < 3:
        return task, None
    chosen = int(keyed_rng(seed, "held out", task.id).integers(count))
    others = tuple(demo for i, demo in enumerate(task.demos) if i != chosen)
    encoded = domain.encode([*others, task.demos[chosen]])
    if len(encoded) > config.max_tokens:
        return task, None
    return replace(task, demos=others), encoded


def loss_weights(outputs: Int[np.ndarray, " length"], config: ExamplesConfig) -> Float[np.ndarray, " length"]:
    """The weight of predicting each token of a sequence, from `Encoded.outputs`.

    Outputs weigh 1: the last one, and with `all_outputs` or `demo_loss` those
    from the second on. The first has no demonstration before it; it weighs
    `first_output_loss`, or 1 where it is the last, in a sequence of one
    demonstration. Everything else weighs `input_loss`, and the first token,
    which nothing precedes, 0.
    """
    weights = _output_weights(int(outputs.max()) + 1, config)[outputs]  # -1, no output, is the last entry
    weights[0] = 0.0
    return weights


def _output_weights(count: int, config: ExamplesConfig) -> Float[np.ndarray, " entries"]:
    """The weight of each of `count` outputs, then that of everything else."""
    weights = np.full(count + 1, config.input_loss, np.float32)
    if config.layout != "leave_one_out" or config.demo_loss:
        weights[1:count] = 1.0
        if config.first_output_loss:
            weights[0] = config.first_output_loss
    weights[count - 1] = 1.0
    return weights


def _add(pool: dict[bytes, _Written], written: _Written) -> None:
    pool.setdefault(written[1].tokens.tobytes(), written)


def _augment(augmenter: Augmenter, part: Task) -> Task | None:
    """The changed task, None where it is not a legal one (a grid grows beyond 30x30)."""
    try:
        return augmenter.apply(part)
    except ValueError:
        return None
