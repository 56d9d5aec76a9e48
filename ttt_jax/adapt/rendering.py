"""Training sequences of grids or text in a terminal, with their loss mask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby

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

TEXT_LEGEND = (
    "⟦What is trained on⟧ stands in brackets, ⟨what weighs less⟩ in angles; "
    "the rest is only read. ↵ is a newline token."
)


def render_text(
    tokens: Int[np.ndarray, " length"],
    weights: Float[np.ndarray, " length"],
    pad_token: int,
    decode: Callable[[Sequence[int]], str],
) -> RenderableType:
    """One sequence of text, spans of equal loss weight in brackets of their own.

    Args:
      tokens: one row of a batch; the padding at its end is only counted.
      weights: the loss weight of each token.
      pad_token: fills the row; a last token of the text may be the same.
      decode: tokens to text.
    """
    real = len(tokens)
    while real and tokens[real - 1] == pad_token and weights[real - 1] == 0:
        real -= 1
    full, partly = int((weights == 1).sum()), int(((weights > 0) & (weights != 1)).sum())
    counts = f"{real} tokens, {full} under loss" + (f", {partly} under less of it" if partly else "")
    counts += f", {len(tokens) - real} of padding" if real < len(tokens) else ""
    text = Text()
    start = 0
    for weight, group in groupby(weights[:real].tolist()):
        stop = start + len(list(group))
        words = decode(tokens[start:stop].tolist()).replace("\n", "↵\n")
        left, right = ("⟦", "⟧") if weight == 1 else ("⟨", "⟩") if weight > 0 else ("", "")
        text.append(f"{left}{words}{right}", "bold" if weight == 1 else "dim" if not weight else "")
        start = stop
    return Group(Text(counts, "bold"), text, Text())


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
