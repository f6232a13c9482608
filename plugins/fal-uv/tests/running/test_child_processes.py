"""Child processes, and how they end."""

from __future__ import annotations

import subprocess
import sys


def test_open_files_of_a_build() -> None:
    """
    A command has the limit of open files that this process was given, not one that it has
    raised for itself.
    """
    source = """
from threading import Event
from fal_core.workers import raise_open_files
from fal_uv.running.child_processes import run

raise_open_files(65536)
given = {"variables": {}, "directory": "/", "cancelled": Event()}
run(["/bin/sh", "-c", "ulimit -Sn"], on_line=print, **given)
"""
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -Sn 200 && exec "$@"', "sh", sys.executable, "-c", source],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "200\n"
