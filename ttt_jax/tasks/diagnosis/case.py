"""A case as DiagnosisArena records it, and as a model reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ttt_jax.tasks.diagnosis.net import SECTIONS, Net

LETTERS = "ABCD"
NAME = "SYNTHETIC"
"""Stands wherever an invented case appears: in its id, its text and its record."""

Mode = Literal["open", "choice"]

_FIELDS = ("id", *SECTIONS, "Final Diagnosis", "Options", "Right Option")


class CaseError(ValueError):
    """A record that is no case; says which field, and why."""

    def __init__(self, field: str, reason: str):
        super().__init__(f"{field}: {reason}")
        self.field, self.reason = field, reason


@dataclass(frozen=True)
class Synthetic:
    """What is known of an invented case.

    Attributes:
      net: it was drawn from.
      evidence: section -> (finding, present) in the order written, distractors included.
      introduction: the first sentence.
      handbook: whether the text tells the net.
    """

    net: Net
    evidence: tuple[tuple[str, tuple[tuple[str, bool], ...]], ...]
    introduction: str
    handbook: bool = True

    @property
    def known(self) -> dict[str, bool]:
        return {name: present for _, of in self.evidence for name, present in of}

    def section(self, name: str) -> str:
        of = dict(self.evidence)[name]
        sentences = [f"{finding[0].upper()}{finding[1:]}: {'yes' if there else 'no'}." for finding, there in of]
        if name == SECTIONS[0]:
            sentences.insert(0, self.introduction)
        return " ".join(sentences) or "Nothing was examined."

    def to_json(self) -> dict[str, Any]:
        evidence = {section: [[name, there] for name, there in of] for section, of in self.evidence}
        return {
            "net": self.net.to_json(),
            "evidence": evidence,
            "introduction": self.introduction,
            "handbook": self.handbook,
        }

    @classmethod
    def from_json(cls, value: Any) -> Synthetic:
        """Raises ValueError."""
        try:
            evidence = tuple((s, tuple((str(n), bool(p)) for n, p in value["evidence"][s])) for s in SECTIONS)
            return cls(Net.from_json(value["net"]), evidence, str(value["introduction"]), bool(value["handbook"]))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{error!r}") from None


@dataclass(frozen=True)
class Case:
    """One patient; `str()` is what a model reads, without the answer.

    Attributes:
      id: of the record.
      sections: text of each of SECTIONS.
      diagnosis: the final one, "" where hidden.
      options: four texts, or none; A to D in order.
      right: letter of the right option, "" without options or where hidden.
      mode: which question is asked.
      synthetic: what is known of an invented case, None for a real one.
      extra: fields that the format does not know, kept as they are.
    """

    id: str
    sections: tuple[str, str, str]
    diagnosis: str
    options: tuple[str, ...] = ()
    right: str = ""
    mode: Mode = "open"
    synthetic: Synthetic | None = None
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __str__(self) -> str:
        return self.text()

    def hidden(self) -> Case:
        """The case without its diagnosis, which is what a query carries."""
        return replace(self, diagnosis="", right="", extra={})

    def text(self, handbook: bool = True) -> str:
        """What a model reads; without the handbook where it was told before."""
        parts = []
        if self.synthetic is not None:
            parts.append(f"{NAME} case: the diseases are invented.")
            if self.synthetic.handbook and handbook:
                parts.append(f"Handbook:\n{self.synthetic.net.handbook()}")
        parts += [f"{name}: {text}" for name, text in zip(SECTIONS, self.sections, strict=True)]
        if self.mode == "choice":
            parts.append("Options:\n" + "\n".join(f"{a}. {b}" for a, b in zip(LETTERS, self.options, strict=False)))
        return "\n".join(parts)

    def to_json(self) -> dict[str, Any]:
        """The public record; of an invented case with what is known of it under "SYNTHETIC"."""
        record: dict[str, Any] = {"id": self.id, **dict(zip(SECTIONS, self.sections, strict=True))}
        record["Final Diagnosis"] = self.diagnosis
        if self.options:
            record["Options"] = dict(zip(LETTERS, self.options, strict=True))
            record["Right Option"] = self.right
        if self.synthetic is not None:
            record[NAME] = self.synthetic.to_json()
        return {**record, **self.extra}


def read_case(value: Any, mode: Mode | None = None, place: int = 0) -> Case:
    """Reads a public record.

    Args:
      value: the record.
      mode: which question is asked; None for `choice` where there are options.
      place: names a record without an id.

    Raises:
      CaseError: a section or the diagnosis is missing, or the options are not four with the right one among them.
    """
    if not isinstance(value, dict):
        raise CaseError("record", f"expected an object, found {type(value).__name__}")
    for name in (*SECTIONS, "Final Diagnosis"):
        if not isinstance(value.get(name), str) or not value[name].strip():
            raise CaseError(name, "is missing, or no text")
    options, right = value.get("Options"), str(value.get("Right Option", "")).strip().upper()
    if options is not None:
        if not isinstance(options, dict) or sorted(options) != list(LETTERS):
            raise CaseError("Options", f"expected texts for {', '.join(LETTERS)}")
        if right not in options:
            raise CaseError("Right Option", f"{right!r} is none of {', '.join(LETTERS)}")
    elif mode == "choice":
        raise CaseError("Options", "are missing, and mode=choice asks for one of them")
    synthetic = None
    if NAME in value:
        try:
            synthetic = Synthetic.from_json(value[NAME])
        except ValueError as error:
            raise CaseError(NAME, str(error)) from None
    return Case(
        str(value.get("id", f"#{place}")),
        (value[SECTIONS[0]], value[SECTIONS[1]], value[SECTIONS[2]]),
        value["Final Diagnosis"],
        tuple(str(options[letter]) for letter in LETTERS) if options else (),
        right if options else "",
        mode or ("choice" if options else "open"),
        synthetic,
        {name: x for name, x in value.items() if name not in (*_FIELDS, NAME)},
    )
