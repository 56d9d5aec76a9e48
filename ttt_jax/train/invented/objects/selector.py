"""A selector divides the things of a scene into chosen ones and others, and draws scenes in which it can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ttt_jax.train.invented.draws import pick
from ttt_jax.train.invented.objects.looks import Look, Palette, bound_of, draw_look, extent, lay_out
from ttt_jax.train.invented.objects.scenes import Scene
from ttt_jax.train.invented.placing import Place, Space
from ttt_jax.train.invented.rule import Rng

Sprites = list[np.ndarray]


def plain_cast(rng: Rng, look: Look, bound: int, count: int) -> Sprites:
    """Things as the look has them."""
    return look.sprites(rng, [look.mask(rng, bound) for _ in range(count)])


@dataclass(frozen=True)
class Selector:
    """Divides the things of a scene into chosen ones and others.

    Attributes:
      judge: `scene -> bool for each thing`, or None where it is not clear (a tie).
      cast: `(rng, look, bound, count) -> sprites` among which some are likely to be chosen.
      single: just one thing is chosen.
      everything: all things are chosen.
      plain: things have one colour each.
      colours: how many colours things need at least.
      key: the ground shows the colour of one thing: as a "cell" in a corner, as a "line" along the upper border, or as
        a "spot" of `spot_colour` anywhere.
      corner: of the key cell: 0 or 1 for each axis.
      place: where each of `count` things may be, or None for anywhere.
    """

    judge: Callable[[Scene], list[bool] | None]
    cast: Callable[[Rng, Look, int, int], Sprites] = plain_cast
    single: bool = False
    everything: bool = False
    plain: bool = False
    colours: int = 1
    key: str | None = None
    corner: tuple[int, int] = (0, 0)
    spot_colour: int | None = None
    place: Callable[[Rng, int], list[Place]] | None = None

    def look(self, rng: Rng, palette: Palette, plain: bool = False) -> Look:
        """A look in which this selector has something to select by."""
        look = draw_look(rng, palette, plain=plain or self.plain)
        if len(look.palette) < self.colours:
            look = replace(look, palette=palette.rest(max(self.colours, 4)))
        return replace(look, same_in_pair=False) if self.colours > 1 else look

    def draw(self, rng: Rng, size: float, look: Look) -> Scene | None:
        """A scene with at least two things."""
        height, width = extent(rng, size, look.square)
        bound = bound_of(rng, look, height, width)
        room = height * width // ((bound + 1) * (bound + 1))
        count = int(rng.integers(2, max(3, min(look.most, room) + 1)))
        sprites = self.cast(rng, look, bound, count)
        space = Space(height, width, look.gap)
        spot = None
        if self.key == "cell":
            spot = (self.corner[0] * (height - 1), self.corner[1] * (width - 1))
            space.take(*spot, 1, 1)
        elif self.key == "line":
            space.take(0, 0, 1, width)
        elif self.key == "spot":
            spot = (int(rng.integers(height)), int(rng.integers(width)))
            space.take(*spot, 1, 1)
        scene = lay_out(rng, look, sprites, height, width, self.place(rng, count) if self.place else None, space)
        if len(scene.things) < 2:
            return None
        if self.key is None:
            return scene
        key = self.spot_colour
        if key is None:
            key = pick(rng, scene.things).colour
        if spot is None:
            scene.ground[0] = key
        else:
            scene.ground[spot] = key
        return replace(scene, key=key, key_spot=spot)

    def chosen(self, scene: Scene) -> list[bool] | None:
        """Which things are chosen: some but not all, exactly one for `single`; None where the scene does not do."""
        labels = self.judge(scene)
        if self.everything:
            return labels
        if labels is None or not any(labels) or all(labels) or (self.single and sum(labels) != 1):
            return None
        return labels

    def draw_chosen(self, rng: Rng, size: float, look: Look) -> tuple[Scene, list[bool]] | None:
        """A scene and which of its things are chosen, or None where either does not come about."""
        scene = self.draw(rng, size, look)
        chosen = None if scene is None else self.chosen(scene)
        return None if scene is None or chosen is None else (scene, chosen)


EVERYTHING = Selector(lambda scene: [True] * len(scene.things), everything=True)
