"""What a thing becomes: in colour, shape and place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ttt_jax.train.invented.draws import chance, pick, weighted
from ttt_jax.train.invented.masks import ORTHOGONAL, dilated
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.looks import Palette
from ttt_jax.train.invented.objects.scenes import CLEAR, Scene, Thing
from ttt_jax.train.invented.rule import Rng

Change = Callable[[Scene, Thing], Thing | None]
"""One thing becomes another; None where it has nothing to change or is deleted."""

Tint = Callable[[Scene, Thing], int | None]
"""The colour that something drawn for a thing has; None where it is not clear."""


# ------------------------------------------------------------ what colour


def draw_tint(rng: Rng, palette: Palette, recolours: bool = True) -> Tint:
    """A colour to draw with: mostly a constant of the rule, or one that follows from the scene.

    `recolours`: what is drawn replaces the thing's own colour, so that its own colour will not do.
    """
    draw = rng.random()
    if draw < 0.6:
        colour = palette.one()
        return lambda scene, thing: colour
    if draw < 0.72:
        if not recolours:
            return lambda scene, thing: thing.colour
        palette.wants.add("accents")
        return lambda scene, thing: thing.accent
    if draw < 0.8:
        return _largest_colour if rng.random() < 0.5 else _smallest_colour
    if draw < 0.9:
        return _by_number(rng, palette)
    return _by_own_colour(rng, palette)


def _by_number(rng: Rng, palette: Palette) -> Tint:
    """A table from what can be counted or told apart in a thing to a colour."""
    table = palette.take(3)
    kind = int(rng.integers(len(_CLASSES)))
    if kind in _CLASSES_WANT:
        palette.wants.add(_CLASSES_WANT[kind])
    return lambda scene, thing: table[min(_CLASSES[kind](scene, thing), len(table) - 1)]


_CLASSES: tuple[Callable[[Scene, Thing], int], ...] = (
    lambda scene, thing: thing.hole_count,
    lambda scene, thing: sum(np.array_equal(thing.mask, other.mask) for other in scene.things) - 1,
    lambda scene, thing: thing.cells % 2,
    lambda scene, thing: (thing.cells - 1) // 3,  # 1 to 3, 4 to 6, more
    lambda scene, thing: int(np.sign(thing.height - thing.width)) + 1,
    lambda scene, thing: int(2 * thing.row + thing.height > scene.ground.shape[0]),  # upper or lower half
    lambda scene, thing: int(2 * thing.column + thing.width > scene.ground.shape[1]),
    lambda scene, thing: thing.cells - 1,
)
_CLASSES_WANT = {0: "holes", 1: "twins"}


def _by_own_colour(rng: Rng, palette: Palette) -> Tint:
    """A permutation of colours that all pairs share."""
    table = np.roll(rng.permutation(10), 1)
    return lambda scene, thing: None if table[thing.colour] == scene.ground_colour else int(table[thing.colour])


def _largest_colour(scene: Scene, thing: Thing) -> int | None:
    return _extreme_colour(scene, -1)


def _smallest_colour(scene: Scene, thing: Thing) -> int | None:
    return _extreme_colour(scene, 1)


def _extreme_colour(scene: Scene, sign: int) -> int | None:
    ranked = sorted(scene.things, key=lambda t: sign * t.cells)
    return ranked[0].colour if ranked[0].cells != ranked[1].cells else None


# ---------------------------------------------------------- thing -> thing


def keep(scene: Scene, thing: Thing) -> Thing:
    return thing


def _recolour(rng: Rng, palette: Palette) -> Change:
    tint = draw_tint(rng, palette)

    def change(scene: Scene, thing: Thing) -> Thing | None:
        colour = tint(scene, thing)
        return None if colour is None else thing.with_colour(colour)

    return change


def _recolour_to_key(rng: Rng, palette: Palette) -> Change:
    """To the colour of the key of the scene where it has one, else to a constant."""
    colour = palette.one()
    return lambda scene, thing: thing.with_colour(colour if scene.key is None else scene.key)


def _mirror(rng: Rng, palette: Palette) -> Change:
    """Mirrored or turned within its place; turned by a quarter only where that keeps the upper left corner."""
    which = int(rng.integers(4))

    def change(scene: Scene, thing: Thing) -> Thing:
        s = thing.sprite
        return thing.with_sprite((s[:, ::-1], s[::-1], s[::-1, ::-1], np.rot90(s))[which])

    return change


def _shift(rng: Rng, palette: Palette) -> Change:
    rows, columns = draw_vector(rng)
    return lambda scene, thing: thing.moved(rows, columns)


def _shift_by_size(rng: Rng, palette: Palette) -> Change:
    """By as much as it is high or wide."""
    rows, columns = pick(rng, ORTHOGONAL)
    return lambda scene, thing: thing.moved(rows * thing.height, columns * thing.width)


def draw_vector(rng: Rng) -> tuple[int, int]:
    distance = int(rng.integers(1, 4))
    if rng.random() < 0.3:
        return distance * (1 - 2 * int(rng.integers(2))), distance * (1 - 2 * int(rng.integers(2)))
    rows, columns = pick(rng, ORTHOGONAL)
    return distance * rows, distance * columns


def _to_wall(rng: Rng, palette: Palette) -> Change:
    """Slid to one border of the grid."""
    which = int(rng.integers(4))

    def change(scene: Scene, thing: Thing) -> Thing:
        height, width = scene.ground.shape
        row = (0, height - thing.height, thing.row, thing.row)[which]
        column = (thing.column, thing.column, 0, width - thing.width)[which]
        return thing.moved(row - thing.row, column - thing.column)

    return change


def _fill_holes(rng: Rng, palette: Palette) -> Change:
    tint = draw_tint(rng, palette, recolours=False)
    box = chance(rng, 0.5)  # all of the bounding box, or only what is enclosed
    if not box:
        palette.wants.add("holes")

    def change(scene: Scene, thing: Thing) -> Thing | None:
        colour, where = tint(scene, thing), ~thing.mask if box else thing.holes
        if colour is None:
            return None
        return thing.with_sprite(np.where(where, colour, thing.sprite))

    return change


def _inner(mask: np.ndarray, diagonal: bool) -> np.ndarray:
    """The cells of a mask all of whose neighbours are in it."""
    return ~dilated(np.pad(~mask, 1, constant_values=True), diagonal)[1:-1, 1:-1]


def _hollow(rng: Rng, palette: Palette) -> Change:
    """Its inner cells are cleared or recoloured; or its outer ones recoloured."""
    palette.wants.add("bulk")
    diagonal, outer = chance(rng, 0.5), chance(rng, 0.3)
    colour = palette.one() if outer or rng.random() < 0.5 else CLEAR

    def change(scene: Scene, thing: Thing) -> Thing | None:
        inner = _inner(thing.mask, diagonal)
        if not inner.any():
            return None if outer else thing
        return thing.with_sprite(np.where(thing.mask & ~inner if outer else inner, colour, thing.sprite))

    return change


def _part(rng: Rng, palette: Palette) -> Change:
    """A part of it recoloured: an edge, its corners, every second cell, its centre or its diagonal."""
    colour = palette.one()
    which = int(rng.integers(8))
    gone = chance(rng, 0.15)

    def change(scene: Scene, thing: Thing) -> Thing | None:
        part = np.zeros(thing.mask.shape, bool)
        if which < 4:
            part[((0, slice(None)), (-1, slice(None)), (slice(None), 0), (slice(None), -1))[which]] = True
        elif which == 4:
            part[[0, 0, -1, -1], [0, -1, 0, -1]] = True
        elif which == 5:
            part[::2, 1::2] = part[1::2, ::2] = True
        elif which == 6:
            r, c = (thing.height - 1) // 2, (thing.width - 1) // 2
            part[r : thing.height - r, c : thing.width - c] = True
        else:
            np.fill_diagonal(part, True)
        part &= thing.mask
        if gone and part.sum() == thing.cells:
            return None
        return thing.with_sprite(np.where(part, CLEAR if gone else colour, thing.sprite))

    return change


def _simplify(rng: Rng, palette: Palette) -> Change:
    """Replaced by its bounding box, the frame of that, its cross, one cell, or a line along it."""
    which = int(rng.integers(5))
    tint = draw_tint(rng, palette, recolours=False)

    def change(scene: Scene, thing: Thing) -> Thing | None:
        colour = tint(scene, thing)
        if colour is None:
            return None
        h, w = thing.mask.shape
        mask = np.zeros((h, w), bool)
        if which == 0:
            mask[:] = True
        elif which == 1:
            mask = shapes.frame(h, w)
        elif which == 2:
            mask[(h - 1) // 2 : h // 2 + 1] = mask[:, (w - 1) // 2 : w // 2 + 1] = True
        elif which == 3:
            mask[0, 0] = True
        else:
            mask[-1] = True
        return thing.with_sprite(np.where(mask, colour, CLEAR))

    return change


def _scale(rng: Rng, palette: Palette) -> Change:
    """Enlarged from its upper left corner."""
    rows, columns = pick(rng, ((2, 2), (2, 1), (1, 2), (3, 3)))
    return lambda scene, thing: thing.with_sprite(np.kron(thing.sprite, np.ones((rows, columns), np.int8)))


def _swap_colours(rng: Rng, palette: Palette) -> Change:
    """The two colours of a thing change places."""
    palette.wants.add("accents")

    def change(scene: Scene, thing: Thing) -> Thing | None:
        used = np.flatnonzero(thing.counts)
        if len(used) != 2:
            return None
        return thing.with_sprite(np.where(thing.mask, used.sum() - thing.sprite, CLEAR))

    return change


_CHANGES = (
    (_recolour, 5),
    (_recolour_to_key, 0.7),
    (_mirror, 2),
    (_shift, 1.5),
    (_shift_by_size, 0.5),
    (_to_wall, 1),
    (_fill_holes, 2),
    (_hollow, 1.2),
    (_part, 2.5),
    (_simplify, 1.5),
    (_scale, 1),
    (_swap_colours, 0.4),
)


def draw_change(rng: Rng, palette: Palette) -> Change:
    """Something that makes one thing of a thing."""
    return weighted(rng, _CHANGES)(rng, palette)
