"""Changes of a case that can be undone: the order of options, of findings, of the demos."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ttt_jax.tasks.diagnosis.answers import Answer
from ttt_jax.tasks.diagnosis.case import LETTERS, Case
from ttt_jax.tasks.diagnosis.net import SECTIONS
from ttt_jax.tasks.problem_text import ProblemText, problem_of
from ttt_jax.tasks.task import Task, keyed_rng

KINDS = ("options", "findings", "order")
"""Option order, finding order (of invented cases: a real case is prose), order of the demos."""


@dataclass(frozen=True)
class DiagnosisTransform:
    """One change, the same for all cases of a task.

    Attributes:
      options: option `options[i]` comes i-th; empty for the order as given.
      findings: seed of the order of findings within sections; None for the order as given.
      order: demo `order[i]` comes i-th; empty for the order as given.
    """

    options: tuple[int, ...] = ()
    findings: int | None = None
    order: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        parts = [f"options({','.join(map(str, self.options))})"] if self.options else []
        if self.findings is not None:
            parts.append(f"findings({self.findings})")
        if self.order:
            parts.append(f"order({','.join(map(str, self.order))})")
        return "+".join(parts) or "identity"

    @property
    def group(self) -> str:
        """Views with the same letters vote together."""
        return f"options({','.join(map(str, self.options))})" if self.options else "identity"

    def apply_case(self, case: Case) -> Case:
        if self.options and case.options:
            options = tuple(case.options[i] for i in self.options)
            case = replace(case, options=options, right=case.right and self._letter(case.right, back=False))
        if self.findings is not None and case.synthetic is not None:
            evidence = []
            for section, of in case.synthetic.evidence:
                order = keyed_rng("finding order", self.findings, section, len(of)).permutation(len(of))
                evidence.append((section, tuple(of[i] for i in order.tolist())))
            synthetic = replace(case.synthetic, evidence=tuple(evidence))
            texts = (synthetic.section(SECTIONS[0]), synthetic.section(SECTIONS[1]), synthetic.section(SECTIONS[2]))
            case = replace(case, sections=texts, synthetic=synthetic)
        return case

    def apply(self, task: Task) -> Task:
        def text(x: str) -> ProblemText:
            return ProblemText(self.apply_case(problem_of(x, Case)))

        demos = [(text(x), self._answer(y, back=False)) for x, y in task.demos]
        answers = task.answers
        return replace(
            task,
            demos=tuple(demos[i] for i in self.order) if self.order else tuple(demos),
            queries=tuple(map(text, task.queries)),
            answers=None if answers is None else tuple(self._answer(y, back=False) for y in answers),
        )

    def invert(self, answer: Answer) -> Answer:
        """A letter is mapped back; names stay."""
        return self._answer(answer, back=True)

    def _answer(self, answer: Answer, back: bool) -> Answer:
        if not self.options or "choice" not in answer:
            return answer
        changed = answer | {"choice": self._letter(answer["choice"], back)}
        if "truth" in answer and answer["truth"].get("options"):
            options = answer["truth"]["options"]
            order = list(np.argsort(self.options)) if back else self.options
            changed["truth"] = answer["truth"] | {"options": [options[i] for i in order]}
        return changed

    def _letter(self, letter: str, back: bool) -> str:
        place = LETTERS.index(letter)
        return LETTERS[self.options[place] if back else self.options.index(place)]


def check_kinds(kinds: Sequence[str]) -> None:
    """Raises ValueError at a kind that this domain does not have."""
    for kind in kinds:
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(KINDS)}"
            raise ValueError(f"diagnosis: no transform is called {kind!r}, {hint}")


def random_transform(kinds: Sequence[str], task: Task, rng: np.random.Generator) -> DiagnosisTransform:
    """Draws one. Options are reordered in choice mode only, and where there are four."""
    cases = [problem_of(x, Case) for x in (*(x for x, _ in task.demos), *task.queries)]
    options, findings, order = (), None, ()
    if "options" in kinds and all(c.mode == "choice" and len(c.options) == len(LETTERS) for c in cases):
        options = tuple(rng.permutation(len(LETTERS)).tolist())
    if "findings" in kinds:
        findings = int(rng.integers(2**31))
    if "order" in kinds and len(task.demos) > 1:
        order = tuple(rng.permutation(len(task.demos)).tolist())
    return DiagnosisTransform(options, findings, order)


def make_views(kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[DiagnosisTransform]:
    """Identity first; at most `count`, none twice."""
    views = [DiagnosisTransform()]
    seen = {(*task.queries, *(x for x, _ in task.demos))}
    for _ in range(20 * count):
        if len(views) >= count:
            break
        view = random_transform(kinds, task, rng)
        changed = view.apply(task.hide_answers())
        texts = (*changed.queries, *(x for x, _ in changed.demos))
        if texts not in seen:
            seen.add(texts)
            views.append(view)
    return views[:count]
