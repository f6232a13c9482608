"""
The guard: the process above a worker where no keeper started it.

A worker that is lost cannot end what it has started, and one that native code
holds up does not see its stream end. The guard waits for either, ends what is
left, and then ends as the worker did: with its exit code, or with 128 and the
number of the signal, as a shell tells it.
"""

from __future__ import annotations

import os
import select
import signal
import time
from types import FrameType

from fal_core_worker import trees

#: Seconds that a worker has to end of its own accord when its stream has ended.
_GRACE = 0.5
#: The most that one wait takes of them: a machine that stands still does not take them all.
_WAIT = 0.025
_ENDING = (signal.SIGTERM, signal.SIGHUP)
#: A hang-up of both directions is told unasked.
_HANG_UP = getattr(select, "POLLRDHUP", 0)


def become_guarded() -> None:
    """
    Go on in a child of this process, and guard it from here.
    """
    trees.become_subreaper()
    # A guard that ends before it has handlers would end the worker alone.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    guard = os.getpid()
    worker = os.fork()
    if not worker:
        trees.prepare_child()
        if os.getppid() != guard:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    wake = _prepare_guard()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = _wait(worker, wake)
    trees.kill_descendants(os.getpid())
    os._exit(code)


def _prepare_guard() -> int:
    """
    Take signals from now on; return the descriptor that tells of ended children.
    """
    # The other end sees the end of the worker, not that of its guard.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    wake, writer = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in _ENDING:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return wake


def _wait(worker: int, wake: int) -> int:
    """
    Return the exit code of *worker* once it has ended, or had the time to.
    """
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    # The end of the stream is told without reading from it.
    poll.register(0, _HANG_UP)
    left: float | None = None
    while (code := _reap(worker)) is None:
        if left is not None and left <= 0:
            return 128 + signal.SIGKILL
        began = time.monotonic()
        for descriptor, _ in poll.poll(None if left is None else _WAIT * 1000):
            if descriptor == wake:
                os.read(wake, 4096)
            else:
                poll.unregister(0)
                left = _GRACE
        if left is not None:
            left -= min(time.monotonic() - began, _WAIT)
    return code


def _reap(worker: int) -> int | None:
    """
    Reap what has ended, inherited orphans too; return the code of *worker* if it has.
    """
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == worker:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code
        if not pid:
            return None


def _end(number: int, frame: FrameType | None) -> None:
    trees.kill_descendants(os.getpid())
    os._exit(128 + number)
