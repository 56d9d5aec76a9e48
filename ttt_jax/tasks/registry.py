"""Domains by name."""

from __future__ import annotations

import difflib
import importlib
from functools import cache

from ttt_jax.tasks.task import Domain

DOMAINS = {
    "arc": "ttt_jax.tasks.arc:ArcDomain",
    "bbh": "ttt_jax.tasks.bbh:BbhDomain",
    "diagnosis": "ttt_jax.tasks.diagnosis.domain:DiagnosisDomain",
    "graphs": "ttt_jax.tasks.graphs.domain:GraphsDomain",
    "reasoning": "ttt_jax.tasks.reasoning:ReasoningDomain",
    "text": "ttt_jax.tasks.jsonl:JsonlDomain",
    "zebra": "ttt_jax.tasks.zebra.domain:ZebraDomain",
}
"""Name to `module:Class`; imported when asked for, so that a domain's needs are its own."""


@cache
def get_domain(name: str) -> Domain:
    """The domain called `name`, or a dotted path `my_module:MyDomain` of your own.

    One object a name: programs compiled for its syntax serve every run of a process.

    Raises:
      ValueError: there is none; names the nearest.
    """
    path = name if ":" in name else DOMAINS.get(name)
    if path is None:
        near = difflib.get_close_matches(name, DOMAINS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(DOMAINS)}"
        raise ValueError(f"tasks.domain: no domain is called {name!r}, {hint} (or a path `module:Class`)")
    module, _, attribute = path.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except (ImportError, AttributeError) as error:
        raise ValueError(f"tasks.domain: {name!r} could not be imported: {error}") from error
