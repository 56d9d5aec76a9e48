"""Rules invented from general principles, each drawn with its parameters: scenes of objects, patterns, movement."""

from __future__ import annotations

from importlib import import_module

from ttt_jax.train.invented.rule import Family

FAMILIES: tuple[Family, ...] = ()
for _room in ("objects", "patterns", "movement"):
    try:
        FAMILIES += import_module(f"ttt_jax.train.invented.{_room}").FAMILIES
    except ModuleNotFoundError:
        pass
