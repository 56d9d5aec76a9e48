"""What all rooms of invented rules share: shapes, parts, places, legal pairs, names, and rules drawn again."""

import numpy as np
import pytest

from ttt_jax.train.invented import movement, objects, patterns
from ttt_jax.train.invented.draws import draw_colours, weighted
from ttt_jax.train.invented.masks import blob, components, dilated, enclosed, labelled, spanning_blob, trim
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.placing import Space, boxes, places, scatter
from ttt_jax.train.invented.rule import Pair, PairSampler, Rng, legal
from ttt_jax.train.invented.stencils import draw_stencil, stamp
from ttt_jax.train.invented.trials import redrawn, shows

MAKERS = [
    shapes.any_blob,
    shapes.any_rectangle,
    shapes.any_square,
    shapes.any_frame,
    shapes.any_line,
    shapes.any_symmetric,
    shapes.any_holed,
    shapes.any_figure,
]


@pytest.mark.parametrize("maker", MAKERS)
def test_a_shape_is_connected_trimmed_and_within_its_bound(maker):
    rng = np.random.default_rng(0)
    for _ in range(60):
        bound = int(rng.integers(2, 8))
        mask = maker(rng, bound)
        assert mask.dtype == bool
        assert max(mask.shape) <= max(bound, 3)
        assert len(components(mask, diagonal=True)) == 1
        assert mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any()


@pytest.mark.parametrize("axes", ["lr", "ud", "both"])
def test_a_symmetric_shape_is_its_own_mirror_image(axes):
    rng = np.random.default_rng(1)
    for _ in range(40):
        mask = shapes.symmetric_blob(rng, *rng.integers(2, 8, 2), axes=axes)
        assert len(components(mask)) == 1
        if axes != "ud":
            assert np.array_equal(mask, mask[:, ::-1])
        if axes != "lr":
            assert np.array_equal(mask, mask[::-1])


def test_holes_are_the_parts_of_the_outside_that_do_not_reach_the_border():
    rng = np.random.default_rng(2)
    for _ in range(100):
        mask = rng.random(rng.integers(1, 12, 2)) < 0.6
        outside = components(np.pad(~mask, 1, constant_values=True))
        holes = ~mask & ~outside[0][1:-1, 1:-1]
        assert np.array_equal(enclosed(mask), holes)


def test_as_many_holes_as_asked_for():
    rng = np.random.default_rng(3)
    for holes in (1, 2, 3, 4):
        mask = shapes.holed(rng, 5, 6, holes)
        assert len(components(enclosed(mask))) == holes


@pytest.mark.parametrize("diagonal", [False, True])
def test_growing_adds_exactly_the_neighbours(diagonal):
    mask = np.random.default_rng(4).random((5, 6)) < 0.3
    steps = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if diagonal or r == 0 or c == 0]
    expected = np.zeros((7, 8), bool)
    for r, c in np.argwhere(mask):
        for dr, dc in steps:
            expected[r + 1 + dr, c + 1 + dc] = True
    assert np.array_equal(dilated(np.pad(mask, 1), diagonal), expected)


@pytest.mark.parametrize("where", ["anywhere", "border", "interior"])
def test_placed_rectangles_keep_their_distance(where):
    rng = np.random.default_rng(5)
    for _ in range(30):
        space = Space(9, 12, gap=1)
        canvas = np.zeros((9, 12), int)
        placed = 0
        while (spot := space.place(rng, height=2, width=3, where=where)) is not None:
            r, c = spot
            assert not canvas[max(0, r - 1) : r + 3, max(0, c - 1) : c + 4].any()
            canvas[r : r + 2, c : c + 3] = 1
            touches = r in (0, 7) or c in (0, 9)
            assert where == "anywhere" or touches == (where == "border")
            placed += 1
        assert placed >= 2
    assert Space(3, 3).place(rng, 4, 1) is None


def test_turned_and_mirrored_shapes_are_the_same_shape():
    mask = np.array([[1, 0], [1, 0], [1, 1]], bool)
    assert all(shapes.same_up_to_symmetry(mask, np.rot90(mask[:, ::-1], k)) for k in range(4))
    assert not shapes.same_up_to_symmetry(mask, shapes.rectangle(3, 2))


def test_parts_are_numbered_in_reading_order_however_many_there_are():
    chequer = np.indices((30, 30)).sum(0) % 2 == 0
    labels, count = labelled(chequer)
    assert count == 450 and np.array_equal(labels[chequer], np.arange(1, 451)) and not labels[~chequer].any()
    assert labelled(chequer, diagonal=True)[1] == 1


def test_a_blob_is_one_trimmed_part_within_its_box_and_a_spanning_one_mostly_meets_its_edges():
    rng, spans = np.random.default_rng(6), 0
    for _ in range(60):
        height, width = rng.integers(1, 8, 2).tolist()
        cells = int(rng.integers(1, height * width + 1))
        mask = blob(rng, height, width, cells)
        assert labelled(mask)[1] == 1 and mask.sum() <= cells
        assert mask.shape[0] <= height and mask.shape[1] <= width and np.array_equal(mask, trim(mask))
        spanning = spanning_blob(rng, height, width)
        assert labelled(spanning)[1] == 1 and spanning.shape == (height, width)
        spans += trim(spanning).shape == (height, width)
    assert spans > 40


def test_boxes_cells_and_corners_keep_their_distance():
    rng = np.random.default_rng(7)
    for _ in range(40):
        shape = tuple(rng.integers(6, 20, 2).tolist())
        gap = int(rng.integers(0, 3))
        sizes = [(2, 3)] * 3
        corners = places(rng, shape, sizes, gap)
        found = [] if corners is None else [(*corner, *size) for corner, size in zip(corners, sizes, strict=True)]
        cells = [(r, c, 1, 1) for r, c in scatter(rng, shape, 6, gap)]
        for placed in (boxes(rng, shape, 5, gap=gap), found, cells):
            taken = np.zeros(shape, int)
            for top, left, height, width in placed:
                assert top + height <= shape[0] and left + width <= shape[1]
                around = taken[max(0, top - gap) : top + height + gap, max(0, left - gap) : left + width + gap]
                assert not around.any()
                taken[top : top + height, left : left + width] = 1


def test_a_stencil_is_stamped_where_it_lies_in_the_grid_and_leaves_its_gaps_alone():
    rng = np.random.default_rng(11)
    for _ in range(60):
        reach, (row, column) = int(rng.integers(1, 4)), rng.integers(6, size=2).tolist()
        stencil = draw_stencil(rng, reach, [1, 2][: int(rng.integers(1, 3))])
        assert stencil.shape == (2 * reach + 1,) * 2 and stencil.any() and stencil[reach, reach] == 0
        grid = rng.integers(5, 8, (6, 6)).astype(np.int8)
        wide = np.pad(grid, reach)
        window = np.s_[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        wide[window] = np.where(stencil > 0, stencil, wide[window])
        stamp(grid, stencil, row, column)
        assert np.array_equal(grid, wide[reach:-reach, reach:-reach])


def test_weighted_options_come_in_their_shares():
    rng = np.random.default_rng(8)
    drawn = [weighted(rng, (("a", 3), ("b", 1), ("c", 0))) for _ in range(2000)]
    assert abs(drawn.count("a") - 1500) < 100 and "c" not in drawn


def test_colours_are_different_and_none_is_ground_or_avoided():
    rng = np.random.default_rng(9)
    for _ in range(30):
        found = draw_colours(rng, 8, avoid=(3, 4))
        assert len(set(found)) == len(found) == 7 and not {0, 3, 4} & set(found)


def test_pairs_that_are_too_large_empty_or_without_change_are_not_legal():
    grid = np.ones((3, 3), int)
    assert legal(grid, grid) is None
    assert legal(grid, np.ones((31, 1), int)) is None
    assert legal(grid, grid[:0]) is None
    pair = legal(grid, grid[:2].T)
    assert pair is not None and all(g.dtype == np.int8 and g.flags.c_contiguous for g in pair)


def test_dull_rules_are_drawn_again_but_not_forever():
    def family(rng: Rng) -> PairSampler:
        answers = int(rng.integers(1, 4))

        def sample(rng: Rng, size: float) -> Pair:
            return np.zeros((2, 2), np.int8), np.full((1, 1), rng.integers(answers), np.int8)

        return sample

    rng = np.random.default_rng(10)
    assert not shows(lambda rng, size: None, rng)
    for seed in range(20):
        sampler = redrawn(family)(np.random.default_rng(seed))
        assert len({int(pair[1][0, 0]) for pair in (sampler(rng, 0.5) for _ in range(40)) if pair}) > 1
    hopeless = redrawn(lambda rng: lambda rng, size: None)(rng)
    assert hopeless(rng, 0.5) is None


def test_every_family_has_a_name_of_its_own():
    named: dict[str, set[str]] = {}
    for room in (objects, patterns, movement):
        for family in room.FAMILIES:
            named.setdefault(family.__name__, set()).add(room.__name__)
    assert len(named) > 140 and all(len(rooms) == 1 for rooms in named.values())
    assert not {"draw", "drawn", "<lambda>"} & set(named)
