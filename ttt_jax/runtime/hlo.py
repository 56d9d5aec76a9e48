"""Questions to the text of a compiled program: its collectives, and what its loops copy."""

from __future__ import annotations

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
    for name, body in re.findall(r"^(?:ENTRY )?%?([\w.-]+) \([^\n]*\{\n(.*?)^\}", text, re.M | re.S):
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
