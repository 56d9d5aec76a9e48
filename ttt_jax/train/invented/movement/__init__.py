"""Rules of drawing and movement, from all the rooms."""

from __future__ import annotations

from ttt_jax.train.invented.movement.completing import COMPLETING
from ttt_jax.train.invented.movement.falling import FALLING
from ttt_jax.train.invented.movement.filling import FILLING
from ttt_jax.train.invented.movement.growth import GROWTH
from ttt_jax.train.invented.movement.guises import guised
from ttt_jax.train.invented.movement.launches import LAUNCHES
from ttt_jax.train.invented.movement.lines import LINES
from ttt_jax.train.invented.movement.machines import MACHINES
from ttt_jax.train.invented.movement.mazes import MAZES
from ttt_jax.train.invented.movement.paths import PATHS
from ttt_jax.train.invented.movement.rays import RAYS
from ttt_jax.train.invented.movement.rooms import ROOMS
from ttt_jax.train.invented.movement.signals import SIGNALS
from ttt_jax.train.invented.movement.sliding import SLIDING
from ttt_jax.train.invented.movement.stamps import STAMPS
from ttt_jax.train.invented.movement.strips import STRIPS
from ttt_jax.train.invented.movement.unfolding import UNFOLDING
from ttt_jax.train.invented.rule import Family

_ADDING = RAYS + LINES + FILLING + ROOMS + PATHS + MAZES + GROWTH + STAMPS + MACHINES + UNFOLDING
_CHANGING = FALLING + SLIDING + LAUNCHES + SIGNALS + STRIPS + COMPLETING
_SIDED = {"_mirrors", "_bouncing", "_border_marks", "_waterfall", "_plants", "_elementary", "_terrain", "_fuelled"}
"""Their inputs show from which side they are to be read."""

FAMILIES: tuple[Family, ...] = (
    *(guised(family, sided=family.__name__ in _SIDED) for family in _ADDING),
    *(guised(family, adds=False, sided=family.__name__ in _SIDED) for family in _CHANGING),
)
"""Draw a rule of movement each."""
