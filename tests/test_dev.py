"""
``dev.py``: the tasks of the repository.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], 0), (["-h"], 0), ([], 2)])
def test_the_tasks_are_listed(arguments: list[str], code: int) -> None:
    """
    Help lists every task with what it does, and so does the error where no task is named.
    """
    ended = subprocess.run(
        [sys.executable, str(ROOT / "dev.py"), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == code
    told = ended.stderr if code else ended.stdout
    declared = (ROOT / "tox.ini").read_text(encoding="utf-8")
    tasks = re.findall(r"^\[testenv:(.+)\]\ndescription = (.+)$", declared, re.M)
    assert "tests" in dict(tasks)
    for name, description in tasks:
        assert re.search(rf"^  {name} +{re.escape(description)}$", told, re.M), name
