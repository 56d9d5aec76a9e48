"""Steps of SYNTHETIC diagnoses: evidence in, posterior out.

    prior -> Varnel fever 0.40, Ostrel palsy 0.60
    rash yes -> Varnel fever 0.82, Ostrel palsy 0.18
    answer = Varnel fever

The first step states the prior, each other one brings in one piece of evidence
and states the posterior of all diseases so far; the answer comes when all
evidence that the net knows of is in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

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
from ttt_jax.tasks.diagnosis.answers import plain
from ttt_jax.tasks.diagnosis.case import Case, Synthetic

TOLERANCE = 0.01
"""A probability is right within this, and half a unit of the last place of two decimals."""


class DiagnosisProcess:
    """`ttt_jax.process.steps.Process` of an invented `Case`."""

    def verify(self, problem: Case, chain: Sequence[str]) -> list[Verdict]:
        """Raises ValueError for a real case: only an invented one has an exact posterior."""
        synthetic = _synthetic(problem)
        known: dict[str, bool] = {}
        state = {"prior": False}
        return [_judge(synthetic, text, known, state) for text in chain]

    def oracle_trace(self, problem: Case) -> list[str]:
        """The evidence in the order of the text; what has nothing to do with any disease is left out."""
        synthetic = _synthetic(problem)
        net, known = synthetic.net, {}
        trace = [f"prior -> {_write(net.posterior({}))}"]
        for name, there in _evidence(synthetic).items():
            known[name] = there
            trace.append(f"{name} {'yes' if there else 'no'} -> {_write(net.posterior(known))}")
        return [*trace, f"answer = {next(iter(net.posterior(known)))}"]

    def corrupt(self, problem: Case, trace: Sequence[str], rng: np.random.Generator) -> tuple[list[str], int]:
        """A finding turned round, left out or invented, two probabilities swapped, or another answer."""
        names = [disease.name for disease in _synthetic(problem).net.diseases]

        def attempt() -> list[str] | None:
            chain, i = list(trace), int(rng.integers(len(trace)))
            head, arrow, tail = chain[i].partition(" -> ")
            if not arrow:
                chain[i] = f"answer = {names[int(rng.integers(len(names)))]}"
                return chain
            match int(rng.integers(4)):
                case 0:
                    turned = {"yes": "no", "no": "yes"}
                    head = re.sub(r"\b(yes|no)$", lambda m: turned[m[1]], head)
                case 1:
                    return chain[:i] + chain[i + 1 :]
                case 2:
                    head = "double vision yes" if i else head
                case _:
                    numbers = re.findall(r"\d\.\d+", tail)
                    a, b = rng.choice(len(numbers), 2, replace=False).tolist()
                    numbers[a], numbers[b] = numbers[b], numbers[a]
                    moved = iter(numbers)
                    tail = re.sub(r"\d\.\d+", lambda m: next(moved), tail)
            chain[i] = f"{head} -> {tail}"
            return chain

        return corrupted(self, problem, trace, attempt)


def _synthetic(problem: Case) -> Synthetic:
    if problem.synthetic is None:
        raise ValueError(f"case {problem.id}: steps can be verified of SYNTHETIC cases only")
    return problem.synthetic


def _evidence(synthetic: Synthetic) -> dict[str, bool]:
    """What the net knows of, in the order of the text."""
    names = {*synthetic.net.history, *(name for _, name in synthetic.net.findings)}
    return {name: there for name, there in synthetic.known.items() if name in names}


def _write(posterior: dict[str, float]) -> str:
    return ", ".join(f"{name} {chance:.2f}" for name, chance in posterior.items())


def _judge(synthetic: Synthetic, text: str, known: dict[str, bool], state: dict[str, bool]) -> Verdict:
    net = synthetic.net
    names = {plain(disease.name): disease.name for disease in net.diseases}
    answer = re.fullmatch(r"answer\s*=\s*(.+)", text, re.IGNORECASE)
    if answer:
        if plain(answer[1]) not in names:
            return wrong(UNREADABLE, f"no disease {answer[1]!r}")
        if names[plain(answer[1])] != next(iter(net.posterior(synthetic.known))):
            return wrong(CONTRADICTS_PROBLEM, "another diagnosis is more probable")
        left = [name for name in _evidence(synthetic) if name not in known]
        return wrong(NOT_ENTAILED, f"not yet considered: {', '.join(left)}") if left or not state["prior"] else VALID
    head, arrow, tail = text.partition("->")
    chances = re.findall(r"([^,]+?)\s+(\d(?:\.\d*)?|\.\d+)\s*(?:,|$)", tail.strip().rstrip(".") if arrow else "")
    stated = {names.get(plain(name), ""): float(chance) for name, chance in chances}
    if set(stated) != set(names.values()):
        return wrong(UNREADABLE, "a probability for every disease is needed")
    evidence = dict(known)
    if head.strip().lower() == "prior":
        if known:
            return wrong(CONTRADICTS_STEP, "evidence is in already")
    else:
        item = re.fullmatch(r"\s*(.+?)\s+(yes|no)\s*", head, re.IGNORECASE)
        if not item:
            return wrong(UNREADABLE, text)
        name, there = item[1].lower(), item[2].lower() == "yes"
        facts = {fact.lower(): (fact, value) for fact, value in synthetic.known.items()}
        if name not in facts:
            return wrong(UNKNOWN_PREMISE, f"the case does not tell of {item[1]}")
        if not state["prior"]:
            return wrong(UNKNOWN_PREMISE, "the prior has not been stated")
        name, true = facts[name]
        if name in known:
            return wrong(CONTRADICTS_STEP, f"{name} is in already")
        if there != true:
            return wrong(CONTRADICTS_PROBLEM, f"the case says {name}: {'yes' if true else 'no'}")
        evidence[name] = there
    exact = net.posterior(evidence)
    off = [name for name, chance in stated.items() if abs(chance - exact[name]) > TOLERANCE + 0.005]
    if off:
        return wrong(NOT_ENTAILED, f"{off[0]} has {exact[off[0]]:.3f}")
    known |= evidence
    state["prior"] = True
    return VALID
