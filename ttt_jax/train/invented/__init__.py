"""Rules invented from general principles, each drawn with its parameters: scenes of objects, patterns, movement.

How to add a family: docs/invented_rules.md.
"""

from __future__ import annotations

from ttt_jax.train.invented import movement, objects, patterns
from ttt_jax.train.invented.rule import Family

FAMILIES: tuple[Family, ...] = (*objects.FAMILIES, *patterns.FAMILIES, *movement.FAMILIES)
