"""SYNTHETIC cases and few-shot tasks of them, the same from a seed whatever else is asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ttt_jax.tasks.diagnosis.answers import truth
from ttt_jax.tasks.diagnosis.case import LETTERS, NAME, Case, Mode, Synthetic
from ttt_jax.tasks.diagnosis.net import (
    DISTRACTORS,
    FAMILIES,
    FEATURES,
    SECTIONS,
    SIZES,
    Net,
    disease_splits,
    draw_net,
    family_splits,
    size_splits,
)
from ttt_jax.tasks.diagnosis.scoring import margin
from ttt_jax.tasks.problem_text import ProblemText
from ttt_jax.tasks.task import Task, keyed_rng

MIN_MARGIN = 0.02
"""A case whose first two diagnoses are closer than this has no answer, and is drawn again."""

_TRIES = 200


@dataclass(frozen=True)
class DiagnosisOptions:
    """What `tasks.source` may say: `diagnosis/test?mode=choice&sizes=5&demos=8&handbook=false`."""

    split: str
    mode: str = "open"
    """`open`: five ranked diagnoses. `choice`: one of four options."""
    sizes: tuple[str, ...] = ()
    """Numbers of diseases; empty: the split's own. Training takes no others."""
    families: tuple[str, ...] = ()
    """Of nets; empty: the split's own. Training takes no others."""
    each: int = 10
    """Tasks of every size."""
    demos: int = 0
    queries: int = 1
    seed: int = 0
    handbook: bool = True
    """False: the net is latent, and only the demos tell of it."""
    missing: float = 0.2
    """Share of findings that nobody looked for."""
    steps: bool = False
    """Answers are asked for, and demos shown, with the steps that lead to them."""
    chat: bool = False
    """Problems are the user's turns and answers the assistant's, under the model's chat template."""

    def __post_init__(self):
        own = {"sizes": size_splits()[self.split], "families": family_splits()[self.split]}
        for name, every in (("sizes", SIZES), ("families", tuple(FAMILIES))):
            values = tuple(every) if getattr(self, name) == ("all",) else getattr(self, name) or own[name]
            for value in values:
                if value not in every:
                    raise ValueError(f"tasks.source: {name}={value}, there are {', '.join(every)}")
                if self.split == "train" and value not in own[name]:
                    raise ValueError(
                        f"tasks.source: {name}={value} is held out of training, which has {', '.join(own[name])}"
                    )
            object.__setattr__(self, name, values)
        if self.mode not in ("open", "choice"):
            raise ValueError(f"tasks.source: mode={self.mode}, there are open and choice")
        if not self.handbook and self.demos == 0:
            raise ValueError("tasks.source: handbook=false needs demos, nothing else tells of the diseases")
        if self.each < 1 or self.queries < 1 or self.demos < 0 or not 0 <= self.missing < 1:
            raise ValueError("tasks.source: each and queries count from 1, demos from 0, missing is a share below 1")


def make_tasks(options: DiagnosisOptions) -> list[Task]:
    """`each` tasks of every size; the cases of a task come from one net."""
    return [_task(options, size, i) for size in options.sizes for i in range(options.each)]


def draw_task(options: DiagnosisOptions, index: int) -> Task:
    """Task `index` of endlessly many, size by size in turn."""
    return _task(options, options.sizes[index % len(options.sizes)], index // len(options.sizes))


def _task(options: DiagnosisOptions, size: str, index: int) -> Task:
    shape = f"{options.mode}-{options.demos}+{options.queries}-{'handbook' if options.handbook else 'latent'}"
    rng = keyed_rng("diagnosis task", options.split, ",".join(options.families), size, shape, repr(options.missing),
                    options.seed, index)  # fmt: skip
    net = draw_net(disease_splits()[options.split], str(rng.choice(options.families)), int(size), rng)
    id_ = f"diagnosis-{NAME}-{options.split}-{size}-{shape}-{options.seed}-{index}"
    mode: Mode = "choice" if options.mode == "choice" else "open"
    cases: list[Case] = []
    for _ in range(_TRIES):
        case = draw_case(net, rng, f"{id_}-{len(cases)}", mode=mode, handbook=options.handbook, missing=options.missing)
        if str(case) not in map(str, cases):
            cases.append(case)
        if len(cases) == options.demos + options.queries:
            break
    else:
        raise ValueError(f"{id_}: {_TRIES} draws gave no {options.demos + options.queries} distinct cases")
    pairs = [(ProblemText(case.hidden(), options.steps, options.chat), truth(case)) for case in cases]
    queries, answers = zip(*pairs[options.demos :], strict=True)
    return Task(id_, tuple(pairs[: options.demos]), queries, answers)


def draw_case(
    net: Net, rng: np.random.Generator, id_: str, *, mode: Mode = "open", handbook: bool = True, missing: float = 0.2
) -> Case:
    """A patient of a net. The final diagnosis is the most probable one, which need not be what the patient has.

    Raises:
      ValueError: no patient of this net has a clear diagnosis.
    """
    for _ in range(_TRIES):
        _, evidence = net.sample(rng)
        known = {name: there for name, there in evidence.items() if name in net.history or rng.random() >= missing}
        posterior = net.posterior(known)
        if margin(posterior) >= MIN_MARGIN:
            break
    else:
        raise ValueError(f"{id_}: {_TRIES} patients, none with a posterior margin of {MIN_MARGIN}")
    sections = []
    for section in SECTIONS:
        of = [(name, there) for name, there in known.items() if name in FEATURES[section]]
        of.append((str(rng.choice(DISTRACTORS[section])), bool(rng.integers(2))))
        sections.append((section, tuple(of[i] for i in rng.permutation(len(of)).tolist())))
    person = f"A {int(rng.integers(18, 90))}-year-old {'woman' if rng.integers(2) else 'man'}."
    synthetic = Synthetic(net, tuple(sections), person, handbook)
    texts = (synthetic.section(SECTIONS[0]), synthetic.section(SECTIONS[1]), synthetic.section(SECTIONS[2]))
    diagnosis, *others = posterior
    options = [diagnosis, *others[: len(LETTERS) - 1]]
    options = [options[i] for i in rng.permutation(len(options)).tolist()]
    right = LETTERS[options.index(diagnosis)]
    return Case(id_, texts, diagnosis, tuple(options), right, mode, synthetic)
