"""Rules about whole grids: what is repeated, mirrored, masked, listed or told by the grid as one picture."""

from __future__ import annotations

from ttt_jax.train.invented.patterns import (
    choices,
    frames,
    keys,
    local,
    operands,
    panels,
    regions,
    repairs,
    sequences,
    symmetry,
    tilings,
    transformed,
)
from ttt_jax.train.invented.rule import Family

FAMILIES: tuple[Family, ...] = tuple(
    family
    for module in (
        transformed,
        transformed,  # twice: they hold the most rules by far
        tilings,
        symmetry,
        panels,
        choices,
        sequences,
        frames,
        keys,
        repairs,
        local,
        regions,
        operands,
    )
    for family in module.FAMILIES
)
