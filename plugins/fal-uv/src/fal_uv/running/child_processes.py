"""Child processes of a build, which end when the build ends, is cancelled or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from threading import Event

from fal_core.stores import read_lines
from fal_core.workers import given_to_children
from fal_uv.running import uv_cache

#: Seconds between two looks at whether a child process has ended.
_PATIENCE = 0.05

# A shell between this process and the command. A second process in its group reads from
# our pipe, which closes when this process ends, however it ends; then it kills the whole
# group. No signal of the system does the same for processes that the command has started.
_WATCH = """\
exec 3<&0 </dev/null
{ read -r _ <&3; kill -KILL 0; } >/dev/null 2>&1 &
"$@" 3<&-
code=$?
{ kill $!; wait $!; } 2>/dev/null
exit $code
"""


def run(
    command: Sequence[str],
    *,
    variables: Mapping[str, str],
    directory: str,
    on_line: Callable[[str], None],
    cancelled: Event,
    inherited: Sequence[int] = (),
) -> int:
    """
    Run *command*, pass each line of its output to *on_line*, and return its exit code.

    The process group of the command is killed when this call ends, or this process does.
    If the command does not end by itself, its leftovers in uv's cache are removed.

    Arguments:
        inherited: Descriptors that the command and its child processes inherit; each is
            at least 10, because shells use those below.

    Raises:
        Cancelled: *cancelled* was set, or this process ends.
    """
    began = time.time()
    process = subprocess.Popen(
        given_to_children(["/bin/sh", "-c", _WATCH, "sh", *command]),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=variables,
        cwd=directory,
        start_new_session=True,
        pass_fds=inherited,
    )
    try:
        assert process.stdout is not None
        for _, line in read_lines(
            process.stdout.fileno(),
            cancelled=cancelled,
            has_ended=lambda: _has_ended(process),
        ):
            on_line(line)
        pause = 0.0005
        while not _has_ended(process):
            time.sleep(pause)
            pause = min(pause * 2, _PATIENCE)
    except BaseException:
        leftovers = uv_cache.builds_of_session(process.pid)
        _end(process)
        for path in leftovers | uv_cache.builds_since(began):
            uv_cache.remove(path)
        raise
    _end(process)
    return process.returncode


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """
    Tell whether *process* has ended, without reaping it where the system allows that.

    Until it is reaped, no other process gets its id.
    """
    if hasattr(os, "waitid"):
        options = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, process.pid, options) is not None
    return process.poll() is not None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process group of *process*, which has not been reaped yet, and reap it."""
    if process.returncode is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()
