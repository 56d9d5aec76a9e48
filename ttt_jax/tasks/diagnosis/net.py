"""SYNTHETIC medicine: a small Bayes net of invented diseases, and its exact posterior.

History -> disease -> examination findings and tests. Nothing in it is true of
any patient; the names of the diseases are invented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from ttt_jax.tasks.splits import split_names

ROOTS = (
    "Varnel", "Ostrel", "Quimby", "Halloran", "Tessin", "Brovik", "Mardal", "Zeller", "Pontic", "Ferrow", "Galdin",
    "Ilmar", "Jorvan", "Kestrin", "Lomond", "Nadir", "Orlock", "Prisk", "Rundel", "Saltash", "Torvil", "Ulmer",
    "Wexley", "Yarrow", "Adlen", "Bexham", "Corvin", "Dunmor", "Elstow", "Fenwick", "Gorlan", "Hestia", "Ivrin",
    "Juneau", "Kolvar", "Lindow", "Morwen", "Norvik", "Oakhan", "Pellar", "Quennel", "Rostin", "Selwyn", "Tarnow",
    "Umberg", "Vestin", "Wolmar", "Yestin", "Zorin", "Ambler", "Brandis", "Cressel", "Drayton", "Embry",
)  # fmt: skip
"""Of the invented diseases; a split has its own."""

CATEGORIES = {
    "infection": "fever",
    "blood disorder": "anaemia",
    "nerve disorder": "palsy",
    "skin disorder": "dermatosis",
    "joint disorder": "arthrosis",
    "liver disorder": "hepatosis",
}
"""Broader category -> the second word of its diseases."""

SECTIONS = ("Case Information", "Physical Examination", "Diagnostic Tests")

FEATURES = {
    "Case Information": (
        "recent travel", "work with solvents", "tick bite", "affected relative", "heavy smoking", "blood transfusion",
    ),
    "Physical Examination": (
        "high temperature", "rash", "lymph node swelling", "heart murmur", "liver enlargement", "hand tremor",
        "joint swelling", "pallor", "jaundice", "slow reflexes",
    ),
    "Diagnostic Tests": (
        "low haemoglobin", "raised liver enzymes", "high sedimentation rate", "urine protein", "nuclear antibodies",
        "chest shadow", "slow nerve conduction", "eosinophilia",
    ),
}  # fmt: skip
"""Section -> its findings. Those of the first are history, and come before the disease."""

DISTRACTORS = {
    "Case Information": ("vegetarian diet", "left-handedness", "night work"),
    "Physical Examination": ("appendix scar", "old ankle fracture", "colour blindness"),
    "Diagnostic Tests": ("blood group O", "low vitamin C", "high bone density"),
}
"""Findings that have nothing to do with any disease."""

FAMILIES = {
    "sharp": ((5, 90), 0.0),
    "graded": ((5, 10, 20, 40, 60, 80, 90), 0.0),
    "noisy": ((20, 30, 40, 60, 70), 0.0),
    "mimics": ((5, 20, 80, 90), 0.7),
    "skewed": ((5, 10, 20, 30, 95), 0.2),
}
"""Family of nets -> percentages that findings have, and how often a disease copies those of the one before."""

SIZES = tuple(map(str, range(4, 10)))
"""How many diseases a net has."""

_RATIOS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Disease:
    """An invented disease.

    Attributes:
      name: as the final diagnosis gives it.
      synonyms: other names that mean the same.
      category: the broader kind.
    """

    name: str
    synonyms: tuple[str, ...]
    category: str


@dataclass(frozen=True)
class Net:
    """A Bayes net with one disease a patient.

    Attributes:
      diseases: of which a patient has exactly one.
      frequency: patients in 100 of each disease, before history is asked.
      history: names of history items; independent of each other, each present with probability 1/2.
      ratio: [disease][history], by which a present item multiplies the frequency.
      findings: (section, name), independent given the disease.
      percent: [disease][finding], how many in 100 patients of the disease have it.
    """

    diseases: tuple[Disease, ...]
    frequency: tuple[int, ...]
    history: tuple[str, ...]
    ratio: tuple[tuple[float, ...], ...]
    findings: tuple[tuple[str, str], ...]
    percent: tuple[tuple[int, ...], ...]

    def weights(self, evidence: Mapping[str, bool]) -> np.ndarray:
        """Unnormalised posterior [diseases] of what is known; what is not mentioned is unknown.

        Evidence that the net does not know of counts for nothing. History has
        to be known for the posterior to be exact: an item that is not
        mentioned counts as absent.
        """
        logs = np.log(np.array(self.frequency, float))
        for h, name in enumerate(self.history):
            if evidence.get(name, False):
                logs += np.log([row[h] for row in self.ratio])
        # P(disease | history) is normalised over diseases, which changes all of them alike.
        for f, (_, name) in enumerate(self.findings):
            if name in evidence:
                chance = np.array([row[f] for row in self.percent]) / 100
                logs += np.log(chance if evidence[name] else 1 - chance)
        return np.exp(logs - logs.max())

    def posterior(self, evidence: Mapping[str, bool]) -> dict[str, float]:
        """Disease -> probability, the most probable first, earlier ones first among equals."""
        weights = self.weights(evidence)
        chances = weights / weights.sum()
        order = sorted(range(len(chances)), key=lambda d: (-chances[d], d))
        return {self.diseases[d].name: float(chances[d]) for d in order}

    def sample(self, rng: np.random.Generator) -> tuple[Disease, dict[str, bool]]:
        """A patient: a disease, and whether each history item and finding is present."""
        evidence = {name: bool(rng.random() < 0.5) for name in self.history}
        weights = self.weights(evidence)
        d = int(rng.choice(len(weights), p=weights / weights.sum()))
        for f, (_, name) in enumerate(self.findings):
            evidence[name] = bool(rng.random() < self.percent[d][f] / 100)
        return self.diseases[d], evidence

    def handbook(self) -> str:
        """All that there is to know, a line a disease."""
        lines = []
        for d, disease in enumerate(self.diseases):
            ratios = [
                f"{self.ratio[d][h]:g} times as frequent with {name}"
                for h, name in enumerate(self.history)
                if self.ratio[d][h] != 1
            ]
            shares = [f"{name} {self.percent[d][f]}%" for f, (_, name) in enumerate(self.findings)]
            about = f"{disease.name} (also {', '.join(disease.synonyms)}; a kind of {disease.category})"
            lines.append("; ".join([f"{about}: {self.frequency[d]} in 100 patients", *ratios, ", ".join(shares)]) + ".")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        return {
            "diseases": [[d.name, list(d.synonyms), d.category] for d in self.diseases],
            "frequency": list(self.frequency),
            "history": list(self.history),
            "ratio": [list(row) for row in self.ratio],
            "findings": [list(pair) for pair in self.findings],
            "percent": [list(row) for row in self.percent],
        }

    @classmethod
    def from_json(cls, value: Any) -> Net:
        """Raises ValueError."""
        try:
            net = cls(
                tuple(Disease(name, tuple(synonyms), category) for name, synonyms, category in value["diseases"]),
                tuple(int(x) for x in value["frequency"]),
                tuple(value["history"]),
                tuple(tuple(float(x) for x in row) for row in value["ratio"]),
                tuple((section, name) for section, name in value["findings"]),
                tuple(tuple(int(x) for x in row) for row in value["percent"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"net: {error!r}") from None
        shapes = {len(net.frequency), len(net.ratio), len(net.percent)}
        if shapes != {len(net.diseases)} or not net.diseases:
            raise ValueError(f"net: {len(net.diseases)} diseases, its tables have {sorted(shapes)} rows")
        if any(len(row) != len(net.history) or min(row, default=1) <= 0 for row in net.ratio):
            raise ValueError("net.ratio: one positive number for every history item")
        if any(len(row) != len(net.findings) or not all(0 < x < 100 for x in row) for row in net.percent):
            raise ValueError("net.percent: one number between 0 and 100 for every finding")
        if min(net.frequency) <= 0:
            raise ValueError("net.frequency: positive numbers")
        return net


@cache
def disease_splits() -> dict[str, tuple[str, ...]]:
    """Split -> roots of disease names."""
    return split_names("diagnosis disease", ROOTS)


@cache
def family_splits() -> dict[str, tuple[str, ...]]:
    """Split -> families of nets."""
    return split_names("diagnosis family", FAMILIES)


@cache
def size_splits() -> dict[str, tuple[str, ...]]:
    """Split -> numbers of diseases."""
    return split_names("diagnosis size", SIZES)


def draw_net(roots: Sequence[str], family: str, size: int, rng: np.random.Generator) -> Net:
    """A net of `size` diseases, with three history items, four examination findings and three tests.

    Raises:
      ValueError: there are fewer roots than diseases.
    """
    if size > len(roots):
        raise ValueError(f"size {size}: there are {len(roots)} names of diseases")
    values, copies = FAMILIES[family]
    categories = rng.choice(list(CATEGORIES), max(2, math.ceil(size / 2)), replace=False).tolist()
    diseases = []
    for i, root in enumerate(rng.choice(list(roots), size, replace=False).tolist()):
        category = categories[i % len(categories)]
        diseases.append(Disease(f"{root} {CATEGORIES[category]}", (f"{root}'s disease", f"morbus {root}"), category))
    first, *others = SECTIONS
    history = tuple(rng.choice(FEATURES[first], 3, replace=False).tolist())
    findings = tuple(
        (section, name)
        for section, count in zip(others, (4, 3), strict=True)
        for name in rng.choice(FEATURES[section], count, replace=False).tolist()
    )
    shares = rng.dirichlet(np.full(size, 3.0)) * (100 - size)
    rows: list[tuple[int, ...]] = []
    for d in range(size):
        row = rng.choice(values, len(findings))
        if d and copies:
            row = np.where(rng.random(len(findings)) < copies, rows[-1], row)
        rows.append(tuple(row.tolist()))
    ratio = tuple(tuple(rng.choice(_RATIOS, len(history)).tolist()) for _ in range(size))
    return Net(tuple(diseases), tuple(int(s) + 1 for s in shares), history, ratio, findings, tuple(rows))
