"""
The processes of this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys

from fal_uv.running import running_processes


def test_running_process_is_seen() -> None:
    """
    A process is seen with its command line until it has ended.
    """
    assert running_processes.is_visible()
    command = [sys.executable, "-c", "print(); input()"]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    line = b"\0".join(map(os.fsencode, command)) + b"\0"
    assert child.pid in running_processes.process_ids()
    assert running_processes.read_process(child.pid, "cmdline") == line
    assert line in running_processes.command_lines()
    child.communicate(b"\n", timeout=60)
    assert child.pid not in running_processes.process_ids()
    assert running_processes.read_process(child.pid, "cmdline") == b""
