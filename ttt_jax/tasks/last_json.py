"""The last complete JSON object in a text."""

from __future__ import annotations

import json
from typing import Any

MAX_CHARACTERS = 65_536
"""Of an enormous answer, only this much of its end is read."""

_ATTEMPTS = 2_000


def last_json(text: str) -> dict[str, Any] | None:
    """The last complete top-level `{...}` of a text, whatever stands around it; None where there is none.

    Objects inside an object that is complete are not top-level. At most 2000
    braces that open nothing are tried: a text of braces has no answer.
    """
    text = text[-MAX_CHARACTERS:]
    decoder = json.JSONDecoder()
    found, start, failed = None, text.find("{"), 0
    while start >= 0 and failed < _ATTEMPTS:
        try:
            found, end = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            failed += 1
            end = start + 1
        start = text.find("{", end)
    return found
