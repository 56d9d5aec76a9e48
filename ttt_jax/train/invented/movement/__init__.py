"""Rules of drawing and movement."""

from __future__ import annotations

from ttt_jax.train.invented.movement import (
    completing,
    falling,
    filling,
    growth,
    launches,
    lines,
    machines,
    mazes,
    paths,
    rays,
    rooms,
    signals,
    sliding,
    stamps,
    strips,
    unfolding,
)
from ttt_jax.train.invented.rule import Family

FAMILIES: tuple[Family, ...] = tuple(
    family
    for module in (
        rays,
        lines,
        filling,
        rooms,
        paths,
        mazes,
        growth,
        stamps,
        machines,
        unfolding,
        falling,
        sliding,
        launches,
        signals,
        strips,
        completing,
    )
    for family in module.FAMILIES
)
