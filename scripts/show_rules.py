"""Draws invented rules (`ttt_jax/train/invented`), a row each, as pairs of input and output.

python scripts/show_rules.py rules.png --family sand --count 6 --seed 3

Without `--family` each row is of a family drawn as in training.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from ttt_jax.evaluate.drawing import COLOURS
from ttt_jax.train.invented import FAMILIES
from ttt_jax.train.invented.rule import Family, Pair

_PATIENCE = 40  # inputs that may fail to show a rule, as in training


def main(argv: list[str] | None = None) -> int:
    """Writes the image and prints a line for each row; returns the exit status, 2 where there is no such family."""
    parser = argparse.ArgumentParser(description="Draws invented rules, a row of pairs each.")
    parser.add_argument("out", type=Path, help="image to write, .png")
    parser.add_argument("--family", help="the name of one family; a wrong one prints them all")
    parser.add_argument("--seed", type=int, default=0, help="of families, rules and pairs")
    parser.add_argument("--count", type=int, default=8, help="rules")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of each rule")
    parser.add_argument("--size", type=float, default=0.4, help="in (0, 1]: bounds how large grids are")
    args = parser.parse_args(argv)

    names = [family.__name__ for family in FAMILIES]
    families = [family for family, name in zip(FAMILIES, names, strict=True) if args.family in (None, name)]
    if not families:
        print(f"error: --family {args.family}: not one of {', '.join(sorted(set(names)))}", file=sys.stderr)
        return 2
    rows = []
    for row in range(args.count):
        rng = np.random.default_rng([args.seed, row])
        family = families[int(rng.integers(len(families)))]
        pairs = _pairs(family, rng, args.size, args.pairs)
        print(f"{family.__name__}: {len(pairs)} pairs")
        rows.append((family.__name__, pairs))
    _draw(rows, args.pairs, args.out)
    print(args.out)
    return 0


def _pairs(family: Family, rng: np.random.Generator, size: float, wanted: int) -> list[Pair]:
    """Pairs of one rule of the family; fewer than wanted where too many inputs do not show it."""
    sampler, pairs, failed = family(rng), [], 0
    while len(pairs) < wanted and failed < _PATIENCE:
        pair = sampler(rng, size)
        if pair is None:
            failed += 1
        else:
            pairs.append(pair)
    return pairs


def _draw(rows: list[tuple[str, list[Pair]]], pairs: int, out: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import ListedColormap

    colours = ListedColormap(COLOURS)
    figure, grid = plt.subplots(
        len(rows), 2 * pairs, figsize=(2.4 * pairs, 1.5 * len(rows)), squeeze=False, layout="constrained"
    )
    for (name, found), line in zip(rows, grid, strict=True):
        for axes in line:
            axes.axis("off")
        line[0].set_title(name, loc="left", fontsize=8)
        for i, pair in enumerate(found):
            for axes, cells, sign in zip(line[2 * i : 2 * i + 2], pair, ("", "\N{RIGHTWARDS ARROW}"), strict=True):
                axes.pcolormesh(cells, cmap=colours, vmin=0, vmax=len(COLOURS) - 1, edgecolors="0.4", linewidth=0.3)
                axes.set_aspect("equal")
                axes.invert_yaxis()
                axes.text(-0.02, 0.5, sign, transform=axes.transAxes, ha="right", va="center")
    figure.savefig(out, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
