"""Which rule a training sequence shows: a generator's own, a new one made of old parts, or an invented one.

The generators know 379 rules, which a model soon knows by heart; it then
recognises rules instead of inferring them. New rules cost nothing: the inputs
of one generator under the program of another, the families of
`train/invented`, and changes of the inputs, of the outputs, or of both. Only
numpy here: worker processes import this module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Literal

import numpy as np

from ttt_jax.tasks.augmenters import Increase, Reflect, Repeat
from ttt_jax.tasks.grids import COLOURS, MAX_SIDE
from ttt_jax.tasks.rearc import Pair, PairTimeout, cpu_limit, sample_pair
from ttt_jax.tasks.transforms import SYMMETRIES, symmetric
from ttt_jax.train.config import ReArcConfig
from ttt_jax.train.invented import FAMILIES
from ttt_jax.train.invented.rule import PairSampler

# CPU seconds for a program on inputs that it was not written for: many are then exponential.
_CROSSED_TIMEOUT = 0.2

# Likewise for a pair of an invented rule; most take less than a millisecond.
_INVENTED_TIMEOUT = 0.5

GridChange = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Rule:
    """A source of pairs that all follow one rule.

    Attributes:
      generator_id: makes the inputs; unused where the rule is invented.
      invented: makes the pairs, of a rule that no generator has a part in.
      program_id: whose verifier makes the outputs; None for the generator's own pairs.
      program_reads: what the program is given: the generator's input, or its output (then two rules follow each other).
      change: of grids, or None.
      changed_sides: which grids of a pair: 0 its input, 1 its output. Both: the same rule in another guise, such as
        at twice the size.
    """

    generator_id: str
    invented: PairSampler | None = None
    program_id: str | None = None
    program_reads: Literal["input", "output"] = "input"
    change: GridChange | None = None
    changed_sides: tuple[int, ...] = (1,)

    @property
    def patience(self) -> int:
        """How many failed pairs it is allowed in one sequence."""
        if self.invented is not None:
            return 40  # they take no time, and some families leave every second input
        return 4 if self.program_id is None else 1

    def sample(
        self, rng: Random, difficulty: tuple[float, float], timeout: float, failures: Counter[str]
    ) -> Pair | None:
        """One pair, or None where it came to nothing (counted by reason); see `sample_pair`."""
        if self.invented is not None:
            pair = _invent(self.invented, np.random.default_rng(rng.getrandbits(64)), difficulty[1], failures)
        else:
            timeout = timeout if self.program_id is None else min(timeout, _CROSSED_TIMEOUT)
            pair = sample_pair(
                self.generator_id, rng, difficulty, timeout, failures, self.program_id, self.program_reads
            )
        if pair is None or self.change is None:
            return pair
        question, answer = (self.change(g) if side in self.changed_sides else g for side, g in enumerate(pair))
        if max(*question.shape, *answer.shape) > MAX_SIDE:
            failures["grew beyond 30 x 30"] += 1
            return None
        return question, answer

    def shows_in(self, pairs: Sequence[Pair]) -> bool:
        """Whether pairs of a made-up rule can teach it: outputs that differ, and mostly neither blank nor the input."""
        if self.program_id is None and self.invented is None:
            return True
        outputs = {(y.tobytes(), y.shape) for _, y in pairs}
        dull = sum(y.min() == y.max() or np.array_equal(x, y) for x, y in pairs)
        return len(outputs) > len(pairs) // 2 and dull <= len(pairs) // 4


def _invent(sampler: PairSampler, rng: np.random.Generator, size: float, failures: Counter[str]) -> Pair | None:
    """A pair of an invented rule, or None, counted by reason."""
    with _spared(failures):
        pair = sampler(rng, size)
        failures["invented input does not show its rule"] += pair is None
        return pair
    return None


def _draw_invented(rng: np.random.Generator, failures: Counter[str]) -> PairSampler | None:
    """A rule of any family; None where drawing it came to nothing, counted by reason."""
    with _spared(failures):
        return FAMILIES[int(rng.integers(len(FAMILIES)))](rng)
    return None


@contextmanager
def _spared(failures: Counter[str]) -> Iterator[None]:
    """What an invented rule raises, or how long it takes, costs what is drawn and not the run."""
    try:
        with cpu_limit(_INVENTED_TIMEOUT):
            yield
    except PairTimeout:
        failures["timeout"] += 1
    except Exception as error:
        failures[f"invented rule raised {type(error).__name__}"] += 1


def draw_rule(
    config: ReArcConfig, ids: Sequence[str], rng: np.random.Generator, failures: Counter[str] | None = None
) -> Rule:
    """A rule of the given generators, made up in the shares that the config asks for.

    Where an invented rule cannot be drawn, the sequence shows a generator's own; `failures` counts why.
    """
    rule = Rule(ids[int(rng.integers(len(ids)))])
    if rng.random() < config.invented:
        # A stream of its own: what comes after does not depend on how far the family came.
        own = np.random.default_rng(int(rng.integers(2**63)))
        rule = replace(rule, invented=_draw_invented(own, Counter() if failures is None else failures))
    elif rng.random() < config.crossed:
        program = ids[int(rng.integers(len(ids)))]
        rule = replace(rule, program_id=program, program_reads=("input", "output")[int(rng.integers(2))])
    if rng.random() < config.altered:
        rule = replace(rule, change=draw_change(rng), changed_sides=((0,), (1,), (0, 1))[int(rng.integers(3))])
    return rule


def draw_change(rng: np.random.Generator) -> GridChange:
    """A change of single grids, its parameters drawn: moved, recoloured, enlarged, repeated, framed, cut or fallen."""
    return _CHANGES[int(rng.integers(len(_CHANGES)))](rng)


def _symmetry(rng: np.random.Generator) -> GridChange:
    chosen = int(rng.integers(1, len(SYMMETRIES)))
    return lambda grid: np.ascontiguousarray(symmetric(grid, chosen))


def _recolour(rng: np.random.Generator) -> GridChange:
    """A permutation of all colours, or of two of them."""
    colours = np.arange(COLOURS, dtype=np.int8)
    moved = rng.permutation(COLOURS)[: COLOURS if rng.random() < 0.5 else 2]
    colours[moved] = np.roll(colours[moved], 1)
    return lambda grid: colours[grid]


def _roll(rng: np.random.Generator) -> GridChange:
    shift = tuple(int(s) for s in rng.integers(-2, 3, 2))
    return lambda grid: np.roll(grid, shift, (0, 1))


def _enlarge(rng: np.random.Generator) -> GridChange:
    return Increase(*((2, 2), (3, 3), (2, 1), (1, 2))[int(rng.integers(4))]).apply_grid


def _reflect(rng: np.random.Generator) -> GridChange:
    return Reflect(int(rng.integers(2)), bool(rng.integers(2))).apply_grid


def _repeat(rng: np.random.Generator) -> GridChange:
    return Repeat(int(rng.integers(3)), int(rng.integers(2, 4))).apply_grid


def _frame(rng: np.random.Generator) -> GridChange:
    colour = int(rng.integers(COLOURS))
    return lambda grid: np.pad(grid, 1, constant_values=colour)


def _cut(rng: np.random.Generator) -> GridChange:
    """The half of the grid on one side."""
    side = int(rng.integers(4))

    def cut(grid: np.ndarray) -> np.ndarray:
        rows, columns = (max(1, n // 2) for n in grid.shape)
        return (grid[:rows], grid[-rows:], grid[:, :columns], grid[:, -columns:])[side]

    return cut


def _fall(rng: np.random.Generator) -> GridChange:
    """Cells of other colours than the commonest fall to one side."""
    symmetry = int(rng.choice([0, 2, 1, 7]))  # down, up, right, left: its own inverse each

    def fall(grid: np.ndarray) -> np.ndarray:
        ground = np.bincount(grid.ravel()).argmax()
        grid = symmetric(grid, symmetry)
        order = np.argsort(grid != ground, axis=0, kind="stable")
        return np.ascontiguousarray(symmetric(np.take_along_axis(grid, order, 0), symmetry))

    return fall


_CHANGES = (_symmetry, _symmetry, _recolour, _recolour, _roll, _enlarge, _reflect, _repeat, _frame, _cut, _fall)
