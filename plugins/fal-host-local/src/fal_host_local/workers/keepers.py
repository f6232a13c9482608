"""
The caller's side of the keeper: starts and kills workers, and reports how they ended.

A first call starts the keeper before anything else, so this module imports little:
``socket`` and ``signal`` of the standard library take half as long as starting an
interpreter.
"""

from __future__ import annotations

import _socket as socket
import marshal
import os
import select
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import fal_core_worker
from fal_core.workers import given_to_children
from fal_host_local.workers import keeper_process
from fal_host_local.workers.keeper_process import (
    BUSY,
    CONFINE,
    EXITED,
    HOLD,
    KILL,
    KILLS,
    LENGTH,
    PEAK,
    RESPONSE,
    SPENT,
    START,
)

#: Runs the module by itself: importing it from its package would import the core.
_SOURCE = "import sys; sys.path += {path!r}; from keeper_process import main; main()"

#: How many wait statuses are remembered; the same one may be asked for more than once.
_EXITS = 1024


class Keeper:
    """The keeper of this process: a child process that starts and kills its workers."""

    def __init__(self) -> None:
        self._control, theirs = socket.socketpair()
        path = [
            os.path.dirname(keeper_process.__file__),
            os.path.dirname(os.path.dirname(fal_core_worker.__file__)),
        ]
        source = _SOURCE.format(path=path)
        argv = given_to_children([sys.executable, "-I", "-S", "-c", source])
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0)]
        try:
            self._pid = os.posix_spawn(
                argv[0], argv, os.environ, file_actions=actions, setsid=True
            )
        except NotImplementedError:
            # The C library is too old for *setsid*.
            self._pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        theirs.close()
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._ending = threading.Lock()
        self._end = ""
        self._closed = False
        self._exits: dict[int, int] = {}
        self._used: dict[int, dict[int, int]] = {}
        # The directories in which workers have cgroups.
        self._groups: dict[int, list[str]] = {}
        self._rest = b""
        self._numbers = 0

    def start(
        self,
        argv: Sequence[str],
        variables: Mapping[str, str],
        directory: str,
        descriptors: Sequence[int],
        *,
        layout: Sequence[int] | None = None,
        stop_argv: Sequence[str] | None = None,
        held: Sequence[int] = (),
        confinement: Mapping[str, Any] | None = None,
    ) -> int:
        """
        Start a worker and return its number.

        Arguments:
            directory: Its working directory.

            descriptors: Those that it inherits some of.

            layout: Which of them it has as its descriptors from 0 on, by their positions in
                *descriptors*. None for the first as its standard streams, and the others
                from 3 on.

            stop_argv: A command that ends it where no signal does.

            held: Those that the keeper has open until the worker has ended.

            confinement: What it may use, as ``confinement`` takes it.

        Raises:
            OSError: The keeper was closed, or has ended.
        """
        with self._lock:
            self._numbers = number = self._numbers + 1
            if held:
                self._send((HOLD, number), held)
            if confinement is not None:
                self._groups[number] = [folder for folder, *_ in confinement["groups"]]
                self._send((CONFINE, number, dict(confinement)), ())
            if layout is None:
                layout = (0, 0, *range(len(descriptors)))
            stop = None if stop_argv is None else list(stop_argv)
            request = (
                *(START, number, list(argv), dict(variables), directory),
                *(list(layout), stop),
            )
            self._send(request, descriptors)
        return number

    def kill(self, number: int) -> bool:
        """
        Kill a worker and all its descendants. Return False if the keeper was closed, or has
        ended: its workers have been killed.
        """
        with self._lock:
            try:
                self._send((KILL, number), ())
            except OSError:
                return False
        return True

    def wait(self, number: int, timeout: float) -> int | None:
        """
        Wait for a worker to exit and return its wait status.

        None if it has not exited after *timeout* seconds, or the keeper was closed or has
        ended.
        """
        until = time.monotonic() + timeout
        descriptor = self._control.fileno()
        if descriptor < 0:
            return self._exits.get(number)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        while number not in self._exits:
            left = until - time.monotonic()
            if left <= 0:
                return None
            if not self._reading.acquire(timeout=min(left, 0.05)):
                continue
            try:
                if number in self._exits:
                    break
                if self._control.fileno() < 0:
                    return None
                if poll.poll(left * 1000) and not self._read():
                    return None
            finally:
                self._reading.release()
        return self._exits[number]

    def has_exited(self, number: int, timeout: float) -> bool:
        """
        Wait for a worker to exit, for *timeout* seconds; return whether it has, or the keeper
        has ended and killed it by that.
        """
        return self.wait(number, timeout) is not None or bool(self.end())

    def end(self) -> str:
        """
        Return how the keeper has ended, as a sentence; the first time, a line says so. Empty
        while it runs, and if it was closed.
        """
        with self._ending:
            if self._end or self._closed:
                return self._end
            poll = select.poll()
            # Without a mask it tells of the end alone.
            poll.register(self._control.fileno(), 0)
            is_broken = bool(poll.poll(0))
            status: int | None
            try:
                pid, status = os.waitpid(self._pid, 0 if is_broken else os.WNOHANG)
            except ChildProcessError:
                # This program waits for all its child processes itself.
                pid, status = self._pid, None
            if not pid:
                return ""
            self._end = _describe_end(status)
            with self._reading:
                self._control.close()
        _warn(f"{self._end} Another one takes its place.")
        return self._end

    def used(self, number: int) -> tuple[int, int, float]:
        """
        Return what a worker that is confined has used, once it has exited: the most bytes,
        how many of its processes were killed for that, and the seconds of processors. Of one
        that is not and has failed, only the first is known.
        """
        used = self._used.get(number, {})
        return used.get(PEAK, 0) << 10, used.get(KILLS, 0), used.get(SPENT, 0) / 1000

    def close(self) -> None:
        """Kill every worker, and stop the keeper."""
        with self._ending:
            self._closed = True
        try:
            self._control.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._control.close()
        if self._end:
            # Another process may have its number by now.
            return
        try:
            os.waitpid(self._pid, 0)
        except ChildProcessError:
            pass

    def abandon(self) -> None:
        """Release the keeper in a forked child; it belongs to the parent process."""
        self._closed = True
        self._control.close()

    def _send(self, request: tuple[Any, ...], descriptors: Sequence[int]) -> None:
        data = marshal.dumps(request, 2)
        message = LENGTH.pack(len(data)) + data
        rights = struct.pack(f"{len(descriptors)}i", *descriptors)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if descriptors else []
        sent = self._control.sendmsg([message], ancillary)
        if sent < len(message):
            self._control.sendall(message[sent:])

    def _read(self) -> bool:
        try:
            data = self._control.recv(4096)
        except OSError:
            # The keeper was closed meanwhile.
            return False
        if not data:
            return False
        data = self._rest + data
        whole = len(data) // RESPONSE.size * RESPONSE.size
        self._rest = data[whole:]
        for what, number, value in RESPONSE.iter_unpack(data[:whole]):
            if what in (PEAK, KILLS, SPENT):
                self._used.setdefault(number, {})[what] = value
            elif what == BUSY:
                self._say_busy(number, value)
            elif what == EXITED:
                self._exits[number] = value
                self._groups.pop(number, None)
                if len(self._exits) > _EXITS:
                    oldest = next(iter(self._exits))
                    del self._exits[oldest]
                    self._used.pop(oldest, None)
        return True

    def _say_busy(self, number: int, places: int) -> None:
        """Warn that some of the cgroups of worker *number* could not be removed."""
        # Slow to import.
        from fal_host_local.workers.confinement import group_name

        for place, folder in enumerate(self._groups.get(number, ())):
            if places >> place & 1:
                group = os.path.join(folder, group_name(self._pid, number))
                _warn(
                    f"The cgroup {group} of a worker that has ended is busy, and could not "
                    "be removed. A later call with limits tries again."
                )


def _describe_end(status: int | None) -> str:
    """Return how a keeper has ended, of its wait status if that is known."""
    # Slow to import.
    import signal

    how = "has ended"
    if status is not None:
        code = os.waitstatus_to_exitcode(status)
        if code < 0:
            known = {each.value: each.name for each in signal.Signals}
            how = f"was ended by {known.get(-code, f'signal {-code}')}"
        else:
            how = f"has exited with code {code}"
    return (
        f"The process that starts and ends the workers of this program {how}, and its workers "
        "have ended with it."
    )


def _warn(sentence: str) -> None:
    # Slow to import.
    from fal_core.events import Log
    from fal_core.sinks import print_log

    print_log(Log(sentence, "WARNING", "BRIDGE"))


def memory_kills(*, anywhere: bool, root: str = "") -> int:
    """
    Return how many processes the kernel has killed because memory ran out.

    Arguments:
        anywhere: Whether those of the whole machine count, as for a worker that runs in a
            control group of its own, which goes with it. Otherwise, and where that is told,
            those of the control group of this process alone, which its workers share.

        root: The directory in which the files of the kernel are, in place of ``/``.
    """
    counts = () if anywhere else _group_counts(root)
    # The kernel counts those of the whole machine there, regardless of the limit they reached.
    for path in (*counts, f"{root}/proc/vmstat"):
        for line in _read_lines(path):
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _group_counts(root: str) -> Iterator[str]:
    """Yield the files that may tell of the control group of this process, of both versions."""
    for line in _read_lines(f"{root}/proc/self/cgroup"):
        _, controllers, path = line.rstrip("\n").split(":", 2)
        # In a container the path may be that outside of it.
        for group in (path.rstrip("/"), ""):
            if not controllers:
                yield f"{root}/sys/fs/cgroup{group}/memory.events.local"
            elif "memory" in controllers.split(","):
                yield f"{root}/sys/fs/cgroup/{controllers}{group}/memory.oom_control"


def _read_lines(path: str) -> list[str]:
    try:
        with open(path) as file:
            return file.readlines()
    except OSError:
        return []
