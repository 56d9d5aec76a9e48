"""Rules of drawing and movement, from all the rooms."""

from __future__ import annotations

from ttt_jax.train.invented.completing import COMPLETING
from ttt_jax.train.invented.falling import FALLING
from ttt_jax.train.invented.filling import FILLING
from ttt_jax.train.invented.ground import guised
from ttt_jax.train.invented.growth import GROWTH
from ttt_jax.train.invented.launches import LAUNCHES
from ttt_jax.train.invented.lines import LINES
from ttt_jax.train.invented.machines import MACHINES
from ttt_jax.train.invented.mazes import MAZES
from ttt_jax.train.invented.paths import PATHS
from ttt_jax.train.invented.rays import RAYS
from ttt_jax.train.invented.rooms import ROOMS
from ttt_jax.train.invented.rule import Family
from ttt_jax.train.invented.signals import SIGNALS
from ttt_jax.train.invented.sliding import SLIDING
from ttt_jax.train.invented.stamps import STAMPS
from ttt_jax.train.invented.strips import STRIPS
from ttt_jax.train.invented.unfolding import UNFOLDING

_ADDING = RAYS + LINES + FILLING + ROOMS + PATHS + MAZES + GROWTH + STAMPS + MACHINES + UNFOLDING
_CHANGING = FALLING + SLIDING + LAUNCHES + SIGNALS + STRIPS + COMPLETING
_SIDED = {"_mirrors", "_bouncing", "_border_marks", "_waterfall", "_plants", "_elementary", "_terrain", "_fuelled"}
"""Their inputs show from which side they are to be read."""

FAMILIES: tuple[Family, ...] = (
    *(guised(family, sided=family.__name__ in _SIDED) for family in _ADDING),
    *(guised(family, adds=False, sided=family.__name__ in _SIDED) for family in _CHANGING),
)
"""Draw a rule of movement each."""
