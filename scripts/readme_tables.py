"""Writes the tables of README.md and docs/ from docs/results/: python scripts/readme_tables.py [--check]

A table stands between `<!-- table: NAME -->` and `<!-- end -->`, where NAME is a
file docs/results/NAME.json. With --check nothing is written, and the exit
status is 1 where a page does not say what the files say.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from ttt_jax.evaluate.tables import results_table

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "results"
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def render(page: str) -> str:
    """The page with every marked table as the files have it."""

    def table(match: re.Match[str]) -> Any:
        return f"{match[1]}{results_table(RESULTS / f'{match[2]}.json')}{match[3]}"

    return MARKED.sub(table, page)


def main() -> int:
    stale = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))):
        before = page.read_text(encoding="utf-8")
        after = render(before)
        if before != after:
            stale.append(page)
            if "--check" not in sys.argv:
                page.write_text(after, encoding="utf-8")
    for page in stale:
        print(f"{'stale' if '--check' in sys.argv else 'written'}: {page.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
