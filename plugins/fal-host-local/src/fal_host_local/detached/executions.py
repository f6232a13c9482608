"""
Launching detached work, and attaching to it.

A supervisor runs the call in a process of its own. A process that attaches is sent the events
in the journal first, and then each event as it happens.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from fal_core.abilities import limit_of
from fal_core.calls import Call
from fal_core.claims import Claim, describe_claim
from fal_core.detached import LOST, FollowedExecution, SupervisedExecution, read_status
from fal_core.errors import HostError, WorkerLost
from fal_core.events import Exited, Sink
from fal_core.facts import with_facts
from fal_core.sinks import UnreadableRecord, read_journal
from fal_core.workers import given_to_children
from fal_host_local.detached.records import (
    NO_SUPERVISOR,
    connect,
    create_record,
    find_record,
    is_supervised,
    remove_old_records,
)
from fal_host_local.options import Terms

#: Bytes that are received at once.
_PART = 1 << 16

#: Seconds between two attempts to reach a supervisor, and between two that failed one after
#: the other, after how many of which no more are made.
_PAUSE, _LONGEST_PAUSE, _TRIES = 0.02, 1.0, 25

#: A number of events that no journal has.
_EVERYTHING = 1 << 32

#: Seconds that a supervisor may take to end work whose events cannot be read.
_PATIENCE_AT_END = 10.0

_UNFOLLOWED = "It was ended because every connection to its supervisor broke."

_UNREADABLE = "It was ended because its journal cannot be read"

_SOURCE = """\
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
os.execv(sys.executable, [sys.executable, "-c", sys.argv[1], *sys.argv[2:]])
"""
_SUPERVISE = """\
import sys
sys.path[:] = {path!r}
from fal_host_local.detached.supervision import supervise
from fal_host_local.hosts import LocalHost
supervise(sys.argv[1], lambda: LocalHost(**{terms!r}), {claim!r})
"""


class SilentSupervisor(HostError):
    """Detached work goes on, but cannot be followed now."""

    def __init__(self, reference: str) -> None:
        super().__init__(reference)
        self.reference = reference

    def __str__(self) -> str:
        return (
            f"Detached work {self.reference!r} cannot be followed: its supervisor runs, but "
            "every connection to it broke, or one of the two processes has too many open "
            f"files. Run 'fal-core executions attach {self.reference}' to follow it again."
        )


def launch_detached(
    call: Call, sink: Sink, terms: Terms, claim: Claim | None = None
) -> DetachedExecution:
    """
    Start *call* under a supervisor of its own, and report it to *sink*.

    Arguments:
        claim: The devices that it is to have, which the supervisor takes over. None for
            those that the supervisor claims itself.

    Raises:
        HostError: Its record cannot be written.
    """
    remove_old_records()
    directory = create_record(call, limit_of(sink))
    source = _SUPERVISE.format(
        path=[entry or os.getcwd() for entry in sys.path],
        terms=attrs.asdict(terms),
        claim=None if claim is None else describe_claim(claim),
    )
    argv = given_to_children(
        [sys.executable, "-I", "-S", "-c", _SOURCE, source, str(directory)]
    )
    # The supervisor outlives this process, and inherits none of its standard streams.
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(directory / "errors", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        targets = ((null, 0), (null, 1), (errors, 2))
        held = () if claim is None else claim.descriptors
        pairs = (*targets, *((lock, lock) for lock in held))
        actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for descriptor, number in pairs]
        pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=actions)
        os.waitpid(pid, 0)
    finally:
        os.close(null)
        os.close(errors)
    return DetachedExecution(call.id, directory, sink)


def attach(reference: str, sink: Sink, after: int) -> DetachedExecution:
    """
    Report detached work to *sink*, from its event number *after* on.

    Raises:
        NoSuchExecution: No work has that reference.
    """
    return DetachedExecution(reference, find_record(reference), sink, after)


class DetachedExecution(FollowedExecution):
    """Detached work of this machine, as one process sees it."""

    def __init__(self, reference: str, directory: Path, sink: Sink, after: int = 0) -> None:
        super().__init__(reference, sink, after)
        self._directory = directory
        self.begin()

    def follow(self) -> None:
        lost: HostError = with_facts(LOST)
        try:
            ended, is_running = self._follow_supervisors()
            if self.inner is None:
                self.settle(None)
            ended = ended or self._replay()
            if is_running and not ended:
                lost = self._lose()
        except UnreadableRecord as error:
            ended, lost = False, WorkerLost(detail=f"{_UNREADABLE}: {error}.")
            self._end_supervisor()
        if not ended:
            self.report(Exited(reason=lost))

    def _lose(self) -> HostError:
        """
        Return the end of work whose supervisor runs, but lets nobody follow it.

        That of a program is ended, since the program replaces it.
        """
        if not (read_status(self._directory) or {}).get("owner"):
            return SilentSupervisor(self.reference)
        with suppress(OSError), connect(self._directory) as connection:
            _kill_listener(connection)
        return WorkerLost(detail=_UNFOLLOWED)

    def _follow_supervisors(self) -> tuple[bool, bool]:
        """
        Report what the supervisor sends, over one connection after the other. Return whether
        the work has ended, and else whether its supervisor still runs.

        Raises:
            UnreadableRecord: It sends what is no event.
        """
        failures = 0
        while failures < _TRIES:
            before, connection = self.received, self._connect()
            if connection is not None and self.follow_supervisor(connection):
                return True, False
            # A process that takes the events too slowly is cut off and connects again, as does
            # one that connected when the supervisor could open no file.
            failures = 0 if self.received > before else failures + 1
            if failures and not is_supervised(self._directory):
                return False, False
            time.sleep(min(_PAUSE * (1 << failures), _LONGEST_PAUSE))
        return False, True

    def _connect(self) -> socket.socket | None:
        """
        Connect to the supervisor, once it listens. None where it has ended, or where this
        process can open no connection.
        """
        while True:
            try:
                return connect(self._directory)
            except NO_SUPERVISOR:
                if not is_supervised(self._directory):
                    return None
                time.sleep(_PAUSE)
            except OSError:
                return None

    def _end_supervisor(self) -> None:
        """
        End the work, and return once its supervisor has ended: nothing is known of it but
        that it runs.
        """
        with suppress(OSError), connect(self._directory) as connection:
            connection.settimeout(_PATIENCE_AT_END)
            until = time.monotonic() + _PATIENCE_AT_END
            try:
                connection.sendall(_EVERYTHING.to_bytes(8, "little"))
                SupervisedExecution(self.reference, connection).cancel(0)
                # What else it reports is not understood.
                while connection.recv(_PART):
                    if time.monotonic() > until:
                        raise TimeoutError
            except TimeoutError:
                _kill_listener(connection)

    def _replay(self) -> bool:
        event: Any = None
        try:
            journal = self._directory / "journal"
            for event in read_journal(journal, self.after, self.largest):
                self.report(event)
        except OSError:
            return False
        return isinstance(event, Exited)


def _kill_listener(connection: socket.socket) -> None:
    """Kill the process at the other end of *connection*, regardless of what it is by now."""
    if hasattr(socket, "SO_PEERCRED"):
        size = struct.calcsize("iII")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        with suppress(OSError):
            os.kill(struct.unpack("iII", credentials)[0], signal.SIGKILL)
