"""Puzzles as sentences: several wordings, latent conventions, and back."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from ttt_jax.tasks.splits import split_names
from ttt_jax.tasks.task import keyed_rng
from ttt_jax.tasks.zebra.puzzle import KINDS, Attribute, Clue, Item, Puzzle

WORDINGS: dict[str, dict[str, str]] = {
    "plain": {
        "found_at": "{a} is in the {k} house.",
        "not_at": "{a} is not in the {k} house.",
        "same_house": "{a} is {b}.",
        "consecutive": "{a} is directly left of {b}.",
        "beside": "{a} and {b} are next to each other.",
        "left_of": "{a} is somewhere to the left of {b}.",
        "right_of": "{a} is somewhere to the right of {b}.",
        "one_between": "There is one house between {a} and {b}.",
        "two_between": "There are two houses between {a} and {b}.",
    },
    "neighbourly": {
        "found_at": "House {k} belongs to {a}.",
        "not_at": "House {k} does not belong to {a}.",
        "same_house": "{a} and {b} are the same person.",
        "consecutive": "{a} has {b} as the next neighbour on the right.",
        "beside": "{a} lives right beside {b}.",
        "left_of": "Going right from {a} one comes to {b}.",
        "right_of": "Going left from {a} one comes to {b}.",
        "one_between": "{a} and {b} have exactly one neighbour in common between them.",
        "two_between": "{a} and {b} have exactly two houses between them.",
    },
    "numbers": {
        "found_at": "The house number of {a} is {k}.",
        "not_at": "The house number of {a} differs from {k}.",
        "same_house": "{a} has the house number of {b}.",
        "consecutive": "The house number of {b} is that of {a} plus one.",
        "beside": "The house numbers of {a} and {b} differ by one.",
        "left_of": "The house number of {a} is below that of {b}.",
        "right_of": "The house number of {a} is above that of {b}.",
        "one_between": "The house numbers of {a} and {b} differ by two.",
        "two_between": "The house numbers of {a} and {b} differ by three.",
    },
}
"""Wording -> clue type -> sentence. `{k}` is a house: a word in `plain`, a number in the others."""

CONVENTIONS = tuple(f"dialect-{i}" for i in range(24))
"""Names of latent conventions; what they say is drawn from the name."""

_ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
_HEAD = (
    "There are {n} houses, numbered 1 to {n} from left to right, as seen from across the street. "
    "Each house is occupied by a different person. "
    "Each house has a unique attribute for each of the following characteristics:"
)
_SYLLABLES = ("zor", "bli", "mek", "fan", "tud", "gre", "wip", "lon", "kas", "vey", "dro", "pim", "shu", "hax")
_SYMBOLS = ("~>", "<|", "%%", "&/", "=:", "^^", "(+)", "|>", "#-", "!?", "*:", "[]")
# The public puzzles call some values by another word in their clues.
_ALIASES = {"swede": "swedish", "brit": "british", "dane": "danish", "ford f150": "ford f 150", "painting": "paints"}


class WordingError(ValueError):
    """A text that is no puzzle, or a clue that cannot be understood."""


@cache
def convention_splits() -> dict[str, tuple[str, ...]]:
    """Split -> latent conventions."""
    return split_names("zebra convention", CONVENTIONS)


@cache
def make_convention(name: str) -> dict[str, str]:
    """Clue type -> sentence, of three or more types that a convention renames; {} for "".

    A relation gets an invented verb ("Eric zorbli Peter.") or an invented sign
    ("Eric ~> Peter."): what it means shows only in solved examples.
    """
    if not name:
        return {}
    rng = keyed_rng("zebra convention", name)
    kinds = [KINDS[2 + i] for i in sorted(rng.permutation(len(KINDS) - 2)[: int(rng.integers(3, 8))].tolist())]
    if rng.random() < 0.5:
        pairs = [(a, b) for a in _SYLLABLES for b in _SYLLABLES if a != b]
        words = ["".join(pairs[i]) + "s" for i in rng.choice(len(pairs), len(kinds), replace=False)]
    else:
        words = [_SYMBOLS[i] for i in rng.choice(len(_SYMBOLS), len(kinds), replace=False)]
    return {kind: f"{{a}} {word} {{b}}." for kind, word in zip(kinds, words, strict=True)}


def write_clue(clue: Clue, attributes: Sequence[Attribute], wording: str = "plain", convention: str = "") -> str:
    """One sentence."""
    template = (WORDINGS[wording] | make_convention(convention))[clue.kind]
    house = ""
    if clue.house is not None:
        house = _ORDINALS[clue.house] if wording == "plain" else str(clue.house + 1)
    a, b = (attributes[item[0]].person(item[1]) if item else "" for item in (clue.a, clue.b))
    text = template.format(a=a, b=b, k=house)
    return text[0].upper() + text[1:]


def write_puzzle(puzzle: Puzzle) -> str:
    """The layout of the public records: the characteristics, then numbered clues."""
    lines = [_HEAD.format(n=puzzle.houses)]
    lines += [f" - {a.title}: {', '.join(f'`{value}`' for value in a.values)}" for a in puzzle.attributes]
    lines += ["", "## Clues:"]
    lines += [
        f"{i}. {write_clue(clue, puzzle.attributes, puzzle.wording, puzzle.convention)}"
        for i, clue in enumerate(puzzle.clues, 1)
    ]
    return "\n".join(lines) + "\n"


def read_puzzle(text: str, names: Sequence[str], *, convention: str = "") -> Puzzle:
    """The inverse of `write_puzzle`; also reads the public puzzles, whose people are described in other words.

    A puzzle in words of its own is kept in the wording `plain`, its people
    described by a neutral phrase.

    Args:
      text: the puzzle.
      names: of its attributes, in order (the header of the record's solution, without House).
      convention: a latent convention that the text uses.

    Raises:
      WordingError: says which line, and why.
    """
    head, mark, tail = text.partition("## Clues")
    if not mark:
        raise WordingError('puzzle: no "## Clues" heading')
    count = re.search(r"(\d+) houses", head)
    if not count:
        raise WordingError('puzzle: does not say how many "houses" there are')
    listed = [line.strip() for line in head.splitlines() if line.strip().startswith("- ")]
    if len(listed) != len(names):
        raise WordingError(f"puzzle: lists {len(listed)} characteristics, the solution's header has {len(names)}")
    attributes = []
    for name, line in zip(names, listed, strict=True):
        values = tuple(re.findall(r"`([^`]+)`", line))
        if len(set(map(str.lower, values))) != int(count[1]) or len(values) != int(count[1]):
            raise WordingError(f"puzzle: {name} lists {len(values)} values for {count[1]} houses: {line!r}")
        title = line[2:].split("`")[0].rstrip().rstrip(":")
        attributes.append(Attribute(name, title, _known_phrase(name, title), values))
    sentences = re.findall(r"^\s*\d+\.\s*(.+?)\s*$", tail, re.MULTILINE)
    if not sentences:
        raise WordingError("puzzle: it has no clues")
    clues, wordings = [], set()
    for number, sentence in enumerate(sentences, 1):
        try:
            clue, wording = read_clue(sentence, attributes, convention)
        except WordingError as error:
            raise WordingError(f"puzzle: clue {number}: {error}") from None
        clues.append(clue)
        wordings.add(wording)
    wordings.discard("")
    return Puzzle(tuple(attributes), tuple(clues), wordings.pop() if len(wordings) == 1 else "plain", convention)


def read_clue(sentence: str, attributes: Sequence[Attribute], convention: str = "") -> tuple[Clue, str]:
    """A clue, and the name of the wording it is in ("" for a convention's). Raises WordingError."""
    unsure = None
    for wording, kind, template in _templates(convention):
        for parts in _readings(sentence.strip(), template):
            try:
                a = find_item(parts["a"], attributes)
                if "b" in parts:
                    return Clue(kind, a, find_item(parts["b"], attributes)), wording
                return Clue(kind, a, house=_house(parts["k"], len(attributes[0].values))), wording
            except WordingError as error:
                unsure = error  # another reading or a looser sentence may still fit
    raise unsure or WordingError(f"no known sentence: {sentence!r}")


def find_item(phrase: str, attributes: Sequence[Attribute]) -> Item:
    """The one value that a description speaks of. Raises WordingError for none or several."""
    text = phrase.strip().lower()
    exact = [(i, v) for i, a in enumerate(attributes) for v in range(len(a.values)) if a.person(v).lower() == text]
    if len(exact) == 1:
        return exact[0]
    text = _plain(text)
    # A whole word first, then the beginning of one (`sept` in "September"), then its stem (`roses` in "rose bouquet").
    for stem, end in ((False, r"\b"), (False, ""), (True, r"\b")):
        spans: dict[Item, tuple[int, int]] = {}
        for i, attribute in enumerate(attributes):
            for v, value in enumerate(attribute.values):
                for name in (_plain(value), _ALIASES.get(_plain(value), "")):
                    found = re.search(rf"(?<!\w){re.escape(name.rstrip('s') if stem else name)}{end}", text)
                    if found and name:
                        spans[i, v] = found.span()
        items = [s for s in spans if not any(_within(spans[s], spans[o]) for o in spans)]
        if len(items) > 1:
            items = _in_context(items, text, attributes)
        if len(items) == 1:
            return items[0]
        if items:
            told = " or ".join(f"{attributes[i].name} {attributes[i].values[v]}" for i, v in items)
            raise WordingError(f"{phrase!r} may be {told}")
    raise WordingError(f"{phrase!r} names none of the values listed")


def _plain(text: str) -> str:
    return re.sub(r"[-_\s]+", " ", text.lower()).strip()


def _within(inner: tuple[int, int], outer: tuple[int, int]) -> bool:
    return inner != outer and outer[0] <= inner[0] and inner[1] <= outer[1]


def _in_context(items: Sequence[Item], text: str, attributes: Sequence[Attribute]) -> list[Item]:
    """Those of whose attribute's name the most stands beside the value: "black hair", "child named Alice"."""
    words = re.findall(r"\w{3,}", text)

    def told(item: Item) -> float:
        attribute = attributes[item[0]]
        if attribute.name == "Name":  # a bare name would have been found before
            return -1.0
        own = re.findall(r"\w{3,}", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", attribute.name).lower())
        return sum(any(w.startswith(o) or o.startswith(w) for w in words) for o in own) / max(1, len(own))

    best = max(map(told, items))
    return [item for item in items if told(item) == best]


def _house(word: str, houses: int) -> int:
    house = _ORDINALS.index(word.lower()) if word.lower() in _ORDINALS else int(word) - 1 if word.isdigit() else -1
    if not 0 <= house < houses:
        raise WordingError(f"there is no house {word!r} among {houses}")
    return house


def _known_phrase(name: str, title: str) -> str:
    from ttt_jax.tasks.zebra.vocabulary import vocabularies

    if name == "Name":
        return "{}"
    for attributes in vocabularies().values():
        for attribute in attributes:
            if (attribute.name, attribute.title) == (name, title):
                return attribute.phrase
    return f"the person whose {re.sub(r'(?<=[a-z])(?=[A-Z])', ' ', name).lower()} is {{}}"


@cache
def _templates(convention: str) -> tuple[tuple[str, str, str], ...]:
    """(wording, clue type, sentence), from the strictest to the loosest: longer fixed parts first."""
    tables: list[tuple[str, Mapping[str, str]]] = [("", make_convention(convention)), *WORDINGS.items()]
    found = [(wording, kind, template) for wording, table in tables for kind, template in table.items()]
    return tuple(sorted(found, key=lambda entry: (entry[0] != "", -len(re.sub(r"\{\w\}", "", entry[2])))))


def _readings(sentence: str, template: str) -> Iterator[dict[str, str]]:
    """Every way to fill the two fields of a template so that it gives the sentence; letter case does not matter."""
    before, first, between, second, after = re.split(r"\{(\w)\}", template.lower())
    text = sentence.lower()
    if not (text.startswith(before) and text.endswith(after)):
        return
    end = len(text) - len(after)
    cut = text.find(between, len(before) + 1)
    while cut >= 0 and cut + len(between) < end:
        yield {first: text[len(before) : cut], second: text[cut + len(between) : end]}
        cut = text.find(between, cut + 1)
