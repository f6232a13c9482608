"""The processes of this machine."""

from __future__ import annotations

import os
import subprocess
import sys

from fal_core.stores import processes


def test_running_process_is_seen() -> None:
    """A process is seen with its command line until it has ended."""
    assert processes.is_visible()
    command = [sys.executable, "-c", "print(); input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    line = b"\0".join(map(os.fsencode, command)) + b"\0"
    assert child.pid in processes.process_ids()
    assert processes.read_process(child.pid, "cmdline") == line
    assert line in processes.command_lines()
    child.communicate(b"\n", timeout=60)
    assert child.pid not in processes.process_ids()
    assert processes.read_process(child.pid, "cmdline") == b""
