"""Rules about separate things: some are told apart, and something is done to them."""

from __future__ import annotations

from ttt_jax.train.invented.objects import accounts, composites, copies, crops, edits, matching, pointed, relations
from ttt_jax.train.invented.rule import Family
from ttt_jax.train.invented.trials import redrawn

FAMILIES: tuple[Family, ...] = tuple(
    redrawn(family)
    for module in (edits, accounts, relations, crops, copies, composites, matching, pointed)
    for family in module.FAMILIES
)
