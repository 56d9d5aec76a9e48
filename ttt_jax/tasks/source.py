"""`tasks.source` of a generated domain: `zebra/test?sizes=3x3,4x4&demos=4&each=20&seed=1`."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from ttt_jax.tasks.splits import SPLITS

T = TypeVar("T")


def parse_source(source: str, domain: str, options: Callable[..., T]) -> T:
    """Reads the options of a generated set of tasks.

    Args:
      source: `domain/split`, then optionally `?name=value&name=value`; a tuple is written with commas.
      domain: the name that must come first.
      options: a dataclass with `split` and with fields of type int, str, float, bool or tuple[str, ...].

    Raises:
      ValueError: another domain, split, option or type; names the nearest.
    """
    head, _, tail = source.partition("?")
    name, _, split = head.partition("/")
    if name != domain:
        raise ValueError(f"tasks.source: {source!r} does not begin with {domain + '/'!r}")
    if split not in SPLITS:
        raise ValueError(f"tasks.source: no split is called {split!r}, there are {', '.join(SPLITS)}")
    known = {f.name: f for f in fields(options) if f.name != "split"}  # pyright: ignore[reportArgumentType]
    given: dict[str, Any] = {}
    for part in filter(None, tail.split("&")):
        key, equals, value = part.partition("=")
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
            raise ValueError(f"tasks.source: no option is called {key!r}, {hint}")
        if not equals or key in given:
            raise ValueError(f"tasks.source: {key} needs one value, as in {key}={known[key].default}")
        given[key] = _value(key, value, str(known[key].type))
    return options(split=split, **given)


def _value(key: str, value: str, kind: str) -> Any:
    try:
        match kind:
            case "int":
                return int(value)
            case "float":
                return float(value)
            case "bool":
                return {"true": True, "false": False}[value.lower()]
            case "str":
                return value
            case _:
                return tuple(filter(None, value.split(",")))
    except (ValueError, KeyError):
        raise ValueError(f"tasks.source: {key}={value!r}, expected {kind}") from None
