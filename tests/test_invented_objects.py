"""Invented rules about objects: legal, repeatable, lively; a few are checked against another way to compute them."""

import numpy as np
import pytest

from ttt_jax.train.invented import objects
from ttt_jax.train.invented.masks import components
from ttt_jax.train.invented.objects import accounts, crops, pointed, relations, selectors, shapes
from ttt_jax.train.invented.objects.looks import Palette
from ttt_jax.train.invented.objects.scenes import CLEAR, Scene, Thing
from ttt_jax.train.invented.objects.selector import Selector

KINDS = list({f.__name__: f for f in objects.FAMILIES}.values())


def draw(sample, rng, count, size=0.5):
    pairs = (sample(rng, size) for _ in range(40 * count))
    return [p for p, _ in zip((p for p in pairs if p is not None), range(count), strict=False)]


def found_things(grid, ground):
    """Connected parts of one colour other than the ground's, found in the grid itself."""
    return [part for c in np.unique(grid) if c != ground for part in components(grid == c, diagonal=True)]


@pytest.mark.parametrize("family", KINDS, ids=lambda f: f.__name__)
def test_pairs_are_legal_and_show_a_change(family):
    rng = np.random.default_rng(0)
    for size in (0.1, 0.4, 1.0):
        sample = family(rng)
        pairs = draw(sample, rng, 4, size)
        assert pairs
        for question, answer in pairs:
            for grid in (question, answer):
                assert grid.dtype == np.int8 and grid.ndim == 2
                assert min(grid.shape) >= 1 and max(grid.shape) <= 30
                assert grid.min() >= 0 and grid.max() <= 9
        assert sum(not np.array_equal(q, a) for q, a in pairs) >= len(pairs) - 1


@pytest.mark.parametrize("family", KINDS, ids=lambda f: f.__name__)
def test_a_sampler_keeps_no_state(family):
    sample = family(np.random.default_rng(1))
    draw(sample, np.random.default_rng(2), 1)
    first = draw(sample, np.random.default_rng(3), 2)
    again = draw(sample, np.random.default_rng(3), 2)
    same_rule = draw(family(np.random.default_rng(1)), np.random.default_rng(3), 2)
    assert len(first) == len(again) == len(same_rule)
    for pairs in zip(first, again, same_rule, strict=True):
        for question, answer in pairs:
            assert np.array_equal(question, pairs[0][0])
            assert np.array_equal(answer, pairs[0][1])


@pytest.mark.parametrize("family", KINDS, ids=lambda f: f.__name__)
def test_rules_mostly_come_to_pairs_whose_outputs_differ(family):
    rng = np.random.default_rng(4)
    lively = 0
    for _ in range(8):
        pairs = draw(family(rng), rng, 4)
        lively += len(pairs) == 4 and len({(a.shape, a.tobytes()) for _, a in pairs}) > 1
    assert lively >= 6


@pytest.mark.parametrize("sign", [1, -1])
def test_the_extreme_thing_is_the_one_found_in_the_grid(sign):
    rng = np.random.default_rng(5)
    palette = Palette(rng)
    selector = selectors.extreme(lambda t: t.cells, sign)
    look = selector.look(rng, palette, plain=True)
    seen = 0
    while seen < 20:
        scene = selector.draw(rng, 0.5, look)
        chosen = selector.chosen(scene) if scene else None
        if chosen is None or look.noise is not None or look.striped is not None:
            look = selector.look(rng, palette, plain=True)
            continue
        seen += 1
        sizes = sorted(int(p.sum()) for p in found_things(scene.painted(), scene.ground_colour))
        thing = scene.things[chosen.index(True)]
        assert thing.cells == sizes[-1 if sign > 0 else 0]
        assert sizes.count(thing.cells) == 1


def fallen(question, ground, direction):
    """Every thing pushed one cell at a time until none can move."""
    things = components(question != ground, diagonal=True)
    colours = [np.where(t, question, 0) for t in things]
    moved = True
    while moved:
        moved = False
        for i, thing in enumerate(things):
            ahead = np.roll(thing, direction, (0, 1))
            inside = np.array_equal(np.argwhere(thing) + direction, np.argwhere(ahead))
            others = np.any([t for j, t in enumerate(things) if j != i], axis=0) if len(things) > 1 else False
            if inside and not (ahead & others).any():
                things[i], colours[i], moved = ahead, np.roll(colours[i], direction, (0, 1)), True
    out = np.full_like(question, ground)
    for thing, colour in zip(things, colours, strict=True):
        out[thing] = colour[thing]
    return out


def test_things_slide_as_far_as_they_can_in_the_direction_of_the_rule():
    rng = np.random.default_rng(6)
    explained = 0
    for _ in range(60):
        pairs = draw(relations.slide(rng), rng, 3, size=0.3)
        directions = set()
        for i, (question, answer) in enumerate(pairs):
            ground = np.bincount(question.ravel()).argmax()
            fits = {
                d for d in ((0, 1), (1, 0), (0, -1), (-1, 0)) if np.array_equal(fallen(question, ground, d), answer)
            }
            directions = fits if i == 0 else directions & fits
            if not fits:
                break  # only some things slide, or they change colour, or leave a trail
        explained += len(directions) == 1
    assert explained >= 8


def test_a_thing_that_is_all_there_is_cannot_be_chosen_among_others():
    scene = Scene(np.zeros((4, 4), np.int8), [Thing(0, 0, np.full((1, 1), 3, np.int8))])
    assert Selector(lambda s: [True]).chosen(scene) is None


def test_a_chart_has_a_bar_of_each_colour_as_long_as_it_has_things_or_cells():
    rng = np.random.default_rng(7)
    checked = 0
    for _ in range(30):
        for question, answer in draw(accounts.chart_of_colours(rng), rng, 2):
            ground = int(np.bincount(question[::2].ravel()).argmax())  # every second row may be striped
            colours = [c for c in np.unique(answer) if c != ground]
            bars = {int(c): int(np.count_nonzero(answer == c)) for c in colours}
            cells = {c: int(np.count_nonzero(question == c)) for c in bars}
            things = {c: len(components(question == c, diagonal=True)) for c in bars}
            assert bars in (cells, things)
            checked += 1
    assert checked > 20


def test_what_marks_enclose_is_a_part_of_the_grid_as_it_was():
    rng = np.random.default_rng(8)
    for _ in range(10):
        for question, answer in draw(crops.crop_to_marks(rng), rng, 2):
            windows = np.lib.stride_tricks.sliding_window_view(question, answer.shape)
            assert (windows == answer).all((2, 3)).any()


def test_bars_are_sorted_or_recoloured_but_none_is_lost():
    """Over many rules: an output of the size of its input keeps its bars' lengths, levels them, or turns them over."""
    rng = np.random.default_rng(9)
    kept = other = 0
    for _ in range(40):
        for question, answer in draw(pointed.bars(rng), rng, 1, size=0.3):
            if question.shape != answer.shape:
                continue
            ground = set(np.unique(question)) & set(np.unique(answer))
            counts = [sorted(np.count_nonzero(question != g, axis=k).tolist()) for g in ground for k in (0, 1)]
            after = [sorted(np.count_nonzero(answer != g, axis=k).tolist()) for g in ground for k in (0, 1)]
            kept += any(c == a for c, a in zip(counts, after, strict=True))
            other += 1
    assert kept > other // 2 > 5


def test_things_that_would_overlap_or_leave_the_grid_are_no_picture():
    dot = np.full((2, 2), 5, np.int8)
    ground = np.zeros((4, 4), np.int8)
    assert Scene(ground, [Thing(0, 0, dot), Thing(1, 1, dot)]).painted() is None
    assert Scene(ground, [Thing(3, 0, dot)]).painted() is None
    extras = [Thing(-1, -1, dot, extra=True), Thing(0, 0, dot + np.int8(1), extra=True)]
    assert Scene(ground, extras).painted() is None
    picture = Scene(ground, [Thing(0, 0, dot), Thing(-1, -1, dot - np.int8(2), extra=True)]).painted()
    assert picture is not None and picture[0, 0] == 5


def test_a_thing_knows_its_cells_holes_and_colours():
    ring = Thing(1, 2, np.where(shapes.frame(4, 5), np.int8(3), np.int8(CLEAR)))
    assert (ring.cells, ring.hole_count, int(ring.holes.sum()), ring.colour) == (14, 1, 6, 3)
    marked = ring.sprite.copy()
    marked[0, 0] = 7
    assert ring.with_sprite(marked).accent == 7
    assert ring.accent is None


def test_a_palette_hands_out_different_colours_that_are_neither_ground_nor_left_for_things():
    for seed in range(40):
        palette = Palette(np.random.default_rng(seed))
        taken = palette.take(3)
        assert len({*taken, *palette.grounds}) == 3 + len(palette.grounds)
        assert not {*taken, *palette.grounds} & set(palette.rest(9))
        assert len(palette.take(9)) >= 3 and palette.rest(9)
