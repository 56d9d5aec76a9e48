"""Rules that choose among panels, or give an account of each panel in one cell of the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ttt_jax.tasks.transforms import symmetric
from ttt_jax.train.invented.draws import chance, draw_colours, pick
from ttt_jax.train.invented.patterns.canvas import extreme, finished, speckle
from ttt_jax.train.invented.patterns.guises import guised
from ttt_jax.train.invented.patterns.panels import Layout, draw_layout
from ttt_jax.train.invented.rule import Family, Grid, Pair, PairSampler, Rng

_SHAPES = [(1, 2), (1, 3), (1, 4), (2, 2), (2, 2), (3, 3), (3, 3), (2, 3), (1, 5)]

Score = Callable[[Grid], int]


def _mirrors(panel: Grid) -> int:
    return int(np.array_equal(panel, panel[:, ::-1])) + int(np.array_equal(panel, panel[::-1]))


_SCORES: dict[str, Score] = {
    "cells": np.count_nonzero,
    "colours": lambda panel: len(set(panel[panel != 0].tolist())),
    "mirrors": _mirrors,
    "top": lambda panel: int(np.count_nonzero(panel[0])),
    "rows": lambda panel: int(panel.any(1).sum()),
    "full rows": lambda panel: int((panel != 0).all(1).sum()),
}


def _panel(rng: Rng, shape: tuple[int, int], palette: Sequence[int], score: str) -> Grid:
    """A panel such as make the score interesting."""
    panel = speckle(rng, shape, palette, float(rng.uniform(0.15, 0.85)))
    if score == "mirrors" and chance(rng, 0.3):
        panel[:, shape[1] - shape[1] // 2 :] = panel[:, : shape[1] // 2][:, ::-1]
    if score == "full rows":
        panel[rng.random(shape[0]) < 0.4] = palette[0]
    return panel


def chosen(rng: Rng) -> PairSampler:
    """The only panel with the most or least of something, or unlike the others: shown alone, cleared or marked."""
    layout = draw_layout(rng, _SHAPES, 0.85)
    number = layout.rows * layout.columns
    score, most = pick(rng, list(_SCORES)), chance(rng, 0.7)
    line = layout.line or 0
    shade = draw_colours(rng, 1, [line])[0]
    what = pick(rng, ["alone", "alone", "others blank", "blank", "painted", "filled", "map", "everywhere"])
    mixed = score == "colours" or chance(rng, 0.4)
    fixed = draw_colours(rng, 3, [line, shade]) if chance(rng, 0.4) else None

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = layout.side(rng, size)
        if shape is None:
            return None
        palette = fixed or draw_colours(rng, 4 if score == "colours" else 3, [line, shade])
        panels = []
        for _ in range(number):
            own = palette if mixed else [pick(rng, palette)]
            if score == "colours":
                own = palette[: int(rng.integers(1, 5))]
            panels.append(_panel(rng, shape, own, score))
        best = extreme(np.asarray([_SCORES[score](panel) for panel in panels]), most)
        if best is None:
            return None
        question = layout.joined(panels)
        match what:
            case "alone":
                return finished(question, panels[best])
            case "everywhere":
                return finished(question, layout.joined([panels[best]] * number))
            case "map":
                lit = np.where(np.arange(number) == best, shade, 0)
                return finished(question, lit.reshape(layout.rows, layout.columns))
        made = []
        for k, panel in enumerate(panels):
            changed = {
                "others blank": panel if k == best else panel * 0,
                "blank": panel * 0 if k == best else panel,
                "painted": np.where(panel != 0, shade, 0) if k == best else panel,
                "filled": np.where(panel == 0, shade, panel) if k == best else panel,
            }[what]
            made.append(changed)
        return finished(question, layout.joined(made))

    return sample


def odd_one(rng: Rng) -> PairSampler:
    """All panels but one are the same, perhaps turned or of other colours: the odd one is shown, marked or mended."""
    layout = draw_layout(rng, [(1, 3), (1, 4), (2, 2), (2, 3), (3, 3)], 0.9)
    number = layout.rows * layout.columns
    free = pick(rng, ["same", "same", "turned", "coloured"])
    line = layout.line or 0
    shade = draw_colours(rng, 1, [line])[0]
    what = pick(rng, ["alone", "painted", "map", "agreed", "others blank"])

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = layout.side(rng, size, 2)
        if shape is None:
            return None
        palette = draw_colours(rng, 3, [line, shade])
        base, other = (speckle(rng, shape, palette[: 1 if free == "coloured" else 2], 0.5) for _ in range(2))
        if not base.any() or not other.any() or any(np.array_equal(other, symmetric(base, s)) for s in (0, 2, 3, 5)):
            return None
        odd = int(rng.integers(number))
        panels = []
        for k in range(number):
            panel = other if k == odd else base
            if free == "turned":
                panel = symmetric(panel, pick(rng, [0, 2, 3, 5]))
            if free == "coloured":
                panel = np.where(panel != 0, pick(rng, palette), 0).astype(np.int8)
            panels.append(panel)
        question = layout.joined(panels)
        if what == "alone":
            return finished(question, panels[odd])
        if what == "agreed":
            return finished(question, base) if free == "same" else None
        if what == "map":
            return finished(question, np.where(np.arange(number) == odd, shade, 0).reshape(layout.rows, layout.columns))
        made = [
            (np.where(p != 0, shade, 0) if k == odd else p) if what == "painted" else (p if k == odd else p * 0)
            for k, p in enumerate(panels)
        ]
        return finished(question, layout.joined(made))

    return sample


def accounted(rng: Rng) -> PairSampler:
    """One cell for each panel: whether it holds anything, its colour, how many cells it has, or if it is symmetric."""
    layout = draw_layout(rng, [(2, 2), (3, 3), (3, 3), (2, 3), (1, 4), (4, 4), (3, 2)], 0.95)
    if layout.line is None:
        layout = Layout(layout.rows, layout.columns, draw_colours(rng, 1)[0])
    number, line = layout.rows * layout.columns, layout.line or 0
    kind = pick(rng, ["any", "colour", "colour", "count", "exactly", "mirror", "full", "corner"])
    shades = np.asarray([0, *draw_colours(rng, 6, [line])], np.int8)
    target = int(rng.integers(1, 4))
    in_place = chance(rng, 0.4)
    repeated = chance(rng, 0.2)
    corner = pick(rng, [(0, 0), (0, -1), (-1, -1)])

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = layout.side(rng, size * 0.7)
        if shape is None:
            return None
        palette = draw_colours(rng, 3, [line])
        panels, cells = [], []
        for _ in range(number):
            panel = np.zeros(shape, np.int8)
            if kind in ("any", "colour", "full", "mirror", "corner"):
                if chance(rng, 0.6):
                    panel = speckle(rng, shape, [pick(rng, palette)], float(rng.uniform(0.3, 0.9)))
                if kind == "full" and chance(rng, 0.4):
                    panel[:] = pick(rng, palette)
                if kind == "mirror":
                    panel = speckle(rng, shape, palette[:1], 0.5)
                    if chance(rng, 0.5):
                        panel[:, shape[1] - shape[1] // 2 :] = panel[:, : shape[1] // 2][:, ::-1]
            else:
                at = rng.permutation(panel.size)[: int(rng.integers(0, min(5, panel.size)))]
                panel.ravel()[at] = palette[0]
            panels.append(panel)
            filled = np.count_nonzero(panel)
            cells.append(
                {
                    "any": shades[int(filled > 0)],
                    "colour": panel.max(),
                    "count": shades[min(filled, 6)],
                    "exactly": shades[int(filled == target)],
                    "mirror": shades[int(np.array_equal(panel, panel[:, ::-1]))],
                    "full": shades[int(filled == panel.size)],
                    "corner": panel[corner],
                }[kind]
            )
        question = layout.joined(panels)
        if in_place:
            return finished(question, layout.joined([np.full(shape, cell, np.int8) for cell in cells]))
        answer = np.asarray(cells, np.int8).reshape(layout.rows, layout.columns)
        return finished(question, np.repeat(np.repeat(answer, 2, 0), 2, 1) if repeated else answer)

    return sample


def mapped(rng: Rng) -> PairSampler:
    """A panel with as many cells as there are panels tells what each panel becomes."""
    n = pick(rng, [2, 3, 3])
    line, marker = draw_colours(rng, 2)
    layout = Layout(n, n, line)
    kind = pick(rng, ["fullest", "coloured", "coloured"])
    what = pick(rng, ["fill", "stamp", "cells"])

    def sample(rng: Rng, size: float) -> Pair | None:
        palette = draw_colours(rng, 3, [line, marker])
        panels = [speckle(rng, (n, n), [marker], 0.25) for _ in range(n * n)]
        source = int(rng.integers(n * n))
        if kind == "fullest":
            for panel in panels:
                panel.ravel()[rng.permutation(n * n)[: n * n - n]] = 0
            panels[source] = speckle(rng, (n, n), [marker], 0.7)
            if extreme(np.asarray([np.count_nonzero(p) for p in panels]), True) != source:
                return None
        else:
            panels[source] = speckle(rng, (n, n), palette, 0.6)
        code = panels[source]
        if np.count_nonzero(code) < 2:
            return None
        flat = code.ravel().tolist()
        if what == "fill":
            made = [np.full((n, n), shade, np.int8) for shade in flat]
        elif what == "stamp":
            made = [np.where(code != 0, shade, 0).astype(np.int8) for shade in flat]
        else:
            made = [np.where(p != 0, shade, 0).astype(np.int8) for p, shade in zip(panels, flat, strict=True)]
        return finished(layout.joined(panels), layout.joined(made))

    return sample


def sorted_panels(rng: Rng) -> PairSampler:
    """Panels in a row are put in the order of their cells, or each is drawn as often as it has colours."""
    layout = draw_layout(rng, [(1, 3), (1, 4), (1, 2)], 0.9)
    number, line = layout.columns, layout.line or 0
    falling, bars = chance(rng, 0.5), chance(rng, 0.4)

    def sample(rng: Rng, size: float) -> Pair | None:
        shape = layout.side(rng, size, 2)
        if shape is None:
            return None
        shades = draw_colours(rng, number, [line])
        panels = [_panel(rng, shape, [shade], "cells") for shade in shades]
        numbers = [np.count_nonzero(panel) for panel in panels]
        if len(set(numbers)) < number or not min(numbers):
            return None
        order = np.argsort(numbers)[:: -1 if falling else 1]
        question = layout.joined(panels)
        if bars:
            return finished(question, np.asarray([[shades[k] for k in order]], np.int8))
        return finished(question, layout.joined([panels[k] for k in order]))

    return sample


FAMILIES: tuple[Family, ...] = (
    guised(chosen),
    guised(odd_one),
    guised(accounted),
    guised(mapped),
    guised(sorted_panels),
)
