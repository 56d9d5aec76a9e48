"""Rules whose output tells something about the things of a scene: how many, in which order, which colour, where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ttt_jax.train.invented.draws import chance, pick
from ttt_jax.train.invented.objects.looks import Palette, draw_look, empty_ground
from ttt_jax.train.invented.objects.scenes import CLEAR, Scene, Thing, pair_of
from ttt_jax.train.invented.objects.selector import EVERYTHING
from ttt_jax.train.invented.objects.selectors import MEASURES, PLACES, Measure, draw_selector
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def _draw_measure(rng: Rng) -> tuple[Measure, int]:
    measures = (MEASURES[:2] if rng.random() < 0.5 else MEASURES[2:5]) if rng.random() < 0.5 else PLACES
    return pick(rng, measures), 1 - 2 * int(rng.integers(2))


def _ordered(things: list[Thing], measure: Measure, sign: int) -> list[Thing] | None:
    """Sorted by a measure; None if two are equal."""
    values = [measure(t) for t in things]
    if len(set(values)) < len(values):
        return None
    return sorted(things, key=lambda t: sign * measure(t))


def _totals(scene: Scene, cells: bool) -> np.ndarray:
    """int[10]: of how many cells, or things, each colour is."""
    counts = np.array([t.counts for t in scene.things])
    return (counts if cells else counts > 0).sum(0)


# ----------------------------------------------------------------- colours


def colours_in_order(rng: Rng) -> PairSampler:
    """The colours of things, one cell (or block, or bar as long as the thing has cells) each, sorted by a measure."""
    palette = Palette(rng)
    measure, sign = _draw_measure(rng)
    as_row, block = chance(rng, 0.5), int(rng.choice([1, 1, 1, 2, 3]))
    bars = chance(rng, 0.3)
    look = replace(draw_look(rng, palette, plain=True), palette=palette.rest(8), same_in_pair=False)

    def sample(rng: Rng, size: float) -> Pair | None:
        scene = EVERYTHING.draw(rng, size, look)
        things = _ordered(scene.things, measure, sign) if scene else None
        if scene is None or things is None:
            return None
        if bars:
            answer = np.full((len(things), max(t.cells for t in things)), scene.ground_colour, np.int8)
            for row, thing in zip(answer, things, strict=True):
                row[: thing.cells] = thing.colour
        else:
            answer = np.kron(np.array([[t.colour for t in things]], np.int8).T, np.ones((block, block), np.int8))
        return pair_of(scene, answer.T if as_row else answer)

    return sample


def colour_of_chosen(rng: Rng) -> PairSampler:
    """One cell, or a block, in the colour of the chosen thing, or in the commonest or rarest colour of things."""
    palette = Palette(rng)
    by_count = chance(rng, 0.3)
    selector = draw_selector(rng, palette, lambda s: s.single)
    rarest, cells = chance(rng, 0.5), chance(rng, 0.5)
    height, width = pick(rng, ((1, 1), (1, 1), (2, 2), (3, 3), (1, 3), (3, 1)))
    same_size = chance(rng, 0.2)
    look = replace(selector.look(rng, palette, plain=True), palette=palette.rest(6), same_in_pair=False)

    def sample(rng: Rng, size: float) -> Pair | None:
        scene = selector.draw(rng, size, look)
        if scene is None:
            return None
        if by_count:
            counts = _totals(scene, cells)
            used = np.sort(counts[counts > 0])
            wanted = used[0 if rarest else -1]
            if len(used) < 2 or np.count_nonzero(used == wanted) > 1:
                return None
            colour = int(np.flatnonzero(counts == wanted)[0])
        else:
            chosen = selector.chosen(scene)
            if chosen is None:
                return None
            colour = scene.things[chosen.index(True)].colour
        return pair_of(scene, np.full(scene.ground.shape if same_size else (height, width), colour, np.int8))

    return sample


# ------------------------------------------------------------------ number


def _row(n: int, most: int) -> np.ndarray | None:
    return np.arange(most)[None] < n if n <= most else None


def _square(n: int, most: int) -> np.ndarray | None:
    return (np.arange(9) < n).reshape(3, 3) if n <= 9 else None


def _spread(n: int, most: int) -> np.ndarray | None:
    """Every second cell of three rows, then the cells between: five at most."""
    if n > 5:
        return None
    mask = np.zeros(9, bool)
    mask[[0, 2, 4, 6, 8][:n]] = True
    return mask.reshape(3, 3)


_TALLIES: tuple[Callable[[int, int], np.ndarray | None], ...] = (
    _row,
    _square,
    _spread,
    lambda n, most: np.ones((1, n), bool),
    lambda n, most: np.eye(n, dtype=bool),
    lambda n, most: np.ones((n, n), bool),
    lambda n, most: np.tril(np.ones((n, n), bool)),
    lambda n, most: (np.arange(n)[:, None] + np.arange(n)) % 2 == 0,
)


def count_chosen(rng: Rng) -> PairSampler:
    """How many things are chosen (or there are), as a bar, a diagonal, a square or cells filled in."""
    palette = Palette(rng)
    selector = draw_selector(rng, palette, lambda s: not s.single)
    everything = chance(rng, 0.3)
    tally, turns = pick(rng, _TALLIES), int(rng.integers(4))
    most = int(rng.integers(5, 9))
    colour, back = palette.take(2)
    own, on_ground = chance(rng, 0.4), chance(rng, 0.8)
    look = replace(selector.look(rng, palette), most=most, largest=3)

    def sample(rng: Rng, size: float) -> Pair | None:
        drawn = selector.draw_chosen(rng, size, look)
        if drawn is None:
            return None
        scene, chosen = drawn
        counted = scene.things if everything else scene.those(chosen)
        mask = tally(len(counted), most)
        inks = {t.colour for t in counted}
        if mask is None or (own and len(inks) > 1):
            return None
        ink = inks.pop() if own else colour
        return pair_of(scene, np.rot90(np.where(mask, ink, scene.ground_colour if on_ground else back), turns))

    return sample


def chart_of_colours(rng: Rng) -> PairSampler:
    """A bar for each colour, as long as it has things (or cells); sorted by length or in an order of colours."""
    palette = Palette(rng)
    cells, by_length, turns = chance(rng, 0.4), chance(rng, 0.6), int(rng.integers(4))
    largest_first = chance(rng, 0.5)
    order = palette.take(int(rng.integers(2, 5)))
    look = replace(
        draw_look(rng, palette, plain=True), palette=order, same_in_pair=False, most=9, largest=int(rng.integers(2, 4))
    )

    def sample(rng: Rng, size: float) -> Pair | None:
        scene = EVERYTHING.draw(rng, size, look)
        if scene is None:
            return None
        counts = _totals(scene, cells)
        bars = [(int(counts[c]), c) for c in order if counts[c]]
        if by_length:
            if len({n for n, _ in bars}) < len(bars):
                return None
            bars.sort(reverse=largest_first)
        if len(bars) < 2:
            return None
        answer = np.full((len(bars), max(n for n, _ in bars)), scene.ground_colour, np.int8)
        for row, (n, c) in zip(answer, bars, strict=True):
            row[:n] = c
        return pair_of(scene, np.rot90(answer, turns))

    return sample


# ------------------------------------------------------------------ things


def things_in_order(rng: Rng) -> PairSampler:
    """The things next to each other, sorted by a measure, each in a box of its own or all in boxes of one size."""
    palette = Palette(rng)
    measure, sign = _draw_measure(rng)
    down, gap, same_box = chance(rng, 0.5), int(rng.integers(2)), chance(rng, 0.5)
    line = palette.one() if gap and rng.random() < 0.4 else None
    low = chance(rng, 0.5)  # boxes stand on a common line below, or hang from one above
    look = replace(draw_look(rng, palette), most=int(rng.integers(2, 5)))

    def sample(rng: Rng, size: float) -> Pair | None:
        scene = EVERYTHING.draw(rng, size, look)
        things = _ordered(scene.things, measure, sign) if scene else None
        if scene is None or things is None:
            return None
        sprites = [t.sprite.T if down else t.sprite for t in things]
        height, wide = max(s.shape[0] for s in sprites), max(s.shape[1] for s in sprites)
        parts = []
        for sprite in sprites:
            box = np.full((height, wide if same_box else sprite.shape[1]), scene.ground_colour, np.int8)
            h, w = sprite.shape
            top = height - h if low else 0
            box[top : top + h, :w] = np.where(sprite == CLEAR, scene.ground_colour, sprite)
            parts += [box, np.full((height, gap), scene.ground_colour if line is None else line, np.int8)]
        answer = np.hstack(parts[:-1])
        return pair_of(scene, answer.T if down else answer)

    return sample


def repeat_chosen(rng: Rng) -> PairSampler:
    """The chosen thing, repeated or enlarged as often as there are things (or other things)."""
    palette = Palette(rng)
    selector = draw_selector(rng, palette, lambda s: s.single)
    others, how = int(rng.integers(2)), int(rng.integers(4))
    look = replace(selector.look(rng, palette), most=int(rng.integers(3, 6)))

    def sample(rng: Rng, size: float) -> Pair | None:
        drawn = selector.draw_chosen(rng, size, look)
        if drawn is None:
            return None
        scene, chosen = drawn
        n = len(scene.things) - others
        sprite = scene.things[chosen.index(True)].sprite
        sprite = np.where(sprite == CLEAR, np.int8(scene.ground_colour), sprite)
        if max(sprite.shape) * n > 30:
            return None
        repeats = ((1, n), (n, 1), (n, n))
        return pair_of(scene, np.kron(sprite, np.ones((n, n), np.int8)) if how == 3 else np.tile(sprite, repeats[how]))

    return sample


def lattice(rng: Rng) -> PairSampler:
    """Things stand in rows and columns; the output has a cell for each: its colour, or whether it is chosen."""
    palette = Palette(rng)
    line = palette.one() if rng.random() < 0.5 else None
    ask_chosen, reverse = chance(rng, 0.5), chance(rng, 0.1)
    yes, no = palette.take(2)
    from_other = chance(rng, 0.5)
    full = chance(rng, 0.5)
    # Places are given by the lattice, and there is no room for a key.
    selector = draw_selector(rng, palette, lambda s: s.place is None and s.key is None) if ask_chosen else EVERYTHING
    look = replace(selector.look(rng, palette, plain=not ask_chosen), noise=None)
    if not ask_chosen:
        look = replace(look, palette=palette.rest(6), same_in_pair=False)

    def sample(rng: Rng, size: float) -> Pair | None:
        pitch = int(rng.integers(2, 5))
        room = max(2, min(5, round((3 + 27 * size) / (pitch + 1))))
        rows, columns = rng.integers(1, room + 1, 2).tolist()
        if rows * columns < 2:
            return None
        ground, colour = empty_ground(rng, look, rows * (pitch + 1) - 1, columns * (pitch + 1) - 1)
        if line is not None:
            ground[pitch :: pitch + 1] = ground[:, pitch :: pitch + 1] = line
        spots = [(r, c) for r in range(rows) for c in range(columns)]
        if not full:
            spots = [spots[i] for i in rng.permutation(len(spots))[: int(rng.integers(2, len(spots) + 1))]]
        sprites = selector.cast(rng, look, pitch, len(spots))[: len(spots)]
        things = [
            Thing(r * (pitch + 1), c * (pitch + 1), s[:pitch, :pitch])
            for (r, c), s in zip(spots, sprites, strict=False)
        ]
        scene = Scene(ground, [t for t in things if t.cells], colour)
        if len(scene.things) < len(spots):
            return None
        labels = selector.chosen(scene)
        if labels is None:
            return None
        answer = np.full((rows, columns), colour, np.int8)
        for spot, thing, label in zip(spots, things, labels, strict=True):
            if not ask_chosen:
                answer[spot] = thing.colour
            elif label or from_other:
                answer[spot] = yes if label else no
        return pair_of(scene, answer[::-1] if reverse else answer)

    return sample


FAMILIES: tuple[Family, ...] = (
    colours_in_order,
    colour_of_chosen,
    count_chosen,
    count_chosen,
    chart_of_colours,
    things_in_order,
    repeat_chosen,
    lattice,
)
