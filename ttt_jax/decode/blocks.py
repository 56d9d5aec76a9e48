"""How many rows that attend to a common prefix go through the model at a time."""

from __future__ import annotations

from ttt_jax.model.attention import fuses
from ttt_jax.model.decoder import Decoder

BLOCK_TOKENS = 1 << 13
"""More tokens at a time would fill the device no better, and all rows of a block are padded to its longest."""
SCORE_BYTES = 1 << 30
"""Of attention scores, where these are written to memory."""


def block_rows(model: Decoder, rows: int, tasks: int, tokens: int, slots: int) -> int:
    """The most rows, dividing `rows`, that stay within `BLOCK_TOKENS` and `SCORE_BYTES`; at least one.

    Args:
      model: whose attention it is.
      rows: of a task.
      tasks: side by side on a device.
      tokens: of a row that go through the model together.
      slots: that each of them may attend to, those of the prefix among them.
    """
    fused = model.kernels == "auto" and fuses(model.dtype, model.config.head_dim)
    score_bytes = 0 if fused else tasks * tokens * model.config.num_heads * slots * 4
    most = min(BLOCK_TOKENS // (tasks * tokens), SCORE_BYTES // max(1, score_bytes))
    return max((n for n in range(1, rows + 1) if rows % n == 0 and n <= most), default=1)
