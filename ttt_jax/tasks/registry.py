"""Domains by name."""

from __future__ import annotations

import difflib
import importlib

from ttt_jax.tasks.task import Domain

DOMAINS = {"arc": "ttt_jax.tasks.arc:ArcDomain"}
"""Name to `module:Class`; imported when asked for, so that a domain's needs are its own."""


def get_domain(name: str) -> Domain:
    """The domain called `name`, or a dotted path `my_module:MyDomain` of your own.

    Raises:
      ValueError: there is none; names the nearest.
    """
    path = name if ":" in name else DOMAINS.get(name)
    if path is None:
        near = difflib.get_close_matches(name, DOMAINS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(DOMAINS)}"
        raise ValueError(f"tasks.domain: no domain is called {name!r}, {hint} (or a path `module:Class`)")
    module, _, attribute = path.partition(":")
    return getattr(importlib.import_module(module), attribute)()
