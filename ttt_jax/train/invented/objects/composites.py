"""Rules with an example, a tally, a projection or several parts that make one picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ttt_jax.train.invented.draws import chance
from ttt_jax.train.invented.masks import components
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.actions import Action, act, as_action, draw_action
from ttt_jax.train.invented.objects.changes import keep
from ttt_jax.train.invented.objects.looks import Palette, draw_look, empty_ground, extent, lay_out
from ttt_jax.train.invented.objects.scenes import CLEAR, Scene, Thing, pair_of, solid
from ttt_jax.train.invented.objects.selector import EVERYTHING
from ttt_jax.train.invented.objects.selectors import draw_selector
from ttt_jax.train.invented.placing import Space
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng, legal, turned


def by_example(rng: Rng) -> PairSampler:
    """A frame holds an example; things of its shape, or colour, elsewhere are acted on, or are all that stays."""
    palette = Palette(rng)
    ring = palette.one()
    by_shape, any_way = chance(rng, 0.6), chance(rng, 0.3)
    mine: Action | None = draw_action(rng, palette)
    other: Action | None = as_action(keep)
    draw = rng.random()
    if draw < 0.2:
        mine = None
    elif draw < 0.4:
        mine, other = as_action(keep), None
    corner, frame_stays = (int(rng.integers(2)), int(rng.integers(2))), chance(rng, 0.8)
    look = replace(draw_look(rng, palette, plain=True), same_in_pair=by_shape and chance(rng, 0.4))
    if not by_shape:
        look = replace(look, palette=palette.rest(4))

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=8)
        bound = 2 if min(height, width) < 10 else 3
        templates = [look.mask(rng, bound) for _ in range(3)]
        count = int(rng.integers(2, look.most + 1))
        picks = rng.integers(3, size=count).tolist()
        colours = look.colours(rng, count + 1)
        example = solid(templates[0], colours[0])
        # The example's like is there at least once, and something unlike it.
        picks[:2] = [0, 1]
        masks = [np.rot90(templates[p], int(rng.integers(4))) if any_way else templates[p] for p in picks]
        if not by_shape:
            colours[1] = colours[0]
        h, w = example.shape
        row, column = (height - h - 2) * corner[0], (width - w - 2) * corner[1]
        space = Space(height, width)
        space.take(row, column, h + 2, w + 2)
        sprites = [solid(m, c) for m, c in zip(masks, colours[1:], strict=True)]
        scene = lay_out(rng, look, sprites, height, width, space=space)
        same = shapes.same_up_to_symmetry if any_way else np.array_equal
        shown = [same(t.mask, templates[0]) if by_shape else t.colour == colours[0] for t in scene.things]
        if not any(shown) or all(shown):
            return None
        after = act(scene, [mine if s else other for s in shown])
        if after is None:
            return None
        kept = [Thing(row, column, solid(shapes.frame(h + 2, w + 2), ring)), Thing(row + 1, column + 1, example)]
        scene = replace(scene, things=[*scene.things, *kept])
        return pair_of(scene, scene.painted([*after, *kept] if frame_stays else after))

    return sample


def superposed(rng: Rng) -> PairSampler:
    """Fragments around a marked cell each; the output lays them over each other, mark on mark."""
    palette = Palette(rng)
    mark = palette.one()
    arm = int(rng.choice([1, 1, 2]))
    n = 2 * arm + 1
    order = palette.take(3)
    one_ink = order[0] if rng.random() < 0.3 else None
    full = one_ink is None and chance(rng, 0.5)  # the fragments together cover everything
    look = draw_look(rng, palette, plain=True)
    look = replace(look, noise=None, striped=None)

    def sample(rng: Rng, size: float) -> Pair | None:
        height, width = extent(rng, size, look.square, least=3 * n)
        parts = int(rng.integers(2, len(order) + 1))
        owner = rng.integers(parts + (not full), size=(n, n))
        ground, ground_colour = empty_ground(rng, look, height, width)
        space = Space(height, width)
        things = []
        answer = np.full((n, n), ground_colour, np.int8)
        for i in range(parts):
            # A fragment is what hangs together with its mark; the rest of its cells are nobody's.
            own = owner == i
            own[arm, arm] = True
            fragment = next(p for p in components(own, diagonal=True) if p[arm, arm])
            if fragment.sum() < 2:
                return None
            ink = order[i] if one_ink is None else one_ink
            sprite = solid(fragment, ink)
            sprite[arm, arm] = mark
            spot = space.place(rng, n, n)
            if spot is None:
                return None
            things.append(Thing(*spot, sprite))
            answer[fragment] = ink
        answer[arm, arm] = mark
        return pair_of(Scene(ground, things, ground_colour), answer)

    return sample


def projected(rng: Rng) -> PairSampler:
    """Each column in which there is something is marked at the border, or along the ground up to the thing."""
    palette = Palette(rng)
    turn, what = int(rng.integers(8)), int(rng.integers(4))
    ink = palette.one() if rng.random() < 0.5 else None
    look = draw_look(rng, palette, plain=True)
    look = replace(look, noise=None, striped=None, most=3)

    def sample(rng: Rng, size: float) -> Pair | None:
        scene = EVERYTHING.draw(rng, size, look)
        question = scene.painted() if scene else None
        if scene is None or question is None:
            return None
        full = question != scene.ground_colour
        top = np.take_along_axis(question, full.argmax(0)[None], 0)[0]
        colours = np.where(full.any(0), top if ink is None else np.int8(ink), np.int8(scene.ground_colour))
        answer = question.copy()
        if what == 0:
            if full[0].any():
                return None
            answer[0] = colours
        elif what == 1:
            answer = colours[None]
        elif what == 2:
            answer = np.where((full.cumsum(0) == 0) & full.any(0), colours, answer)
        else:
            answer = np.where(full.any(0) & ~full, colours, answer)
        return turned(legal(question, answer), turn)

    return sample


def tallied(rng: Rng) -> PairSampler:
    """The number of chosen things (or of all) is drawn into the grid: cells along a border, or from a corner."""
    palette = Palette(rng)
    selector = draw_selector(rng, palette, lambda s: not s.single and s.key is None and s.place is None)
    ink, everything = palette.one(), chance(rng, 0.3)
    turn, spread = int(rng.integers(8)), chance(rng, 0.3)
    rest_goes, own = chance(rng, 0.2), chance(rng, 0.3)
    look = replace(selector.look(rng, palette), noise=None, striped=None, most=8, largest=3)

    def sample(rng: Rng, size: float) -> Pair | None:
        drawn = selector.draw_chosen(rng, size, look)
        if drawn is None:
            return None
        scene, chosen = drawn
        question = scene.painted()
        if question is None:
            return None
        counted = scene.things if everything else scene.those(chosen)
        inks = {t.colour for t in counted}
        strip = np.full((1, question.shape[1]), scene.ground_colour, np.int8)
        step = 1 + spread
        if len(counted) * step > question.shape[1] or (own and len(inks) > 1):
            return None
        # A free row is put on top, where the tally then stands.
        answer = np.vstack([strip, np.full_like(question, scene.ground_colour) if rest_goes else question])
        answer[0, : len(counted) * step : step] = inks.pop() if own else ink
        question = np.vstack([strip, question])
        return turned(legal(question, answer), turn)

    return sample


def rescaled(rng: Rng) -> PairSampler:
    """One thing drawn large, to be shown at its own size; or small, to be drawn so large that it fills the grid."""
    palette = Palette(rng)
    shrink = chance(rng, 0.6)
    fixed = int(rng.integers(2, 4)) if not shrink or rng.random() < 0.4 else None
    in_place = chance(rng, 0.3)
    look = draw_look(rng, palette)
    if look.dress == "plain":
        look = replace(look, dress="mixed", palette=palette.rest(4))
    look = replace(look, noise=None, striped=None)

    def sample(rng: Rng, size: float) -> Pair | None:
        most = max(2, round(3 + 3 * size))
        mask = look.mask(rng, most)
        if mask.sum() < 3:
            return None
        sprite = look.sprites(rng, [mask])[0]
        by = int(rng.integers(2, 4)) if fixed is None else fixed
        large = np.kron(sprite, np.ones((by, by), np.int8))
        shown = large if shrink else sprite
        height, width = (min(30, n + int(rng.integers(0, 2 + round(8 * size)))) for n in large.shape)
        if max(large.shape) > 30:
            return None
        row, column = int(rng.integers(height - large.shape[0] + 1)), int(rng.integers(width - large.shape[1] + 1))
        ground, ground_colour = empty_ground(rng, look, height, width)
        scene = Scene(ground, [Thing(row, column, shown)], ground_colour)
        made = sprite if shrink else large
        if in_place:
            return pair_of(scene, scene.painted([Thing(row, column, made)]))
        return pair_of(scene, np.where(made == CLEAR, np.int8(ground_colour), made))

    return sample


FAMILIES: tuple[Family, ...] = (by_example, superposed, projected, tallied, rescaled)
