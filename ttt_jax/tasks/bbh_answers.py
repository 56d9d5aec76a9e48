"""What counts as an answer in each kind of BIG-Bench Hard task, and how it is found in what a model wrote.

The public metric is case-insensitive exact match after taking the first letter
or word (arXiv 2411.07279, appendix). Everything here looks at the first line
of a completion only, and never at the truth.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# A bare letter only where it can be nothing else: "A man" and "I think" begin with words.
_LETTER = re.compile(r"\(\s*([a-z])\s*\)|([a-z])(?=\s*[).:,]|$)", re.IGNORECASE)
_NUMBER = re.compile(r"[-\u2212]?\d(?:[\d,]*\d)?(?![\w])(?:\.0+(?!\d))?")
_BRACKET = re.compile(r"[\[\](){}<>]")
_LEAD = re.compile(r"^(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)(?:\s+is)?\s*[:=]?\s+", re.IGNORECASE)
_QUOTES = " \t\"'`*\u201c\u201d\u2018\u2019"


def letter(line: str) -> str | None:
    """The option that the line begins with, as `(A)`: from `(A)`, `a)`, `B`, `C. five`, not from `A man`."""
    found = _LETTER.match(_begin(line))
    return f"({(found[1] or found[2]).upper()})" if found else None


def one_of(*words: str) -> Callable[[str], str | None]:
    """The first word of the line, where it is one of `words`."""

    def read(line: str) -> str | None:
        first = re.match(r"[a-z]+", _begin(line), re.IGNORECASE)
        return next((word for word in words if first and first[0].lower() == word.lower()), None)

    return read


def number(line: str) -> str | None:
    """The integer that the line begins with, in decimal without a leading zero or a thousands comma."""
    found = _NUMBER.match(_begin(line))
    if not found:
        return None
    return str(int(found[0].partition(".")[0].replace(",", "").replace("\u2212", "-")))


def brackets(line: str) -> str | None:
    """Closing brackets with single spaces between them, as the truths have them; None where a line has others."""
    text = line.strip()
    marks = _BRACKET.findall(text)
    if not marks or _BRACKET.sub("", text).strip() or set(marks) & set("[({<"):
        return None
    return " ".join(marks)


def words(line: str) -> str | None:
    """Words with single spaces between them; commas between them are passed over. At least two words."""
    found = line.replace(",", " ").split()
    if len(found) < 2 or not all(re.fullmatch(r"[\w'\u2019.&-]+", word) for word in found):
        return None
    return " ".join(found).rstrip(".")


def letter_or_text(line: str) -> str | None:
    """An option's letter; else the whole line, for the few truths that are an option's text."""
    return letter(line) or line.strip(_QUOTES) or None


def _begin(line: str) -> str:
    """The line from where its answer begins: after blanks, quotes and `The answer is`."""
    return _LEAD.sub("", line.strip(_QUOTES)).lstrip(_QUOTES)
