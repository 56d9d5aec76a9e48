"""Rules whose output is a part of the grid: one thing, the area around some, what a frame or marks enclose."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ttt_jax.train.invented.draws import chance
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.changes import draw_change, keep
from ttt_jax.train.invented.objects.looks import Palette, draw_look, extent, lay_out
from ttt_jax.train.invented.objects.scenes import CLEAR, pair_of
from ttt_jax.train.invented.objects.selectors import draw_selector
from ttt_jax.train.invented.placing import Space
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def crop(rng: Rng) -> PairSampler:
    """The one chosen thing is the output: as it is, turned, enlarged, recoloured, repeated or framed."""
    palette = Palette(rng)
    selector = draw_selector(rng, palette, lambda s: s.single)
    change = draw_change(rng, palette) if rng.random() < 0.35 else keep
    which = int(rng.choice(5, p=[0.6, 0.12, 0.1, 0.1, 0.08]))
    margin = palette.one() if which == 3 else None
    look = selector.look(rng, palette)

    def sample(rng: Rng, size: float) -> Pair | None:
        drawn = selector.draw_chosen(rng, size, look)
        if drawn is None:
            return None
        scene, chosen = drawn
        thing = change(scene, scene.things[chosen.index(True)])
        if thing is None:
            return None
        answer = np.where(thing.sprite == CLEAR, np.int8(scene.ground_colour), thing.sprite)
        if which == 1:
            answer = np.kron(answer, np.ones((2, 2), np.int8))
        elif which == 2:
            answer = np.hstack([answer, answer[:, ::-1]])
        elif which == 3:
            answer = np.pad(answer, 1, constant_values=margin or 0)
        elif which == 4:
            answer = np.tile(answer, (2, 2))
        return pair_of(scene, answer)

    return sample


def crop_to_chosen(rng: Rng) -> PairSampler:
    """The part of the grid around all chosen things, with whatever else lies in it, or without."""
    palette = Palette(rng)
    selector = draw_selector(rng, palette)
    margin, only = int(rng.random() < 0.25), chance(rng, 0.4)
    look = selector.look(rng, palette)

    def sample(rng: Rng, size: float) -> Pair | None:
        drawn = selector.draw_chosen(rng, size, look)
        if drawn is None:
            return None
        scene, chosen = drawn
        things = scene.those(chosen)
        shown = scene.painted(things if only else None)
        if shown is None:
            return None
        top, left = (max(0, min(n) - margin) for n in ([t.row for t in things], [t.column for t in things]))
        down, right = max(t.row + t.height for t in things), max(t.column + t.width for t in things)
        return pair_of(scene, shown[top : down + margin, left : right + margin])

    return sample


def crop_to_marks(rng: Rng) -> PairSampler:
    """The part of the grid that a frame, or four corner cells, mark: with the marks or without."""
    palette = Palette(rng)
    mark = palette.one()
    corners, keep_marks = chance(rng, 0.6), chance(rng, 0.3)
    look = replace(draw_look(rng, palette), most=12)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=6)
        h, w = int(rng.integers(4, height + 1)), int(rng.integers(4, width + 1))
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        edge = shapes.frame(h, w)
        if corners:
            edge[1:-1] = edge[:, 1:-1] = False
        space = Space(height, width, gap=0)
        space.taken[top : top + h, left : left + w] = edge
        masks = [look.mask(rng, 3) for _ in range(int(rng.integers(4, look.most)))]
        scene = lay_out(rng, look, look.sprites(rng, masks), height, width, space=space)
        scene.ground[top : top + h, left : left + w][edge] = mark
        inset = 0 if keep_marks else 1
        shown = scene.painted()
        if shown is None:
            return None
        return pair_of(scene, shown[top + inset : top + h - inset, left + inset : left + w - inset])

    return sample


FAMILIES: tuple[Family, ...] = (crop, crop, crop_to_chosen, crop_to_marks)
