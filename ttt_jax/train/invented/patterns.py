"""Rules about whole grids: tilings, symmetries, panels, scales, colour maps, rows, frames, keys, repairs."""

from __future__ import annotations

from ttt_jax.train.invented.choices import CHOICES
from ttt_jax.train.invented.frames import FRAMES
from ttt_jax.train.invented.keys import KEYS
from ttt_jax.train.invented.local import LOCAL
from ttt_jax.train.invented.operands import OPERANDS
from ttt_jax.train.invented.panels import PANELS
from ttt_jax.train.invented.regions import REGIONS
from ttt_jax.train.invented.repairs import REPAIRS
from ttt_jax.train.invented.rule import Family
from ttt_jax.train.invented.sequences import SEQUENCES
from ttt_jax.train.invented.symmetry import SYMMETRIES_SHOWN
from ttt_jax.train.invented.tilings import TILINGS
from ttt_jax.train.invented.transformed import TRANSFORMED

FAMILIES: tuple[Family, ...] = (
    # Twice: they hold the most rules by far.
    *TRANSFORMED,
    *TRANSFORMED,
    *TILINGS,
    *SYMMETRIES_SHOWN,
    *PANELS,
    *CHOICES,
    *SEQUENCES,
    *FRAMES,
    *KEYS,
    *REPAIRS,
    *LOCAL,
    *REGIONS,
    *OPERANDS,
)
