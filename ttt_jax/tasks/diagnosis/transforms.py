"""Changes of a case that can be undone: the order of options, of findings, of the demos."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ttt_jax.tasks.diagnosis.answers import Answer
from ttt_jax.tasks.diagnosis.case import LETTERS, Case
from ttt_jax.tasks.diagnosis.net import SECTIONS
from ttt_jax.tasks.problem_transform import ProblemTransform, distinct_views, draw_order, problems_of
from ttt_jax.tasks.task import Task, keyed_rng

KINDS = ("options", "findings", "order")
"""Option order, finding order (of invented cases: a real case is prose), order of the demos."""


@dataclass(frozen=True)
class DiagnosisTransform(ProblemTransform):
    """One change, the same for all cases of a task.

    Attributes:
      options: option `options[i]` comes i-th; empty for the order as given.
      findings: seed of the order of findings within sections; None for the order as given.
      order: demo `order[i]` comes i-th; empty for the order as given.
    """

    kind = Case
    options: tuple[int, ...] = ()
    findings: int | None = None
    order: tuple[int, ...] = ()

    def parts(self) -> list[str]:
        parts = [f"options({','.join(map(str, self.options))})"] if self.options else []
        if self.findings is not None:
            parts.append(f"findings({self.findings})")
        return parts

    @property
    def group(self) -> str:
        """Views with the same letters vote together."""
        return f"options({','.join(map(str, self.options))})" if self.options else "identity"

    def apply_problem(self, problem: Case) -> Case:
        case = problem
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

    def apply_answer(self, answer: Answer) -> Answer:
        return self._answer(answer, back=False)

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


def random_transform(kinds: Sequence[str], task: Task, rng: np.random.Generator) -> DiagnosisTransform:
    """Draws one. Options are reordered in choice mode only, and where there are four."""
    cases = problems_of(task, Case)
    options, findings = (), None
    if "options" in kinds and all(c.mode == "choice" and len(c.options) == len(LETTERS) for c in cases):
        options = tuple(rng.permutation(len(LETTERS)).tolist())
    if "findings" in kinds:
        findings = int(rng.integers(2**31))
    return DiagnosisTransform(options, findings, draw_order(kinds, task, rng))


def make_views(kinds: Sequence[str], task: Task, count: int, rng: np.random.Generator) -> list[DiagnosisTransform]:
    """Identity first; at most `count`, none twice."""
    return distinct_views(DiagnosisTransform(), lambda _: random_transform(kinds, task, rng), task, count)
