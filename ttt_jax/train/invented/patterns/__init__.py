"""Rules about whole grids: tilings, symmetries, panels, scales, colour maps, rows, frames, keys, repairs."""

from __future__ import annotations

from ttt_jax.train.invented.patterns.choices import CHOICES
from ttt_jax.train.invented.patterns.frames import FRAMES
from ttt_jax.train.invented.patterns.keys import KEYS
from ttt_jax.train.invented.patterns.local import LOCAL
from ttt_jax.train.invented.patterns.operands import OPERANDS
from ttt_jax.train.invented.patterns.panels import PANELS
from ttt_jax.train.invented.patterns.regions import REGIONS
from ttt_jax.train.invented.patterns.repairs import REPAIRS
from ttt_jax.train.invented.patterns.sequences import SEQUENCES
from ttt_jax.train.invented.patterns.symmetry import SYMMETRIES_SHOWN
from ttt_jax.train.invented.patterns.tilings import TILINGS
from ttt_jax.train.invented.patterns.transformed import TRANSFORMED
from ttt_jax.train.invented.rule import Family

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
