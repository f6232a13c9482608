"""The page on tests: its files are tests that pass."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

for name in ("fal_serve", "fal_env_virtualenv"):
    pytest.importorskip(name)


def test_tests_of_the_page_pass(tmp_path: Path) -> None:
    """Every test of the page passes as it stands, those in real environments included."""
    page = (ROOT / "docs/testing.md").read_text("utf-8")
    conftest, releases, tests = re.findall(r"^```py\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    for file, text in (
        ("conftest.py", conftest),
        ("releases.py", releases),
        ("test_releases.py", tests),
    ):
        (tmp_path / file).write_text(text, "utf-8")
    run = [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*run, "-W", "error"],
        cwd=tmp_path,
        env={**os.environ, "FAL_CORE_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 passed" in done.stdout
