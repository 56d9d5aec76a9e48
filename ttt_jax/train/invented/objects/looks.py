"""How the scenes of a rule look: which colours and shapes things have, how large grids are, where things lie.

A rule takes the colours that mean something to it from a `Palette`, then makes
a `Look` of what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ttt_jax.tasks.grids import COLOURS
from ttt_jax.train.invented.draws import chance, pick, side
from ttt_jax.train.invented.objects import shapes
from ttt_jax.train.invented.objects.scenes import CLEAR, Scene, Thing, solid
from ttt_jax.train.invented.placing import Place, Space
from ttt_jax.train.invented.rule import Rng


class Palette:
    """Hands out the colours of one rule, each once; some of the rest are the colours without a role.

    Attributes:
      grounds: colours of the ground, of which each pair draws one.
      wants: what else the look of the rule must have: "accents" (things of two colours), "holes", "bulk" (inner cells),
        "twins" (things of one shape).
    """

    def __init__(self, rng: Rng):
        self.wants: set[str] = set()
        first = 0 if chance(rng, 0.8) else int(rng.integers(COLOURS))
        self._left = [c for c in rng.permutation(COLOURS).tolist() if c != first]
        self._taken: list[int] = []
        # One rule in ten has a ground that changes from pair to pair.
        self.grounds = [first] if rng.random() < 0.9 else [first, *self._left[:2]]
        self._left = [c for c in self._left if c not in self.grounds]

    def take(self, count: int = 1) -> list[int]:
        """Different colours that have a meaning in the rule; once few are left, some have two meanings."""
        fresh = self._left[: max(0, min(count, len(self._left) - 3))]
        self._left = self._left[len(fresh) :]
        self._taken += fresh
        return [*fresh, *self._taken[: count - len(fresh)]]

    def one(self) -> int:
        return self.take()[0]

    @property
    def used(self) -> int:
        """How many colours have been taken."""
        return len(self._taken)

    def return_to(self, used: int) -> None:
        """Takes back all colours but the first `used` that were taken."""
        self._left = self._taken[used:] + self._left
        self._taken = self._taken[:used]

    def spare(self) -> int | None:
        """A colour that has no meaning yet, or None once few are left."""
        return self.take()[0] if len(self._left) > 3 else None

    def rest(self, count: int) -> list[int]:
        """Up to `count` colours without a role; they are not used up."""
        return self._left[: max(1, count)]


_MAKERS: tuple[tuple[shapes.Maker, float], ...] = (
    (shapes.any_blob, 4),
    (shapes.any_rectangle, 2),
    (shapes.any_square, 1),
    (shapes.any_frame, 1),
    (shapes.any_line, 1),
    (shapes.any_symmetric, 2),
    (shapes.any_holed, 1),
    (shapes.any_figure, 1),
)
_MAKER_SHARE = np.array([share for _, share in _MAKERS]) / sum(share for _, share in _MAKERS)


@dataclass(frozen=True)
class Look:
    """How the scenes of one rule look; drawn by `draw_look`.

    Attributes:
      makers: of the shapes of things.
      palette: colours of things: one draws the same for all, many draw one for each.
      grounds: colours of the ground, of which each pair draws one.
      dress: "plain" things have one colour, "mixed" a colour for every cell of two, "core" an accent on some cells,
        "halves" two colours side by side.
      same_in_pair: all things of a pair have one colour.
      noise: the colour of single cells strewn over the ground, or None.
      striped: the colour of every second row of the ground, or None.
      square: grids are square.
      most: things in a scene.
      gap: free cells between things, at least.
      largest: sides of things are at most this.
    """

    makers: list[shapes.Maker]
    palette: list[int]
    grounds: list[int]
    dress: str = "plain"
    same_in_pair: bool = False
    noise: int | None = None
    square: bool = False
    most: int = 6
    gap: int = 1
    striped: int | None = None
    largest: int = 8

    def mask(self, rng: Rng, bound: int) -> np.ndarray:
        return self.makers[int(rng.random() * len(self.makers))](rng, bound)

    def colours(self, rng: Rng, count: int) -> list[int]:
        """Of `count` things."""
        picks = rng.integers(len(self.palette), size=count).tolist()
        return [self.palette[picks[0] if self.same_in_pair else p] for p in picks]

    def sprite(self, rng: Rng, mask: np.ndarray, colour: int) -> np.ndarray:
        """int8[height, width]: a shape in its dress."""
        sprite = solid(mask, colour)
        if self.dress == "plain" or np.count_nonzero(mask) < 3 or len(self.palette) < 2:
            return sprite
        second = next(c for c in self.palette if c != colour)
        if self.dress == "core":
            spots = np.flatnonzero(mask)
            few = int(rng.integers(1, max(2, len(spots) // 3 + 1)))
            sprite.flat[rng.permutation(spots)[: min(few, (len(spots) - 1) // 2)]] = second
        elif self.dress == "halves":
            part = sprite[: mask.shape[0] // 2] if mask.shape[0] > 1 else sprite[:, : mask.shape[1] // 2]
            part[part != CLEAR] = second
        else:
            sprite[mask & (rng.random(mask.shape) < 0.5)] = second
        return sprite

    def sprites(self, rng: Rng, masks: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [self.sprite(rng, m, c) for m, c in zip(masks, self.colours(rng, len(masks)), strict=True)]


def _always(mask: np.ndarray) -> shapes.Maker:
    return lambda rng, bound: mask


def draw_look(rng: Rng, palette: Palette, plain: bool = False) -> Look:
    """A look whose colours have no role in the rule yet; `plain` for rules in which a thing has just one colour."""
    picked = rng.choice(len(_MAKERS), size=int(rng.integers(1, 5)), replace=False, p=_MAKER_SHARE)
    makers = [_MAKERS[i][0] for i in picked]
    if "holes" in palette.wants:
        makers = [*makers[:2], shapes.any_holed, shapes.any_frame]
    elif "bulk" in palette.wants:
        makers = [*makers[:1], shapes.any_square, shapes.any_rectangle, shapes.any_square]
    if "twins" in palette.wants or rng.random() < 0.06:
        makers = [_always(makers[i % len(makers)](rng, 3)) for i in range(3)]
    noise = palette.spare() if rng.random() < 0.08 else None
    striped = palette.spare() if rng.random() < 0.04 else None
    count = int(rng.choice([1, 2, 3, 4, 8], p=[0.25, 0.15, 0.2, 0.2, 0.2]))
    share = [0.04, 0.66, 0.1, 0.2] if "accents" in palette.wants else [0.76, 0.1, 0.06, 0.08]
    dress = str(rng.choice(["plain", "core", "halves", "mixed"], p=share))
    return Look(
        makers=makers,
        palette=palette.rest(count if plain or dress == "plain" else max(2, count)),
        grounds=palette.grounds,
        dress="plain" if plain else dress,
        same_in_pair=chance(rng, 0.2),
        noise=noise,
        striped=striped,
        square=chance(rng, 0.5),
        most=int(rng.integers(3, 9)),
        largest=3 if rng.random() < 0.25 else 8,
        gap=2 if rng.random() < 0.15 else 1,
    )


def extent(rng: Rng, size: float, square: bool, least: int = 5, most: int = 30) -> tuple[int, int]:
    """Height and width of a grid."""
    height = side(rng, size, least, most)
    if square:
        return height, height
    return height, min(most, max(least, height + int(rng.integers(-4, 5))))


def bound_of(rng: Rng, look: Look, height: int, width: int) -> int:
    """How large the things of one scene may be so that some fit next to each other."""
    least = min(height, width)
    lowest = 2 if least < 8 or look.largest < 4 else 3
    return int(rng.integers(lowest, int(np.clip(0.45 * least, 2, look.largest)) + 1))


def empty_ground(rng: Rng, look: Look, height: int, width: int) -> tuple[np.ndarray, int]:
    """A ground in this look and its colour."""
    colour = pick(rng, look.grounds)
    ground = np.full((height, width), colour, np.int8)
    if look.striped is not None:
        ground[1::2] = look.striped
    if look.noise is not None:
        ground[rng.random(ground.shape) < 0.06] = look.noise
    return ground, colour


def lay_out(
    rng: Rng,
    look: Look,
    sprites: Sequence[np.ndarray],
    height: int,
    width: int,
    places: Sequence[Place] | None = None,
    space: Space | None = None,
) -> Scene:
    """A scene of such things as fit, in random places."""
    ground, colour = empty_ground(rng, look, height, width)
    space = Space(height, width, look.gap) if space is None else space
    things = []
    for i, sprite in enumerate(sprites):
        spot = space.place(rng, *sprite.shape, where=places[i] if places else "anywhere")
        if spot is not None:
            things.append(Thing(*spot, sprite))
    return Scene(ground, things, colour)
