"""
The guard: the parent process of a worker that was not started by a keeper.

A worker that crashes cannot end the processes that it has started, and one that is stuck
in native code does not see the end of its stream. The guard waits for either and kills
what is left. It exits with the exit code of the worker, or with 128 plus the number of
the signal, as a shell does. If the memory limit of its control group has ended the worker,
the guard says so on standard error, with the most bytes that were in use.
"""

from __future__ import annotations

import os
import select
import signal
import time
from types import FrameType

from fal_core_worker import trees

#: Seconds that a worker has to exit by itself after its stream has ended.
_GRACE = 0.5
#: Seconds of them that one wait counts for at most: a suspended machine uses up no more.
_WAIT = 0.025
#: What it says then, and the bytes after it.
OUT_OF_MEMORY = "fal-core: the memory limit was reached, bytes:"
_ENDING = (signal.SIGTERM, signal.SIGHUP)
#: As many descriptors may be passed to a worker, its stream first.
_MOST_DESCRIPTORS = 16
#: POLLHUP, for both directions, is reported even if it was not asked for.
_HANG_UP = getattr(select, "POLLRDHUP", 0)


def become_guarded(stream: int = 0) -> None:
    """
    Continue in a child of this process, and guard it from here.

    Arguments:
        stream: The descriptor whose end is the end of the worker's stream.
    """
    trees.become_subreaper()
    # A signal before there are handlers would end the guard and leave the worker behind.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    guard = os.getpid()
    kills = _memory_kills()
    worker = os.fork()
    if not worker:
        trees.prepare_child()
        if os.getppid() != guard:
            os._exit(1)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    wake = _prepare_guard(stream)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    code = _wait(worker, wake, stream)
    if code == 128 + signal.SIGKILL:
        for group, count in _memory_kills().items():
            if count > kills.get(group, 0):
                os.write(2, f"{OUT_OF_MEMORY} {_memory_peak(group)}\n".encode())
                break
    trees.kill_descendants(os.getpid())
    os._exit(code)


def _prepare_guard(stream: int) -> int:
    """Install signal handlers. Return a descriptor that is readable when a child has ended."""
    # The launching process sees the stream end with the worker, not with the guard.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    if stream:
        # What follows was passed for the worker alone.
        os.closerange(stream + 1, stream + _MOST_DESCRIPTORS)
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


def _wait(worker: int, wake: int, stream: int) -> int:
    """Wait until *worker* has ended, or its grace is over. Return its exit code."""
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    # The end of the stream is seen without reading from it.
    poll.register(stream, _HANG_UP)
    left: float | None = None
    while (code := _reap(worker)) is None:
        if left is not None and left <= 0:
            return 128 + signal.SIGKILL
        began = time.monotonic()
        for descriptor, _ in poll.poll(None if left is None else _WAIT * 1000):
            if descriptor == wake:
                os.read(wake, 4096)
            else:
                poll.unregister(stream)
                left = _GRACE
        if left is not None:
            left -= min(time.monotonic() - began, _WAIT)
    return code


def _memory_kills() -> dict[str, int]:
    """
    Return how many processes the memory limits of control groups around this process have
    ended, the innermost group first, as far as that is told.
    """
    counts = {}
    for group in _memory_groups():
        for name in ("memory.events", "memory.oom_control"):
            words = _read(f"{group}/{name}").split()
            if "oom_kill" in words:
                counts[group] = int(words[words.index("oom_kill") + 1])
    return counts


def _memory_peak(group: str) -> int:
    """Return the most bytes that were in use in a control group; 0 where that is not told."""
    texts = (_read(f"{group}/{name}") for name in ("memory.peak", "memory.max_usage_in_bytes"))
    return max(int(text) if text.strip().isdigit() else 0 for text in texts)


def _memory_groups() -> list[str]:
    """Return the directories that may tell, of both versions of control groups."""
    found = []
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for group in (path.rstrip("/"), ""):
            # In a container the path may be that outside of it.
            if not controllers:
                found.append(f"/sys/fs/cgroup{group}")
            elif controllers == "memory":
                found.append(f"/sys/fs/cgroup/memory{group}")
    return found


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _reap(worker: int) -> int | None:
    """Reap ended children, inherited orphans too. Return the exit code of *worker*, if ended."""
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
