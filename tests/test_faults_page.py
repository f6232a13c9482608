"""
The page of faults names tests that exist.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "local": "plugins/fal-host-local/tests",
    "virtualenv": "plugins/fal-env-virtualenv/tests",
    "serve": "plugins/fal-serve/tests",
    "server": "plugins/fal-server/tests",
    "laws": "src/fal_core/testing/laws",
    "tests": "tests",
}
ROWS = re.findall(r"`(\w+)/([\w/]+\.py)::(\w+)`", (ROOT / "docs/faults.md").read_text())


def test_each_fault_names_a_test():
    """
    Every row of the table ends with a test.
    """
    lines = (ROOT / "docs/faults.md").read_text().splitlines()
    rows = [line for line in lines if line.startswith("|")][2:]
    assert len(rows) == len(ROWS) > 20


@pytest.mark.parametrize(("folder", "file", "name"), ROWS)
def test_the_test_of_a_fault_exists(folder: str, file: str, name: str):
    """
    The test that a row names is there.
    """
    source = (ROOT / FOLDERS[folder] / file).read_text()
    assert re.search(rf"^(async )?def {name}\(", source, re.MULTILINE)
