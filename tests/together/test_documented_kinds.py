"""The laws of kinds of environment on the kind that ``docs/write-an-environment.md`` shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "write-an-environment.md"

#: What the blocks have that make the plugin.
PARTS = ("class Snapshot(", "class SnapshotInterpreter(", "def fal_register_environments")

#: Seconds that the laws may take.
PATIENCE = 240


def block(text: str) -> str:
    """Return the page's block of Python that has *text* in it."""
    pattern = r"^```(?:python|\{code-block\} python)\n(.*?)^```"
    [found] = [
        each for each in re.findall(pattern, PAGE.read_text(), re.M | re.S) if text in each
    ]
    return str(found)


def test_the_kind_of_the_page_keeps_the_laws(command_line: Any) -> None:
    """The page's plugin passes with the page's test file, as installed in a project of its own."""
    command_line.install("snapshots", "\n".join(map(block, PARTS)))
    laws = block("from fal_testing.kinds import *")
    command_line.write("test_laws.py", f"from snapshots import Snapshot\n{laws}")
    command_line.write("pytest.ini", "[pytest]\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_laws.py"],
        cwd=command_line.folder,
        env=command_line.variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "14 passed" in done.stdout
