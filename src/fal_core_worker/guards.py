"""
The guard: the process above a worker where no keeper started it.

A worker that is lost cannot end what it has started. The guard waits for its
end, ends what is left, and then ends as the worker did: with its exit code, or
with 128 and the number of the signal, as a shell tells it.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

from fal_core_worker import trees


def become_guarded() -> None:
    """
    Go on in a child of this process, and guard it from here.
    """
    trees.become_subreaper()
    worker = os.fork()
    if not worker:
        trees.prepare_child()
        return
    _let_go_of_stream()
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    status = 0
    pid = 0
    while pid != worker:
        # Orphans are inherited, and reaped as they end.
        pid, status = os.waitpid(-1, 0)
    trees.kill_descendants(os.getpid())
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def _let_go_of_stream() -> None:
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1):
        os.dup2(null, descriptor)
    os.close(null)


def _end(number: int, frame: FrameType | None) -> None:
    trees.kill_descendants(os.getpid())
    os._exit(128 + number)
