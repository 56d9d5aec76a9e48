"""Accuracy of diagnoses by difficulty, and calibration of the confidences stated with them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ttt_jax.evaluate.intervals import proportion
from ttt_jax.tasks.diagnosis.answers import Answer, Judge, is_right, ontology_judge, plain

MARGINS = (("hard", 0.4), ("medium", 0.8), ("easy", math.inf))
"""Difficulty of an invented case: its posterior margin is below the second number."""


def margin(posterior: dict[str, float]) -> float:
    """The first probability less the second."""
    first, *rest = sorted(posterior.values(), reverse=True)
    return first - (rest[0] if rest else 0.0)


def difficulty(wanted: Answer) -> str:
    """hard, medium or easy; "unknown" for a real case."""
    posterior = wanted["truth"]["posterior"]
    return next(name for name, below in MARGINS if margin(posterior) < below) if posterior else "unknown"


def calibration(confidence: Sequence[float], right: Sequence[bool], bins: int = 10) -> dict[str, float]:
    """Expected calibration error (Guo et al., arXiv 1706.04599; equal bins) and Brier score.

    Args:
      confidence: [n], within 0 and 1.
      right: [n].
      bins: of equal width; the last holds 1.

    Raises:
      ValueError: without answers, or a confidence is out of range.
    """
    p, y = np.asarray(confidence, float), np.asarray(right, float)
    if not p.size or p.shape != y.shape or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"calibration: {p.size} confidences within 0 and 1 for {y.size} answers")
    which = np.minimum((p * bins).astype(int), bins - 1)
    gaps = [abs((p[which == b] - y[which == b]).sum()) for b in range(bins)]
    return {"ece": float(sum(gaps) / p.size), "brier": float(((p - y) ** 2).mean()), "n": int(p.size)}


def rates(
    answers: Sequence[Answer | None], wanted: Sequence[Answer], judge: Judge = ontology_judge
) -> dict[str, dict[str, Any]]:
    """{"all" and each difficulty: {"top1", "top5", "category", "no_answer", "calibration"}}.

    `top5` and `category` are of open mode: a right diagnosis among the five,
    and a first one that is right or names the broader category. `calibration`
    is over answers that state a confidence (None where none does), with the
    mean distance of the confidence from the exact posterior of the diagnosis
    that it was stated for.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for i, truth in enumerate(wanted):
        groups["all"].append(i)
        groups[difficulty(truth)].append(i)
    return {name: _rates([answers[i] for i in of], [wanted[i] for i in of], judge) for name, of in groups.items()}


def _rates(answers: Sequence[Answer | None], wanted: Sequence[Answer], judge: Judge) -> dict[str, Any]:
    pairs = list(zip(answers, wanted, strict=True))
    right = [a is not None and is_right(a, w, judge) for a, w in pairs]
    found: dict[str, Any] = {"top1": proportion(right), "no_answer": proportion([a is None for a in answers])}
    ranked = [([] if a is None else a.get("ranked", []), w) for a, w in pairs if "ranked" in w]
    if ranked:
        scores = [[judge(name, w) for name in names[:5]] for names, w in ranked]
        found["top5"] = proportion([2 in of for of in scores])
        found["category"] = proportion([bool(of) and of[0] > 0 for of in scores])
    sure = [(a["confidence"][0], ok, a, w) for (a, w), ok in zip(pairs, right, strict=True) if a is not None
            if a["confidence"][0] is not None]  # fmt: skip
    found["calibration"] = None
    if sure:
        gaps = [abs(p - exact) for p, _, a, w in sure if (exact := _exact(a, w)) is not None]
        found["calibration"] = {
            **calibration([p for p, *_ in sure], [ok for _, ok, *_ in sure]),
            "from_posterior": sum(gaps) / len(gaps) if gaps else None,
        }
    return found


def _exact(answer: Answer, wanted: Answer) -> float | None:
    """The posterior of the diagnosis that an answer puts first; None for a real case."""
    known = wanted["truth"]
    if not known["posterior"]:
        return None
    if "choice" in answer:
        options = known.get("options", [])
        place = "ABCD".index(answer["choice"])
        name = options[place] if place < len(options) else ""
    else:
        name = answer["ranked"][0]
    names = {plain(n): p for n, p in known["posterior"].items()}
    names |= {plain(n): known["posterior"][known["diagnosis"]] for n in known["synonyms"]}
    return names.get(plain(name), 0.0)
