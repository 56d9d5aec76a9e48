"""Questions to the text of a compiled program: its collectives, what its loops copy, what its layouts pad."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

_COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "all-to-all",
    "reduce-scatter",
    "collective-permute",
    "collective-broadcast",
)
# What hands an array on without making one.
_NAMING = {"parameter", "get-tuple-element", "tuple", "bitcast", "while", "opt-barrier"}
_UPDATE = "dynamic-update-slice"


@dataclass(frozen=True)
class Instruction:
    name: str
    shape: str
    """Types and sizes, without layouts."""
    opcode: str
    calls: tuple[str, ...]
    """Names of the computations that it runs."""
    is_root: bool
    text: str

    @property
    def size(self) -> int:
        """Elements of the largest array that it gives."""
        shapes = re.findall(r"\w+\[([\d,]*)\]", self.shape)
        return max((int(np.prod([int(n) for n in dims.split(",") if n])) for dims in shapes), default=0)


def parse(text: str) -> dict[str, list[Instruction]]:
    """The computations of a compiled module's text, by name."""
    computations: dict[str, list[Instruction]] = {}
    # A body ends with a brace that stands alone: the attributes of a Pallas call have lines that begin with one.
    for name, body in re.findall(r"^(?:ENTRY )?%?([\w.-]+) \([^\n]*\{\n(.*?)^\}$", text, re.M | re.S):
        computations[name] = []
        for line in body.splitlines():
            # An opcode is the first lower-case word before a bracket; layouts have capitals there, T(8,128).
            found = re.match(r"\s*(ROOT )?%?([\w.-]+) = (.*?) ([a-z][a-z0-9-]*)\(", line)
            if found:
                root, label, shape, opcode = found.groups()
                calls = re.findall(r"(?:calls|to_apply|body|condition)=%?([\w.-]+)", line)
                for branches in re.findall(r"branch_computations=\{([^}]*)\}", line):
                    calls += [branch.strip(" %") for branch in branches.split(",")]
                shape = re.sub(r"\{[^}]*\}", "", shape)
                computations[name].append(Instruction(label, shape, opcode, tuple(calls), bool(root), line.strip()))
    return computations


def collectives(text: str) -> dict[str, int]:
    """How many of each collective the program holds, by `operation type[shape]`."""
    found: Counter[str] = Counter()
    for body in parse(text).values():
        for instruction in body:
            name = instruction.opcode.removesuffix("-start")
            if name in _COLLECTIVES:
                found[f"{name} {instruction.shape}"] += 1
    return dict(found)


def collective_traffic(text: str) -> dict[str, dict[str, int]]:
    """The collectives by kind: {"all-gather": {"count", "bytes"}}.

    Bytes are those of the results on one device; what stands in a loop counts
    once, however often the loop runs.
    """
    found: dict[str, dict[str, int]] = {}
    for body in parse(text).values():
        for instruction in body:
            kind = instruction.opcode.removesuffix("-start")
            if kind not in _COLLECTIVES:
                continue
            sizes = [array.bytes for array in arrays(instruction.shape)]
            # What starts a collective gives its operands and its results, and waits for the latter.
            started = instruction.opcode != kind and kind in ("all-gather", "collective-permute")
            entry = found.setdefault(kind, {"count": 0, "bytes": 0})
            entry["count"] += 1
            entry["bytes"] += max(sizes, default=0) if started else sum(sizes)
    return found


@dataclass(frozen=True)
class ArrayLayout:
    """An array of a program as it lies in memory.

    Attributes:
      shape: its sizes.
      bytes: of its elements.
      padded: bytes with the tiles of its layout filled up; equal to `bytes` where the text has no layout.
    """

    shape: tuple[int, ...]
    bytes: int
    padded: int


def arrays(text: str) -> list[ArrayLayout]:
    """Every `type[sizes]{order:T(tile)...}` in a piece of a program's text."""
    found = []
    for kind, sizes, layout in re.findall(r"\b([a-z]+[0-9a-z]*)\[([\d,]*)\](?:\{([^}]*)\})?", text):
        shape = tuple(int(n) for n in sizes.split(",") if n)
        bits = _bits(kind)
        order, _, details = layout.partition(":")
        tile = re.match(r"T\(([\d,]+)\)", details)
        physical = [shape[int(i)] for i in reversed([i for i in order.split(",") if i])] or list(shape)
        if tile:
            for i, size in enumerate(reversed([int(n) for n in tile[1].split(",")]), 1):
                if i <= len(physical):
                    physical[-i] = -(-physical[-i] // size) * size
        found.append(ArrayLayout(shape, math.prod(shape) * bits // 8, math.prod(physical) * bits // 8))
    return found


def arguments(text: str) -> list[ArrayLayout]:
    """The arrays that a program is called with, on one device."""
    entry = re.search(r"^ENTRY [^\n]*\{\n(.*?)^\}$", text, re.M | re.S)
    lines = entry[1].splitlines() if entry else []
    return [array for line in lines if " parameter(" in line for array in arrays(line.partition(" parameter(")[0])]


def _bits(kind: str) -> int:
    """Of one element of an HLO type: pred, token, and types that end in their bits (bf16, s32, f8e4m3fn)."""
    digits = re.match(r"[a-z]+(\d+)", kind)
    return int(digits[1]) if digits else 8 if kind == "pred" else 0


class LoopArrays(NamedTuple):
    """Instructions inside loops that give large arrays: `written` in place, or `copied`, made anew."""

    written: tuple[str, ...]
    copied: tuple[str, ...]


def loop_arrays(text: str, size: int) -> LoopArrays:
    """What the loops of a program do with arrays of `size` elements or more.

    A loop that carries a cache of `size` elements a layer and updates it in
    place copies nothing. The inside of a fusion is never stored: its root
    alone counts.
    """
    computations = parse(text)
    waiting = [name for body in computations.values() for i in body if i.opcode == "while" for name in i.calls]
    seen: set[str] = set()
    written, copied = [], []
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for instruction in computations[name]:
            if instruction.opcode != "fusion":
                waiting += instruction.calls
            if instruction.size >= size:
                makers = set(_makers(instruction, computations))
                if makers - _NAMING - {_UPDATE}:
                    copied.append(instruction.text)
                elif _UPDATE in makers:
                    written.append(instruction.text)
    return LoopArrays(tuple(written), tuple(copied))


def _makers(instruction: Instruction, computations: dict[str, list[Instruction]]) -> list[str]:
    """The opcodes that make the result: of a fusion, those of its root, looked at through tuples and bitcasts."""
    if instruction.opcode != "fusion":
        return [instruction.opcode]
    inside = {i.name: i for name in instruction.calls for i in computations[name]}
    waiting, makers = [i for i in inside.values() if i.is_root], []
    while waiting:
        root = waiting.pop()
        if root.opcode in ("tuple", "bitcast"):
            operands = re.findall(r"%([\w.-]+)", root.text.partition(f" {root.opcode}(")[2].partition(")")[0])
            waiting += [inside[name] for name in operands if name in inside]
        else:
            makers.append(root.opcode)
    return makers
