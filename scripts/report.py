"""Writes report.html of a run anew, also of one that is not finished.

python scripts/report.py runs/demo
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ttt_jax.evaluate.report import write_report
from ttt_jax.evaluate.saved import SavedRun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_dir", type=Path)
    try:
        print(write_report(SavedRun(parser.parse_args().run_dir)))
    except ValueError as error:
        sys.exit(f"report.py: {error}")


if __name__ == "__main__":
    main()
