"""What is done to the things that a rule means, and what is drawn because of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ttt_jax.train.invented.draws import chance, pick, weighted
from ttt_jax.train.invented.masks import ORTHOGONAL, dilated
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.changes import Change, draw_change, draw_tint, draw_vector
from ttt_jax.train.invented.objects.looks import Palette
from ttt_jax.train.invented.objects.scenes import Scene, Thing, solid
from ttt_jax.train.invented.rule import Rng

Action = Callable[[Scene, Thing], list[Thing] | None]
"""What stands for a thing afterwards: itself or a changed one, and extras. None where the scene does not show it."""


def _extra(row: int, column: int, mask: np.ndarray, colour: int) -> Thing:
    return Thing(row, column, solid(mask, colour), extra=True)


def _outline(rng: Rng, palette: Palette) -> Action:
    """Every cell that touches it; only through sides; or the frame around its bounding box."""
    tint = draw_tint(rng, palette, recolours=False)
    which = int(rng.integers(3))

    def action(scene: Scene, thing: Thing) -> list[Thing] | None:
        colour = tint(scene, thing)
        if colour is None:
            return None
        if which == 2:
            mask = shapes.frame(thing.height + 2, thing.width + 2)
        else:
            mask = dilated(np.pad(thing.mask, 1), diagonal=which == 0)
        return [thing, _extra(thing.row - 1, thing.column - 1, mask, colour)]

    return action


def _shadow(rng: Rng, palette: Palette) -> Action:
    """A copy beneath it, moved a little, in another colour."""
    rows, columns = draw_vector(rng)
    tint = draw_tint(rng, palette, recolours=False)

    def action(scene: Scene, thing: Thing) -> list[Thing] | None:
        colour = tint(scene, thing)
        if colour is None:
            return None
        return [thing, _extra(thing.row + rows, thing.column + columns, thing.mask, colour)]

    return action


def _double(rng: Rng, palette: Palette) -> Action:
    """A copy next to it, mirrored or as it is, with or without a gap; or copies all the way to the border."""
    rows, columns = pick(rng, ORTHOGONAL)
    gap, mirrored, chain = int(rng.random() < 0.4), chance(rng, 0.5), chance(rng, 0.35)

    def action(scene: Scene, thing: Thing) -> list[Thing] | None:
        down, across = rows * (thing.height + gap), columns * (thing.width + gap)
        turned = thing.sprite[::-1] if rows else thing.sprite[:, ::-1]
        copies = [thing]
        for i in range(1, (max(scene.ground.shape) if chain else 1) + 1):
            row, column = thing.row + i * down, thing.column + i * across
            if not (-thing.height < row < scene.ground.shape[0] and -thing.width < column < scene.ground.shape[1]):
                break
            copies.append(Thing(row, column, turned if mirrored and i % 2 else thing.sprite, extra=True))
        return copies if len(copies) > 1 else None

    return action


def _ray(rng: Rng, palette: Palette) -> Action:
    """Lines from it to the border: from its whole edge, from its middle, in one direction or several."""
    tint = draw_tint(rng, palette, recolours=False)
    directions = ([int(rng.integers(4))], [0, 2], [1, 3], [0, 1, 2, 3])[int(rng.choice(4, p=[0.5, 0.15, 0.15, 0.2]))]
    wide = chance(rng, 0.4)

    def action(scene: Scene, thing: Thing) -> list[Thing] | None:
        colour = tint(scene, thing)
        if colour is None or (not wide and any((thing.height, thing.width)[d % 2] % 2 == 0 for d in directions)):
            return None
        height, width = scene.ground.shape
        row, column, h, w = thing.row, thing.column, thing.height, thing.width
        if not wide:
            row, column, h, w = row + (h - 1) // 2, column + (w - 1) // 2, 1, 1
        boxes = ((row, column, h, width), (row, column, height, w), (row, 0, h, column), (0, column, row, w))
        lines = [_extra(r, c, shapes.rectangle(n, m), colour) for r, c, n, m in (boxes[d] for d in directions)]
        return [thing, *lines]

    return action


def _diagonal_rays(rng: Rng, palette: Palette) -> Action:
    """Diagonal lines from corners of its bounding box to the border."""
    tint = draw_tint(rng, palette, recolours=False)
    corners = [int(rng.integers(4))] if rng.random() < 0.4 else pick(rng, ([0, 3], [1, 2], [0, 1, 2, 3]))

    def action(scene: Scene, thing: Thing) -> list[Thing] | None:
        colour = tint(scene, thing)
        if colour is None:
            return None
        n = max(scene.ground.shape)
        eye = np.eye(n, dtype=bool)
        up, left = thing.row - n, thing.column - n
        down, right = thing.row + thing.height, thing.column + thing.width
        drawn = ((up, left, eye), (up, right, eye[::-1]), (down, left, eye[::-1]), (down, right, eye))
        return [thing, *(_extra(*drawn[i], colour) for i in corners)]

    return action


def _corners(rng: Rng, palette: Palette) -> Action:
    """Marks outside the corners of its bounding box, or at the middle of its sides."""
    tint = draw_tint(rng, palette, recolours=False)
    at_corners = chance(rng, 0.7)

    def action(scene: Scene, thing: Thing) -> list[Thing] | None:
        colour, h, w = tint(scene, thing), thing.height + 2, thing.width + 2
        if colour is None or (not at_corners and (h % 2 == 0 or w % 2 == 0)):
            return None
        mask = np.zeros((h, w), bool)
        if at_corners:
            mask[[0, 0, -1, -1], [0, -1, 0, -1]] = True
        else:
            mask[[0, -1, h // 2, h // 2], [w // 2, w // 2, 0, -1]] = True
        return [thing, _extra(thing.row - 1, thing.column - 1, mask, colour)]

    return action


_ACTIONS = (
    (_outline, 2),
    (_shadow, 1),
    (_double, 1.5),
    (_ray, 2),
    (_diagonal_rays, 1),
    (_corners, 0.7),
)


def draw_action(rng: Rng, palette: Palette) -> Action:
    """A change in two of three draws, else something that draws extras."""
    if rng.random() < 0.66:
        return as_action(draw_change(rng, palette))
    return weighted(rng, _ACTIONS)(rng, palette)


def as_action(change: Change) -> Action:
    def action(scene: Scene, thing: Thing) -> list[Thing] | None:
        changed = change(scene, thing)
        return None if changed is None else [changed]

    return action


def act(scene: Scene, actions: Sequence[Action | None]) -> list[Thing] | None:
    """The things after an action for each of them; None stands for deleting it."""
    after: list[Thing] = []
    for thing, action in zip(scene.things, actions, strict=True):
        if action is None:
            continue
        made = action(scene, thing)
        if made is None:
            return None
        after += made
    return after
