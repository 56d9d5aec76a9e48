"""Pages quote the result files, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))

import readme_tables  # noqa: E402


def test_every_table_says_what_its_file_says():
    result = subprocess.run(
        [sys.executable, "scripts/readme_tables.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_a_changed_number_is_found():
    page = readme_tables.render("<!-- table: demo -->\n| 99% |\n<!-- end -->")
    assert "99%" not in page and "in-context" in page and "adapted" in page
    assert readme_tables.render(page) == page


def test_a_table_without_its_file_is_an_error():
    with pytest.raises(FileNotFoundError, match="no_such_result"):
        readme_tables.render("<!-- table: no_such_result -->\n<!-- end -->")
