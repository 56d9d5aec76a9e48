"""Rules that do something to chosen things, or to all: the widest families, by the number of rules they make."""

from __future__ import annotations

from dataclasses import replace

from ttt_jax.train.invented.draws import chance
from ttt_jax.train.invented.objects.actions import Action, act, as_action, draw_action
from ttt_jax.train.invented.objects.changes import draw_change, keep
from ttt_jax.train.invented.objects.looks import Palette
from ttt_jax.train.invented.objects.scenes import Scene, Thing, pair_of
from ttt_jax.train.invented.objects.selector import EVERYTHING
from ttt_jax.train.invented.objects.selectors import MEASURES, PLACES, draw_selector
from ttt_jax.train.invented.rule import Family, Pair, PairSampler, Rng


def _pair(scene: Scene, things: list[Thing] | None) -> Pair | None:
    return None if things is None else pair_of(scene, scene.painted(things))


def edit_chosen(rng: Rng) -> PairSampler:
    """One action for chosen things; others stay, go, or have an action of their own."""
    palette = Palette(rng)
    selector = draw_selector(rng, palette)
    action, stay = draw_action(rng, palette), as_action(keep)
    # What becomes of chosen things and of others, None for nothing: they are deleted.
    fates = ((action, stay), (None, stay), (None, action), (action, None), (stay, None), None)
    fate = fates[int(rng.choice(len(fates), p=[0.6, 0.07, 0.03, 0.06, 0.09, 0.15]))]
    mine, other = (action, draw_action(rng, palette)) if fate is None else fate
    look = selector.look(rng, palette)

    def sample(rng: Rng, size: float) -> Pair | None:
        drawn = selector.draw_chosen(rng, size, look)
        if drawn is None:
            return None
        scene, chosen = drawn
        return _pair(scene, act(scene, [mine if c else other for c in chosen]))

    return sample


def edit_all(rng: Rng) -> PairSampler:
    """One action for everything there is."""
    palette = Palette(rng)
    action = draw_action(rng, palette)
    look = EVERYTHING.look(rng, palette)

    def sample(rng: Rng, size: float) -> Pair | None:
        scene = EVERYTHING.draw(rng, size, look)
        return None if scene is None else _pair(scene, act(scene, [action] * len(scene.things)))

    return sample


def recolour_by_rank(rng: Rng) -> PairSampler:
    """As many colours as things, handed out in the order of a measure."""
    palette = Palette(rng)
    measure = (MEASURES + PLACES)[int(rng.integers(len(MEASURES) + len(PLACES)))]
    sign = 1 - 2 * int(rng.integers(2))
    table = palette.take(int(rng.integers(2, 5)))
    look = replace(EVERYTHING.look(rng, palette), most=len(table), same_in_pair=chance(rng, 0.6))

    def sample(rng: Rng, size: float) -> Pair | None:
        scene = EVERYTHING.draw(rng, size, look)
        if scene is None or len(scene.things) > len(table):
            return None
        values = [sign * measure(t) for t in scene.things]
        if len(set(values)) < len(values):
            return None
        ranks = [sorted(values).index(v) for v in values]
        return _pair(scene, [t.with_colour(table[r]) for t, r in zip(scene.things, ranks, strict=True)])

    return sample


def two_steps(rng: Rng) -> PairSampler:
    """A change of chosen things or of all, then an action for those that another selector chooses or for all."""
    palette = Palette(rng)
    selector = draw_selector(rng, palette)
    first = draw_change(rng, palette)
    first_for_all = chance(rng, 0.3)
    second = draw_selector(rng, palette) if first_for_all else None
    if second is not None and second.key is not None:
        second = None  # its scene would lack the key
    action = draw_action(rng, palette)
    other: Action | None = None if rng.random() < 0.2 and second is not None else as_action(keep)
    look = selector.look(rng, palette)

    def sample(rng: Rng, size: float) -> Pair | None:
        drawn = selector.draw_chosen(rng, size, look)
        if drawn is None:
            return None
        scene, chosen = drawn
        changed = [first(scene, t) if c or first_for_all else t for t, c in zip(scene.things, chosen, strict=True)]
        middle = replace(scene, things=[t for t in changed if t is not None])
        if len(middle.things) < len(changed) or middle.painted() is None:
            return None
        again = second.chosen(middle) if second is not None else chosen if first_for_all else [True] * len(changed)
        if again is None:
            return None
        return _pair(scene, act(middle, [action if c else other for c in again]))

    return sample


FAMILIES: tuple[Family, ...] = (
    *(edit_chosen,) * 4,
    *(edit_all,) * 2,
    *(two_steps,) * 2,
    recolour_by_rank,
)
