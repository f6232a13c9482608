"""
Collect the tests in one process for each processor, where they have never been collected here.

Every process that shares the tests reads all of them. Where pytest has kept none of what it
makes of a test file, each would make all of it anew, three times as slow as reading it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: How many test files without anything kept are worth a collection of their own.
MANY = 100


def find_cold() -> list[Path]:
    """Return the test files of which pytest has kept nothing for this Python."""
    tag = sys.implementation.cache_tag
    files = [*ROOT.glob("tests/**/test_*.py"), *ROOT.glob("plugins/*/tests/**/test_*.py")]
    return [
        each
        for each in files
        if not any((each.parent / "__pycache__").glob(f"{each.stem}.{tag}-pytest-*"))
    ]


def warm(arguments: list[str], processes: int) -> None:
    """Collect what *arguments* of pytest name, each process a share of the files."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", *arguments]
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "FAL_CORE_SHARE": f"{number}/{processes}"},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(processes)
    ]
    for each in started:
        # What cannot be collected is told by the run itself.
        each.wait()


if __name__ == "__main__":
    # Without a proof a few files were named.
    if "--proof" in sys.argv and not sys.dont_write_bytecode and len(find_cold()) > MANY:
        warm(sys.argv[1:], os.cpu_count() or 1)
