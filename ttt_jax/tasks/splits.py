"""Which names belong to training, to development and to the test: decided by hash, so never by whoever looks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

SPLITS = ("train", "development", "test")
_SHARES = (0.6, 0.2)


def split_names(kind: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Splits names 60 : 20 : 20; disjoint, together all of them, none empty.

    The names are ranked by blake2(kind, name) and the ranking is cut, so the
    order in which they are given does not matter.

    Args:
      kind: what the names are of ("zebra vocabulary"); each kind has its own ranking.
      names: three or more, distinct.

    Raises:
      ValueError: fewer than three, or a name comes twice.
    """
    names = list(names)
    if len(names) < 3 or len(set(names)) != len(names):
        raise ValueError(f"{kind}: three or more distinct names can be split, not {names}")
    ranked = sorted(names, key=lambda name: hashlib.blake2b(f"{kind}\0{name}".encode(), digest_size=8).digest())
    held = [max(1, round(len(ranked) * share)) for share in (_SHARES[1], 1 - sum(_SHARES))]
    cuts = (len(ranked) - sum(held), len(ranked) - held[1])
    parts = (ranked[: cuts[0]], ranked[cuts[0] : cuts[1]], ranked[cuts[1] :])
    return {split: tuple(of) for split, of in zip(SPLITS, parts, strict=True)}


def split_of(kind: str, names: Iterable[str]) -> dict[str, str]:
    """name -> its split."""
    return {name: split for split, of in split_names(kind, names).items() for name in of}
