"""Which things of a scene a rule means: by size, shape, colour, number, place or a key."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ttt_jax.train.invented.draws import chance, pick, weighted
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.looks import Look, Palette
from ttt_jax.train.invented.objects.scenes import CLEAR, Scene, Thing, solid
from ttt_jax.train.invented.objects.selector import Selector, Sprites, plain_cast
from ttt_jax.train.invented.placing import Place
from ttt_jax.train.invented.rule import Rng

Measure = Callable[[Thing], float]
Trait = Callable[[Thing], bool]


# ---------------------------------------------------------------- by rank


def _holes(thing: Thing) -> float:
    return thing.hole_count


MEASURES: tuple[Measure, ...] = (
    lambda t: t.cells,
    lambda t: t.cells,
    lambda t: t.height,
    lambda t: t.width,
    lambda t: t.height * t.width,
    _holes,
)
PLACES: tuple[Measure, ...] = (
    lambda t: t.row,
    lambda t: t.column,
    lambda t: t.row + t.height,
    lambda t: t.column + t.width,
)


def holed_cast(rng: Rng, look: Look, bound: int, count: int) -> Sprites:
    """Things with different numbers of holes: 0, 1, 2, ... as far as there is room."""
    masks = []
    for holes in rng.permutation(count).tolist():
        n = max(bound, 3) + (2 if holes > 1 else 0)
        masks.append(shapes.holed(rng, 3 if holes < 2 else n, max(3, min(n, 2 * holes + 1)), holes))
    return look.sprites(rng, masks)


def extreme(measure: Measure, sign: int, rank: int = 0, cast=plain_cast) -> Selector:
    """The thing with the largest (sign 1) or smallest (-1) measure; or second, third for rank 1, 2."""

    def judge(scene: Scene) -> list[bool] | None:
        values = [sign * measure(t) for t in scene.things]
        ranked = sorted(values, reverse=True)
        if len(ranked) <= rank + (rank > 0) or ranked.count(ranked[rank]) > 1:
            return None
        return [v == ranked[rank] for v in values]

    return Selector(judge, cast, single=True)


def _by_size(rng: Rng, palette: Palette) -> Selector:
    measure = pick(rng, MEASURES)
    rank = int(rng.random() < 0.15)
    return extreme(measure, 1 if rng.random() < 0.6 else -1, rank, holed_cast if measure is _holes else plain_cast)


def _by_position(rng: Rng, palette: Palette) -> Selector:
    which = int(rng.integers(len(PLACES)))
    return extreme(PLACES[which], 1 if which > 1 else -1)


# --------------------------------------------------------------- by shape


def _mirrored(axis: int) -> Trait:
    return lambda t: bool(np.array_equal(t.mask, np.flip(t.mask, axis)))


def _tall(rng: Rng, bound: int) -> np.ndarray:
    width = int(rng.integers(1, max(2, bound)))
    return shapes.rectangle(int(rng.integers(width + 1, bound + 2)), width)


def _wide(rng: Rng, bound: int) -> np.ndarray:
    return _tall(rng, bound).T


def _open_frame(rng: Rng, bound: int) -> np.ndarray:
    mask = shapes.any_frame(rng, bound)
    if rng.random() < 0.5:
        mask[int(rng.integers(1, mask.shape[0] - 1)), -int(rng.integers(2))] = False
    else:
        mask[-int(rng.integers(2)), int(rng.integers(1, mask.shape[1] - 1))] = False
    return mask


def _dot(rng: Rng, bound: int) -> np.ndarray:
    return shapes.rectangle(1, 1)


def _mirror_image(rng: Rng, bound: int, axes) -> np.ndarray:
    return shapes.symmetric_blob(rng, *rng.integers(2, max(3, bound) + 1, 2).tolist(), axes=axes)


_TRAITS: tuple[tuple[Trait, list[shapes.Maker], list[shapes.Maker]], ...] = (
    (lambda t: bool(t.mask.all()), [shapes.any_rectangle], [shapes.any_blob, shapes.any_frame, shapes.any_figure]),
    (lambda t: bool(t.holes.any()), [shapes.any_holed, shapes.any_frame], [shapes.any_blob, shapes.any_rectangle]),
    (lambda t: bool(t.holes.any()), [shapes.any_frame], [_open_frame]),
    (_mirrored(1), [lambda rng, n: _mirror_image(rng, n, "lr")], [shapes.any_blob]),
    (_mirrored(0), [lambda rng, n: _mirror_image(rng, n, "ud")], [shapes.any_blob]),
    (lambda t: min(t.mask.shape) == 1 < t.cells, [shapes.any_line], [shapes.any_blob, shapes.any_square]),
    (lambda t: t.height > t.width, [_tall], [_wide]),
    (lambda t: t.height > t.width, [_tall, shapes.any_blob], [_wide, shapes.any_square]),
    (lambda t: t.height == t.width, [shapes.any_square, shapes.any_figure], [_tall, _wide]),
    (lambda t: t.cells == 1, [_dot], [shapes.any_blob, shapes.any_rectangle, shapes.any_line]),
    (
        lambda t: bool(t.mask[t.height // 2, t.width // 2]),
        [shapes.any_rectangle, shapes.any_figure],
        [shapes.any_frame],
    ),
)


def traited_cast(yes: list[shapes.Maker], no: list[shapes.Maker], single: bool):
    """A cast of some things made one way and some the other, at least one of each."""

    def cast(rng: Rng, look: Look, bound: int, count: int) -> Sprites:
        chosen = 1 if single else int(rng.integers(1, count))
        order = rng.permutation(count)
        makers = [yes if i < chosen else no for i in order]
        return look.sprites(rng, [pick(rng, m)(rng, bound) for m in makers])

    return cast


def _by_trait(rng: Rng, palette: Palette) -> Selector:
    trait, yes, no = pick(rng, _TRAITS)
    single = chance(rng, 0.4)
    cast = traited_cast(yes, no, single)
    if rng.random() < 0.35:
        return Selector(lambda scene: [not trait(t) for t in scene.things], cast)
    return Selector(lambda scene: [trait(t) for t in scene.things], cast, single)


def _by_threshold(rng: Rng, palette: Palette) -> Selector:
    """More cells, or holes, than a number; or exactly so many."""
    least = int(rng.integers(2, 7))
    if rng.random() < 0.5:
        return Selector(lambda scene: [t.cells >= least for t in scene.things])
    exact = [lambda rng, n: shapes.blob(rng, n, n)]
    if least < 5:
        exact = [lambda rng, n: shapes.rectangle(1, least), lambda rng, n: shapes.rectangle(least, 1)]
    return Selector(
        lambda scene: [t.cells == least for t in scene.things], traited_cast(exact, [shapes.any_blob], single=False)
    )


def _twins(rng: Rng, look: Look, bound: int, count: int, odd: bool, turned: bool) -> Sprites:
    templates = [look.mask(rng, bound) for _ in range(3)]
    which = [0] * (count - 1) + [1] if odd else [0] * (count // 2 + 1) + [1, 2][: count - count // 2 - 1]
    masks = [templates[w] for w in which]
    if turned:
        masks = [np.rot90(m, k) for m, k in zip(masks, rng.integers(4, size=len(masks)).tolist(), strict=True)]
    return look.sprites(rng, [masks[i] for i in rng.permutation(len(masks))])


def _by_twin(rng: Rng, palette: Palette) -> Selector:
    """The one whose shape no other has; or those whose shape is the commonest."""
    odd, turned = chance(rng, 0.6), chance(rng, 0.4)
    same = shapes.same_up_to_symmetry if turned else np.array_equal

    def judge(scene: Scene) -> list[bool] | None:
        counts = [sum(same(t.mask, u.mask) for u in scene.things) for t in scene.things]
        if len(counts) < 3 or max(counts) < 2:
            return None
        if odd:
            return [n == 1 for n in counts] if counts.count(1) == 1 else None
        return [n == max(counts) for n in counts] if counts.count(max(counts)) == max(counts) else None

    return Selector(judge, lambda r, look, b, n: _twins(r, look, b, max(3, n), odd, turned), single=odd)


# -------------------------------------------------------------- by colour


def _by_colour(rng: Rng, palette: Palette) -> Selector:
    """Things of a colour that the rule names."""
    wanted = palette.one()

    def cast(rng: Rng, look: Look, bound: int, count: int) -> Sprites:
        chosen = int(rng.integers(1, count))
        masks = [look.mask(rng, bound) for _ in range(count)]
        colours = [wanted] * chosen + look.colours(rng, count - chosen)
        return [solid(masks[i], colours[i]) for i in rng.permutation(count)]

    return Selector(lambda scene: [t.colour == wanted for t in scene.things], cast, plain=True)


def _by_colour_count(rng: Rng, palette: Palette) -> Selector:
    """The one in a colour of its own; those of the commonest colour; or all that are not."""
    odd, flipped = chance(rng, 0.5), chance(rng, 0.3)

    def cast(rng: Rng, look: Look, bound: int, count: int) -> Sprites:
        count = max(3, count)
        palette = rng.permutation(look.palette)[:3].tolist()
        many = count - 1 if odd else int(rng.integers(count // 2 + 1, count))
        colours = [palette[0]] * many + [palette[1 + i % (len(palette) - 1)] for i in range(count - many)]
        masks = [look.mask(rng, bound) for _ in range(count)]
        return [solid(masks[i], colours[i]) for i in rng.permutation(count)]

    def judge(scene: Scene) -> list[bool] | None:
        colours = [t.colour for t in scene.things]
        counts = [colours.count(c) for c in colours]
        if len(counts) < 3 or max(counts) < 2:
            return None
        if odd:
            return [n == 1 for n in counts] if counts.count(1) == 1 else None
        if counts.count(max(counts)) != max(counts):
            return None
        return [(n == max(counts)) != flipped for n in counts]

    return Selector(judge, cast, single=odd, plain=True, colours=2)


def _by_mark(rng: Rng, palette: Palette) -> Selector:
    """Things on which one cell has a certain colour."""
    mark = palette.one()
    single = chance(rng, 0.5)

    def cast(rng: Rng, look: Look, bound: int, count: int) -> Sprites:
        sprites = plain_cast(rng, look, bound, count)
        for i in rng.permutation(count)[: 1 if single else int(rng.integers(1, count))]:
            spots = np.flatnonzero(sprites[i] != CLEAR)
            if len(spots) > 2:
                sprites[i].flat[spots[int(rng.integers(len(spots)))]] = mark
        return sprites

    return Selector(lambda scene: [bool(t.counts[mark]) for t in scene.things], cast, single, plain=True)


def _by_key(rng: Rng, palette: Palette) -> Selector:
    """Things of the colour that a cell in a corner, or a line along the border, shows."""

    def judge(scene: Scene) -> list[bool]:
        return [t.colour == scene.key for t in scene.things]

    corner = (int(rng.integers(2)), int(rng.integers(2)))
    return Selector(judge, plain=True, colours=3, key=pick(rng, ("cell", "line")), corner=corner)


# --------------------------------------------------------------- by place


def _by_border(rng: Rng, palette: Palette) -> Selector:
    """Things that touch the border of the grid, or those that do not."""
    at_border = chance(rng, 0.6)

    def judge(scene: Scene) -> list[bool]:
        height, width = scene.ground.shape
        return [
            (t.row == 0 or t.column == 0 or t.row + t.height == height or t.column + t.width == width) == at_border
            for t in scene.things
        ]

    def place(rng: Rng, count: int) -> list[Place]:
        inside = int(rng.integers(1, count))
        return ["interior" if i < inside else "border" for i in range(count)]

    return Selector(judge, place=place)


def _by_spot(rng: Rng, palette: Palette) -> Selector:
    """The thing nearest to a lone cell of a certain colour, or those in its row or column."""
    nearest = chance(rng, 0.5)
    sign = 1 if rng.random() < 0.7 else -1

    def distance(thing: Thing, spot: tuple[int, int]) -> int:
        rows = max(thing.row - spot[0], spot[0] - thing.row - thing.height + 1, 0)
        columns = max(thing.column - spot[1], spot[1] - thing.column - thing.width + 1, 0)
        return rows + columns

    def judge(scene: Scene) -> list[bool] | None:
        assert scene.key_spot is not None
        row, column = scene.key_spot
        if not nearest:
            return [t.row <= row < t.row + t.height or t.column <= column < t.column + t.width for t in scene.things]
        values = [sign * distance(t, scene.key_spot) for t in scene.things]
        first, second = sorted(values)[:2]
        return None if second - first < 2 else [v == first for v in values]

    return Selector(judge, single=nearest, key="spot", spot_colour=palette.one())


def _extreme_among(rng: Rng, palette: Palette) -> Selector:
    """The largest or smallest, or outermost, of those that another selector chooses."""
    base = pick(rng, (_by_trait, _by_colour, _by_colour_count, _by_mark, _by_border))(rng, palette)
    if base.single:
        return base
    measures = MEASURES[:4] + PLACES
    measure, sign = pick(rng, measures), 1 - 2 * int(rng.integers(2))

    def judge(scene: Scene) -> list[bool] | None:
        among = base.chosen(scene)
        if among is None or sum(among) < 2:
            return None
        values = [sign * measure(t) if c else -math.inf for t, c in zip(scene.things, among, strict=True)]
        return [v == max(values) for v in values]

    return replace(base, judge=judge, single=True)


_SELECTORS = (
    (_by_size, 4),
    (_by_position, 2),
    (_by_trait, 5),
    (_by_threshold, 1),
    (_by_twin, 2),
    (_by_colour, 2),
    (_by_colour_count, 2),
    (_by_mark, 1.5),
    (_by_key, 1.5),
    (_by_border, 1),
    (_by_spot, 1),
    (_extreme_among, 2),
)


def draw_selector(rng: Rng, palette: Palette, fits: Callable[[Selector], bool] = lambda selector: True) -> Selector:
    """A way to tell things apart, one that fits; the colours that it needs are taken from the palette."""
    used = palette.used
    while True:
        selector = weighted(rng, _SELECTORS)(rng, palette)
        if fits(selector):
            return selector
        palette.return_to(used)
