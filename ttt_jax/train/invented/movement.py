"""Rules of drawing and movement, from all the rooms."""

from __future__ import annotations

from ttt_jax.train.invented.falling import FALLING
from ttt_jax.train.invented.filling import FILLING
from ttt_jax.train.invented.ground import guised
from ttt_jax.train.invented.growth import GROWTH
from ttt_jax.train.invented.lines1d import LINES
from ttt_jax.train.invented.paths import PATHS
from ttt_jax.train.invented.rays import RAYS
from ttt_jax.train.invented.rule import Family

FAMILIES: tuple[Family, ...] = (
    *(guised(family) for family in RAYS + FILLING + PATHS + GROWTH),
    *(guised(family, adds=False) for family in FALLING + LINES),
)
"""Draw a rule of movement each."""
