"""Diagnoses given in answer: found in a text, and judged."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from ttt_jax.tasks.diagnosis.case import LETTERS, Case

MAX_CHARACTERS = 65_536
MAX_RANKED = 5
_LONGEST = 200

Answer = dict[str, Any]
"""{"ranked": names, "confidence": numbers} in open mode, {"choice": letter, "confidence": numbers} in choice mode.

Confidences are fractions of 1, one for each name or for the letter, None where none is stated. What a task holds as its
answer also has "truth": see `truth`.
"""

Judge = Callable[[str, Answer], int]
"""(a diagnosis, the truth) -> 2 the same, 1 its broader category, 0 neither."""


def truth(case: Case) -> Answer:
    """The right answer of a case, and all that judges need, as plain JSON.

    The confidence of an invented case is the exact posterior.
    """
    known: dict[str, Any] = {"diagnosis": case.diagnosis, "posterior": None, "synonyms": [], "category": ""}
    if case.synthetic is not None:
        net = case.synthetic.net
        disease = next(d for d in net.diseases if d.name == case.diagnosis)
        posterior = net.posterior(case.synthetic.known)
        known |= {"posterior": posterior, "synonyms": list(disease.synonyms), "category": disease.category}
    chances = known["posterior"]
    if case.mode == "choice":
        confidence = [chances[case.diagnosis]] if chances else [None]
        return {"choice": case.right, "confidence": confidence, "truth": known | {"options": list(case.options)}}
    ranked = list(chances)[:MAX_RANKED] if chances else [case.diagnosis]
    return {"ranked": ranked, "confidence": [chances[n] for n in ranked] if chances else [None], "truth": known}


def write_answer(answer: Answer) -> str:
    """As `read_answer` reads it: a ranked list, or a letter in a box, with confidences where there are any."""
    if "choice" in answer:
        sure = "" if answer["confidence"][0] is None else f" (confidence {100 * answer['confidence'][0]:.0f}%)"
        return f"\\boxed{{{answer['choice']}}}{sure}"
    lines = []
    for i, (name, chance) in enumerate(zip(answer["ranked"], answer["confidence"], strict=True), 1):
        lines.append(f"{i}. {name}" + ("" if chance is None else f" ({100 * chance:.0f}%)"))
    return "\n".join(lines)


def read_answer(text: str) -> Answer | None:
    """The last letter in a box, or else the last numbered list, of which five lines count; None for neither."""
    text = text[-MAX_CHARACTERS:]
    boxes = list(re.finditer(r"\\boxed\{\s*(?:\\text\{)?\s*\(?([A-Da-d])\)?[.)]?\s*\}?\s*\}", text))
    if boxes:
        after = text[boxes[-1].end() : boxes[-1].end() + 40]
        sure = re.match(r"\s*\(confidence (\d{1,3}(?:\.\d+)?)\s*%\)", after)
        return {"choice": boxes[-1][1].upper(), "confidence": [_fraction(sure[1]) if sure else None]}
    found: list[tuple[int, str]] = []
    for line in text.splitlines():
        item = re.match(r"\s*(\d)[.)]\s+(\S.*)", line)
        if item:
            number = int(item[1])
            if number == 1:
                found = []
            if number == len(found) + 1:
                found.append((number, item[2]))
    if not found:
        return None
    names, confidence = [], []
    for _, entry in found[:MAX_RANKED]:
        sure = re.search(r"\((?:confidence )?(\d{1,3}(?:\.\d+)?)\s*%\)\s*\.?$", entry)
        name = (entry[: sure.start()] if sure else entry).strip().strip("*").rstrip(".").strip()
        names.append(name[:_LONGEST])
        confidence.append(_fraction(sure[1]) if sure else None)
    return {"ranked": names, "confidence": confidence}


def as_answer(value: Any) -> Answer:
    """Raises ValueError where a JSON value is no answer."""
    match value:
        case {"choice": str(letter), "confidence": [_]} if letter in LETTERS:
            return value
        case {"ranked": [str(), *_], "confidence": [*chances]} if len(chances) == len(value["ranked"]):
            return value
    raise ValueError(f"diagnosis: {value!r} is no answer: expected a choice or ranked names, and confidences")


def ontology_judge(name: str, wanted: Answer) -> int:
    """2 for the name or a synonym, 1 for the broader category, 0 for anything else; case and spacing do not count."""
    known, found = wanted["truth"], plain(name)
    if found in {plain(n) for n in (known["diagnosis"], *known["synonyms"])}:
        return 2
    return int(bool(known["category"]) and found == plain(known["category"]))


def is_right(answer: Answer, wanted: Answer, judge: Judge = ontology_judge) -> bool:
    """Whether the choice, or the first diagnosis, is right (scored 2)."""
    if "choice" in wanted:
        return answer.get("choice") == wanted["choice"]
    return bool(answer.get("ranked")) and judge(answer["ranked"][0], wanted) == 2


def plain(name: str) -> str:
    """For comparing: lower case, without punctuation and articles."""
    words = re.findall(r"[a-z0-9]+", name.lower().replace("'", "").replace("\u2019", ""))
    return " ".join(word for word in words if word not in ("the", "a", "an"))


def _fraction(percent: str) -> float:
    return min(float(percent), 100.0) / 100
