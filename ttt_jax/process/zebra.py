"""Steps of logic grids: "clues 1, 4 -> House 2 Name = Eric; House 3 Pet != cat".

A step names the clues that it uses ("clues none" for what follows from earlier
cells alone) and the cells that they fix or exclude. It may name the cells that
it rests on, "clues 4; given House 2 Name = Eric -> ..", and then rests on no
others. A SAT solver decides whether the cells follow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from ttt_jax.process.steps import (
    CONTRADICTS_PROBLEM,
    CONTRADICTS_STEP,
    NOT_ENTAILED,
    UNKNOWN_PREMISE,
    UNREADABLE,
    VALID,
    Verdict,
    corrupted,
    wrong,
)
from ttt_jax.tasks.zebra.puzzle import Puzzle
from ttt_jax.tasks.zebra.solver import Cell, ClueSolver

Fact = tuple[Cell, bool]
"""A cell, and whether it holds."""

_EXHAUSTIVE = 2


class Step(NamedTuple):
    """clues: indices from 0. given: cells named as premises, None where none are named. facts: what is concluded."""

    clues: tuple[int, ...]
    given: tuple[Fact, ...] | None
    facts: tuple[Fact, ...]


class ZebraProcess:
    """`ttt_jax.process.steps.Process` of a `Puzzle`."""

    def verify(self, problem: Puzzle, chain: Sequence[str]) -> list[Verdict]:
        verdicts: list[Verdict] = []
        with ClueSolver(*problem.size, problem.clues) as solver:
            known: list[Fact] = []
            said: list[Fact] = []
            for text in chain:
                step = read_step(problem, text)
                verdict = wrong(UNREADABLE, text) if step is None else _judge(problem, solver, step, known, said)
                verdicts.append(verdict)
                if step is not None:
                    said += step.facts
                    if verdict.ok:
                        known += step.facts
        return verdicts

    def oracle_trace(self, problem: Puzzle) -> list[str]:
        """Again and again the fewest clues that fix new cells, with all that they fix.

        Every one and every two clues are tried; where more are needed, a
        subset-minimal set for each cell that is left, and of these the smallest.
        """
        clues = range(len(problem.clues))
        with ClueSolver(*problem.size, problem.clues) as solver:
            solution = solver.solution(clues)
            if solution is None:
                raise ValueError("oracle_trace: no assignment satisfies all clues")
            left = [((a, v), h) for a, places in enumerate(solution) for v, h in enumerate(places)]
            known: list[Fact] = []
            trace = []
            while left:
                used, new = self._next(solver, known, left)
                known += [(cell, True) for cell in new]
                left = [cell for cell in left if cell not in new]
                trace.append(write_step(problem, Step(tuple(used), None, tuple((cell, True) for cell in new))))
        return trace

    def _next(self, solver: ClueSolver, known: list[Fact], left: list[Cell]) -> tuple[Sequence[int], list[Cell]]:
        clues = range(len(solver.clues))
        for count in range(_EXHAUSTIVE + 1):
            for used in combinations(clues, count):
                if new := _entailed(solver, used, known, left):
                    return used, new
        cores = []
        for cell in left:
            facts = [*known, (cell, False)]
            if not solver.possible(clues, facts):
                cores.append(solver.core(clues, facts))
        if not cores:
            raise ValueError("oracle_trace: the clues leave more than one assignment")
        used = min(cores, key=len)
        return used, _entailed(solver, used, known, left)

    def corrupt(self, problem: Puzzle, trace: Sequence[str], rng: np.random.Generator) -> tuple[list[str], int]:
        """A clue left out, another value or house, `!=` for `=`, or a step before its time."""

        def attempt() -> list[str] | None:
            chain, i = list(trace), int(rng.integers(len(trace)))
            step = read_step(problem, chain[i])
            assert step is not None
            kind = int(rng.integers(4))
            if kind == 0:
                if not step.clues:
                    return None
                left_out = int(rng.integers(len(step.clues)))
                step = step._replace(clues=step.clues[:left_out] + step.clues[left_out + 1 :])
            elif kind == 3:
                if i + 1 == len(chain):
                    return None
                return [*chain[:i], chain[int(rng.integers(i + 1, len(chain)))], *chain[i:]]
            else:
                k = int(rng.integers(len(step.facts)))
                ((attribute, value), house), holds = step.facts[k]
                if kind == 1:
                    value = int(rng.integers(problem.houses))
                fact = (((attribute, value), house), holds if kind == 1 else not holds)
                step = step._replace(facts=(*step.facts[:k], fact, *step.facts[k + 1 :]))
            chain[i] = write_step(problem, step)
            return chain

        return corrupted(self, problem, trace, attempt)


def write_step(problem: Puzzle, step: Step) -> str:
    """A step in words."""
    clues = ", ".join(str(i + 1) for i in step.clues) or "none"
    given = "" if step.given is None else f"; given {_write_facts(problem, step.given)}"
    return f"clues {clues}{given} -> {_write_facts(problem, step.facts)}"


def read_step(problem: Puzzle, text: str) -> Step | None:
    """The inverse of `write_step`; None where it cannot be read. Clues that there are not are kept."""
    found = re.fullmatch(r"clues?\s+(none|[\d\s,and]+?)\s*(?:;\s*given\s+(.+?))?\s*->\s*(.+?)\.?", text, re.IGNORECASE)
    if not found:
        return None
    numbers = [int(n) - 1 for n in re.findall(r"\d{1,4}", found[1])]
    given = None if found[2] is None else _read_facts(problem, found[2])
    facts = _read_facts(problem, found[3])
    if facts is None or not facts or (found[2] is not None and given is None):
        return None
    return Step(tuple(dict.fromkeys(numbers)), given, facts)


def _write_facts(problem: Puzzle, facts: Sequence[Fact]) -> str:
    return "; ".join(
        f"House {house + 1} {problem.attributes[a].name} {'=' if holds else '!='} {problem.attributes[a].values[v]}"
        for ((a, v), house), holds in facts
    )


def _read_facts(problem: Puzzle, text: str) -> tuple[Fact, ...] | None:
    names = {attribute.name.lower(): a for a, attribute in enumerate(problem.attributes)}
    facts = []
    for part in text.split(";"):
        found = re.fullmatch(r"\s*house (\d{1,2}) ([^=!]+?)\s*(!?=)\s*(.+?)\s*", part, re.IGNORECASE)
        a = names.get(found[2].lower()) if found else None
        if found is None or a is None or not 1 <= int(found[1]) <= problem.houses:
            return None
        values = [value.lower() for value in problem.attributes[a].values]
        if found[4].lower() not in values:
            return None
        facts.append((((a, values.index(found[4].lower())), int(found[1]) - 1), found[3] == "="))
    return tuple(facts)


def _judge(problem: Puzzle, solver: ClueSolver, step: Step, known: list[Fact], said: list[Fact]) -> Verdict:
    missing = [i + 1 for i in step.clues if not 0 <= i < len(problem.clues)]
    if missing:
        return wrong(UNKNOWN_PREMISE, f"there is no clue {missing[0]}")
    for cell, holds in step.given or ():
        if not solver.entails((), known, cell, holds):
            return wrong(UNKNOWN_PREMISE, f"not established: {_write_facts(problem, [(cell, holds)])}")
    if not solver.possible((), [*step.facts, *said]) and (
        solver.possible((), said) or any((cell, not holds) in said for cell, holds in step.facts)
    ):
        return wrong(CONTRADICTS_STEP)
    for cell, holds in step.facts:
        if not solver.possible(range(len(problem.clues)), [(cell, holds)]):
            return wrong(CONTRADICTS_PROBLEM, _write_facts(problem, [(cell, holds)]))
    premises = known if step.given is None else step.given
    for cell, holds in step.facts:
        if not solver.entails(step.clues, premises, cell, holds):
            return wrong(NOT_ENTAILED, _write_facts(problem, [(cell, holds)]))
    return VALID


def _entailed(solver: ClueSolver, clues: Sequence[int], known: Sequence[Fact], left: Sequence[Cell]) -> list[Cell]:
    """Which of the cells left follow. A cell that fails in one assignment does not, so most need no proof."""
    candidates, found = list(left), []
    while candidates:
        cell = candidates.pop()
        other = solver.solution(clues, [*known, (cell, False)])
        if other is None:
            found.append(cell)
        else:
            candidates = [((a, v), h) for (a, v), h in candidates if other[a][v] == h]
    return sorted(found)
