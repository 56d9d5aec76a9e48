"""Grids and curves as inline SVG, small enough for hundreds of tasks on one page."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

# The colours of the ARC Prize's own viewer, by cell value.
COLOURS = (
    "#000000",
    "#0074d9",
    "#ff4136",
    "#2ecc40",
    "#ffdc00",
    "#aaaaaa",
    "#f012be",
    "#ff851b",
    "#7fdbff",
    "#870c25",
)
GRID_PIXELS = 132
CELL_PIXELS = (3, 15)


def draw_grid(grid: Sequence[Sequence[int]], pixels: int = GRID_PIXELS) -> Markup:
    """A grid of cells 0-9 as SVG; its longer side takes at most about `pixels`.

    Cells have a whole number of pixels, so that they stay crisp; every run of
    equal cells in a row is one rectangle of its colour's single path.
    """
    height, width = len(grid), len(grid[0])
    smallest, largest = CELL_PIXELS
    cell = max(smallest, min(largest, pixels // max(height, width)))
    runs: dict[int, list[str]] = {}
    for y, row in enumerate(grid):
        x = 0
        for colour, same in itertools.groupby(row):
            length = len(list(same))
            runs.setdefault(colour, []).append(f"M{x} {y}h{length}v1h-{length}z")
            x += length
    paths = "".join(f'<path fill="{COLOURS[c]}" d="{"".join(parts)}"/>' for c, parts in sorted(runs.items()))
    lines = "".join(f"M{x} 0v{height}" for x in range(1, width)) + "".join(f"M0 {y}h{width}" for y in range(1, height))
    label = f"grid of {height} rows and {width} columns"
    return Markup(
        f'<svg class="grid" width="{width * cell}" height="{height * cell}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{label}">{paths}<path class="lines" d="{lines}"/></svg>'
    )


def draw_curve(values: Sequence[float | None], width: int = 220, height: int = 48) -> Markup:
    """A line over equally spaced steps from zero up to the largest value; gaps where a value is None."""
    finite = [v for v in values if v is not None]
    if not finite:
        return Markup("")
    top, across = max(max(finite), 1e-9), max(len(values) - 1, 1)
    segments: list[list[str]] = [[]]
    for i, value in enumerate(values):
        if value is None:
            segments.append([])
        else:
            x, y = i / across * (width - 4) + 2, height - 2 - max(value, 0.0) / top * (height - 4)
            segments[-1].append(f"{x:.1f} {y:.1f}")
    # A single point still shows, by its round line cap.
    path = "".join("M" + "L".join(points if len(points) > 1 else points * 2) for points in segments if points)
    return Markup(
        f'<svg class="curve" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="loss by step"><path class="axis" d="M2 {height - 1.5}H{width - 2}"/><path d="{path}"/></svg>'
    )


def draw_accuracy(arms: Mapping[str, Sequence[Mapping[str, float]]], width: int = 330, height: int = 150) -> Markup:
    """Accuracy over a number: a line with 95% bars for every arm.

    Args:
      arms: name -> `reasoning.accuracy_curve`'s bins; at least one is not empty.
    """
    xs = [b["mean"] for bins in arms.values() for b in bins]
    left, right, top, bottom = 34, 8, 8, 34
    low, span = min(xs), (max(xs) - min(xs)) or 1.0

    def across(x: float) -> float:
        return left + (x - low) / span * (width - left - right)

    def up(y: float) -> float:
        return top + (1 - y) * (height - top - bottom)

    parts = [
        f'<path class="axis" d="M{left} {up(y):.1f}H{width - right}"/>'
        f'<text x="{left - 4}" y="{up(y) + 4:.1f}" text-anchor="end">{100 * y:.0f}%</text>'
        for y in (0, 0.5, 1)
    ]
    parts += [
        f'<text x="{across(x):.1f}" y="{height - 20}" text-anchor="middle">{x:.3g}</text>'
        for x in sorted({min(xs), max(xs)})
    ]
    for i, (name, bins) in enumerate(arms.items()):
        shift = 2.5 * (i - (len(arms) - 1) / 2)  # bars of two arms do not hide each other
        points = [(across(b["mean"]) + shift, b) for b in bins]
        line = "L".join(f"{x:.1f} {up(b['value']):.1f}" for x, b in points)
        bars = "".join(f"M{x:.1f} {up(b['low']):.1f}V{up(b['high']):.1f}" for x, b in points)
        parts.append(f'<g class="arm{i}"><path d="M{line}"/><path class="bars" d="{bars}"/>')
        parts.append(f'<text x="{left + i * 110}" y="{height - 4}">{escape(name)}</text></g>')
    return Markup(
        f'<svg class="accuracy" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="accuracy over difficulty">{"".join(parts)}</svg>'
    )
