"""Shapes that invented rules draw: connected, trimmed, and placed without touching."""

import numpy as np
import pytest

from ttt_jax.train.invented.masks import components, dilated, enclosed
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.placing import Space

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
