"""Prints an evaluation.json as a Markdown table and draws its accuracy over difficulty.

python scripts/plot_reasoning.py docs/results/reasoning_smollm2.json --out docs/results/reasoning_smollm2.png
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from ttt_jax.evaluate.reasoning_plot import markdown_table, plot_difficulty


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", type=Path, help="evaluation.json of scripts/evaluate.py")
    parser.add_argument("--out", type=Path, help="image to write (default: none)")
    arguments = parser.parse_args()
    try:
        evaluation = json.loads(arguments.evaluation.read_text(encoding="utf-8"))
        print(markdown_table(evaluation))
    except (OSError, ValueError, KeyError) as error:
        print(f"plot_reasoning.py: {arguments.evaluation}: no evaluation.json: {error}", file=sys.stderr)
        return 2
    if arguments.out:
        panels = plot_difficulty(evaluation, arguments.out)
        print(f"wrote {panels} panels to {arguments.out}" if panels else "nothing to draw: difficulty does not vary")
    return 0


if __name__ == "__main__":
    sys.exit(main())
