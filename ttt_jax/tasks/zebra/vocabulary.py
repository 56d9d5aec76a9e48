"""Who lives in the houses: themes with their own names, attributes and values."""

from __future__ import annotations

from functools import cache

import numpy as np

from ttt_jax.tasks.splits import split_names
from ttt_jax.tasks.zebra.puzzle import Attribute

MAX_VALUES = 6
"""Values that every attribute has; a smaller puzzle takes some of them."""

# Theme: names; then attribute | title | phrase | values. No value of a theme is part of another one's phrase.
_THEMES = """
street: Eric, Peter, Arnold, Alice, Bob, Carol
Animal | The people keep unique animals | the person who keeps the {} | dog, cat, horse, fish, bird, rabbit
Drink | Each person has a favorite drink | the person who likes {} | tea, coffee, milk, water, lemonade, cider
Color | Each person has a favorite color | the person whose favorite color is {} |\
    red, green, blue, white, yellow, purple
Hobby | Each person has a hobby | the person who enjoys {} |\
    gardening, cooking, painting, knitting, photography, chess
Flower | They all have a favorite flower | the person who loves {} |\
    roses, lilies, tulips, daffodils, orchids, carnations
Car | People own unique car models | the owner of the {} | sedan, pickup, coupe, wagon, minivan, roadster

academy: Hypatia, Noether, Euler, Gauss, Turing, Lovelace
Field | Each scholar has a field | the scholar of {} | algebra, geometry, logic, optics, botany, acoustics
Prize | Everybody won a different prize | the winner of the {} prize | bronze, silver, golden, crystal, marble, ivory
Instrument | Each scholar plays an instrument | the scholar who plays the {} |\
    violin, flute, piano, harp, oboe, trumpet
Language | Each scholar writes in a language | the author who writes in {} |\
    Latin, Greek, Arabic, Persian, Sanskrit, Aramaic
Breakfast | Everybody has a breakfast of their own | the one who eats {} |\
    porridge, toast, eggs, melon, yoghurt, waffles
Tower | Everybody works in a tower | whoever works in the {} tower | north, south, east, west, bell, clock

harbour: Ingrid, Bjorn, Sven, Astrid, Leif, Freya
Boat | Each sailor owns a boat | the owner of the {} | sloop, ketch, schooner, cutter, trawler, dinghy
Catch | Each sailor brought home a catch | the sailor who caught {} | cod, herring, salmon, squid, crab, eel
Port | Each sailor comes from a port | the sailor from {} | Bergen, Lisbon, Hamburg, Genoa, Dublin, Odessa
Flag | Each boat flies a flag | the sailor under the {} flag | crimson, azure, amber, jade, violet, ochre
Cargo | Each boat carries a cargo | the carrier of {} | salt, timber, wool, grain, copper, spices
Knot | Each sailor has a favorite knot | the sailor who ties the {} | bowline, sheepshank, clove, reef, anchor, prusik

orchard: Maria, Pablo, Lucia, Diego, Elena, Javier
Fruit | Each farmer grows a fruit | the grower of {} | apples, pears, plums, figs, cherries, quinces
Tool | Each farmer has a favorite tool | the farmer with the {} | spade, rake, sickle, hoe, pruner, ladder
Hat | Each farmer wears a hat | the farmer in the {} hat | straw, felt, linen, velvet, leather, denim
Soil | Each farm has its soil | the farmer on {} soil | clay, sandy, chalky, loamy, peaty, stony
Market | Each farmer sells on a day | the farmer who sells on {} |\
    Monday, Tuesday, Wednesday, Thursday, Friday, Saturday
Helper | Each farmer has a helper | the farmer helped by the {} | donkey, goose, mule, ox, sheepdog, llama

station: Vega, Orion, Lyra, Altair, Rigel, Mira
Role | Each crew member has a role | the {} of the station | pilot, medic, botanist, engineer, geologist, cook
Planet | Each crew member studies a planet | the one who studies {} | Mercury, Venus, Mars, Jupiter, Saturn, Neptune
Suit | Each crew member has a suit | the wearer of the {} suit | orange, teal, grey, maroon, lime, indigo
Robot | Each crew member built a robot | the builder of the {} | crawler, hopper, drone, digger, welder, loader
Snack | Each crew member hides a snack | the one who hides {} | raisins, walnuts, crackers, jerky, popcorn, licorice
Shift | Each crew member works a shift | the one on the {} shift | dawn, morning, noon, afternoon, evening, midnight

workshop: Hanna, Tomas, Jana, Petr, Milan, Zuzana
Craft | Each artisan has a craft | the artisan of {} | pottery, weaving, carving, glazing, bookbinding, tailoring
Wood | Each artisan keeps a stock of wood | the one who stores {} | oak, maple, birch, walnut, cedar, teak
Gem | Each artisan owns a gem | the owner of the {} | ruby, emerald, sapphire, topaz, opal, garnet
Apprentice | Each artisan trains an apprentice | the teacher of {} | Oskar, Klara, Emil, Greta, Hugo, Nina
Dye | Each artisan mixes a dye | the mixer of {} | madder, woad, saffron, cochineal, weld, henna
Lamp | Each artisan works by a lamp | the one who works by the {} lamp | oil, gas, paper, brass, glass, candle

library: Farid, Leila, Omar, Samira, Karim, Yasmin
Genre | Each reader has a favorite genre | the reader of {} | mystery, fantasy, romance, biography, satire, poetry
Seat | Each reader has a seat | whoever sits on the {} | bench, sofa, stool, armchair, cushion, windowsill
Ink | Each reader writes in an ink | whoever writes in {} ink | black, sepia, scarlet, turquoise, bottle, plum
Month | Each reader was born in a month | whoever was born in {} | January, March, April, June, September, November
Bookmark | Each reader uses a bookmark | the user of the {} bookmark | ribbon, feather, ticket, leaf, postcard, string
Pastry | Each reader brings a pastry | whoever brings the {} | croissant, strudel, eclair, scone, brioche, pretzel

theatre: Giulia, Marco, Chiara, Paolo, Bianca, Luca
Part | Each actor plays a part | the actor who plays the {} | king, jester, knight, witch, merchant, ghost
Mask | Each actor wears a mask | the wearer of the {} mask | fox, owl, wolf, heron, bear, raven
Song | Each actor sings a song | the singer of the {} | ballad, serenade, lullaby, hymn, shanty, madrigal
Act | Each actor enters with a prop | the actor with the {} | lantern, dagger, scroll, goblet, mirror, crown
Fabric | Each costume has a fabric | the one dressed in {} | silk, satin, tweed, cotton, muslin, brocade
Town | Each actor was born in a town | the native of {} | Verona, Siena, Parma, Turin, Bari, Trieste
"""


@cache
def vocabularies() -> dict[str, tuple[Attribute, ...]]:
    """Theme -> its seven attributes of six values each, Name first."""
    found = {}
    for block in _THEMES.strip().split("\n\n"):
        head, *lines = block.splitlines()
        theme, _, names = head.partition(": ")
        attributes = [Attribute("Name", "Each person has a unique name", "{}", tuple(names.split(", ")))]
        for line in lines:
            name, title, phrase, values = (part.strip() for part in line.split("|"))
            attributes.append(Attribute(name, title, phrase, tuple(values.split(", "))))
        found[theme] = tuple(attributes)
    return found


@cache
def vocabulary_splits() -> dict[str, tuple[str, ...]]:
    """Split -> themes."""
    return split_names("zebra vocabulary", vocabularies())


def draw_attributes(theme: str, houses: int, attributes: int, rng: np.random.Generator) -> tuple[Attribute, ...]:
    """Name and other attributes of a theme, each with `houses` of its values in random order.

    Raises:
      ValueError: the theme has not as many.
    """
    every = vocabularies()[theme]
    if not (2 <= houses <= MAX_VALUES and 1 <= attributes <= len(every)):
        raise ValueError(
            f"size {houses}x{attributes}: houses go from 2 to {MAX_VALUES}, attributes from 1 to {len(every)}"
        )
    others = rng.choice(np.arange(1, len(every)), attributes - 1, replace=False).tolist()
    chosen = []
    for attribute in (every[0], *(every[i] for i in others)):
        values = rng.permutation(len(attribute.values))[:houses]
        chosen.append(
            Attribute(attribute.name, attribute.title, attribute.phrase, tuple(attribute.values[i] for i in values))
        )
    return tuple(chosen)
