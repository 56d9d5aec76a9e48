"""Training sequences of grids in a terminal, the loss mask beside every token."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ttt_jax.tasks import encoding as enc

# Black, blue, red, green, yellow, grey, magenta, orange, light blue, maroon: as ARC is usually drawn.
PALETTE = ("#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00", "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25")
_DARK = (0, 1, 9)
_SIGNS = {enc.NEWLINE: "↵", enc.END: "■"}

LEGEND = (
    "Each token is followed by its loss: • full, ∘ input_loss, nothing where it is not trained on. "
    "↵ ends a row, ■ an output."
)


def render_sequence(
    tokens: Int[np.ndarray, " length"], weights: Float[np.ndarray, " length"], width: int = 80
) -> RenderableType:
    """One sequence of grids: a line that counts its tokens, then each pair, input and output side by side.

    Args:
      tokens: one row of a batch; padding at the end is only counted.
      weights: the loss weight of each token.
      width: columns of the terminal; outputs go below inputs where both do not fit.
    """
    padding = int((tokens == enc.PAD).sum())
    full, partly = int((weights == 1).sum()), int(((weights > 0) & (weights != 1)).sum())
    counts = f"{len(tokens) - padding} tokens, {full} under loss"
    counts += f", {partly} under input_loss" if partly else ""
    counts += f", {padding} of padding" if padding else ""
    parts: list[RenderableType] = [Text(counts, "bold")]
    grids = list(_grids(tokens, weights))
    for k in range(0, len(grids), 2):
        pair = [
            Text.assemble((f"{name} {k // 2}\n", "dim"), grid)
            for name, grid in zip(("input", "output"), grids[k : k + 2], strict=True)
        ]
        columns = sum(max(map(len, text.plain.split("\n"))) for text in pair) + 4
        table = Table.grid(padding=(0, 4, 0, 0))
        if columns <= width:
            table.add_row(*pair)
        else:
            for text in pair:
                table.add_row(text)
        parts += [table, Text()]
    return Group(*parts)


def _grids(tokens: np.ndarray, weights: np.ndarray) -> Iterator[Text]:
    """The text between one INPUT or OUTPUT and the next."""
    starts = np.flatnonzero((tokens == enc.INPUT) | (tokens == enc.OUTPUT))
    for start, stop in zip(starts, [*starts[1:], len(tokens)], strict=True):
        text = Text(no_wrap=True)
        for token, weight in zip(tokens[start + 1 : stop].tolist(), weights[start + 1 : stop].tolist(), strict=True):
            if token == enc.PAD:
                break
            mark = "•" if weight == 1 else "∘" if weight > 0 else " "
            if token in _SIGNS:
                text.append(_SIGNS[token] + mark, "bold" if weight == 1 else "dim")
                text.append("\n" if token == enc.NEWLINE else "")
            else:
                ink = "white" if token in _DARK else "black"
                text.append(f"{token}{mark}", f"{'bold' if weight == 1 else 'not bold'} {ink} on {PALETTE[token]}")
        text.rstrip()
        yield text
