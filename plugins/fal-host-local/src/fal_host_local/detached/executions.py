"""
Launching detached work, and attaching to it.

A supervisor runs the call in a process of its own. Whoever attaches is sent the events in
the journal first, and then each event as it happens.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from fal_core.calling import LateExecution
from fal_core.calls import Call
from fal_core.events import Credit, Exited, Message, Sink
from fal_core.facts import with_facts
from fal_core.open_files import given_to_children
from fal_core.sinks import JournalReader, read_journal
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import HEADER, pack_buffers, pack_frame
from fal_host_local.detached.records import (
    LOST,
    PATIENCE,
    connect,
    create_record,
    find_record,
    is_supervised,
    remove_old_records,
)

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
from fal_host_local.detached.supervisors import supervise
from fal_host_local.hosts import LocalHost
supervise(sys.argv[1], LocalHost)
"""


def launch_detached(call: Call, sink: Sink) -> DetachedExecution:
    """
    Start *call* under a supervisor of its own, and report it to *sink*.

    Raises:
        HostError: Its record cannot be written.
    """
    remove_old_records()
    directory = create_record(call)
    source = _SUPERVISE.format(path=[entry or os.getcwd() for entry in sys.path])
    argv = given_to_children(
        [sys.executable, "-I", "-S", "-c", _SOURCE, source, str(directory)]
    )
    # The supervisor outlives this process, and inherits none of its standard streams.
    null = os.open(os.devnull, os.O_RDWR)
    errors = os.open(directory / "errors", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        targets = ((null, 0), (null, 1), (errors, 2))
        actions = [(os.POSIX_SPAWN_DUP2, descriptor, number) for descriptor, number in targets]
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


class DetachedExecution(LateExecution):
    """
    Detached work, as one process sees it. Its inner execution is the supervisor's.

    Its methods return once the supervisor has been sent the request, so that this process
    may exit right after.
    """

    def __init__(self, reference: str, directory: Path, sink: Sink, after: int = 0) -> None:
        super().__init__(reference)
        self._directory = directory
        self._sink = sink
        self._after = after
        threading.Thread(target=self._follow, name="fal-core detached", daemon=True).start()

    def send(self, message: Message) -> None:
        super().send(message)
        self.wait_until_settled(PATIENCE)

    def drain(self) -> None:
        super().drain()
        self.wait_until_settled(PATIENCE)

    def cancel(self, grace: float) -> None:
        super().cancel(grace)
        self.wait_until_settled(PATIENCE)

    def _follow(self) -> None:
        ended = self._follow_supervisor() or self._replay()
        if not ended:
            self._sink(Exited(reason=with_facts(LOST)))

    def _follow_supervisor(self) -> bool:
        connection = self._wait_for_supervisor()
        if connection is None:
            self.settle(None)
            return False
        # Sent before all requests. A supervisor that has exited since it was found is
        # noticed when its events are read.
        with suppress(OSError):
            connection.sendall(self._after.to_bytes(8, "little"))
        self.settle(SupervisedExecution(self.reference, connection))
        reader = JournalReader()
        with connection:
            while chunk := _receive(connection):
                for event in reader.feed(chunk):
                    self._after += 1
                    self._sink(event)
                    if isinstance(event, Exited):
                        return True
        return False

    def _wait_for_supervisor(self) -> socket.socket | None:
        while True:
            try:
                return connect(self._directory)
            except OSError:
                if not is_supervised(self._directory):
                    return None
                time.sleep(0.02)

    def _replay(self) -> bool:
        event: Any = None
        try:
            for event in read_journal(self._directory / "journal", self._after):
                self._sink(event)
        except OSError:
            return False
        return isinstance(event, Exited)


class SupervisedExecution:
    """
    The execution at the other end of the connection to a supervisor.
    """

    def __init__(self, reference: str, connection: socket.socket) -> None:
        self._reference = reference
        self._connection = connection

    @property
    def reference(self) -> str:
        return self._reference

    def send(self, message: Message) -> None:
        if isinstance(message, Credit):
            self._send(pack_frame(frames.CREDIT, a=message.count))
            return
        data, buffers = message.sealed
        if buffers:
            data = b"".join(map(bytes, pack_buffers(data, buffers, None)))
        numbers = (0, message.number, int(message.raised), len(data))
        header = HEADER.pack(frames.HOME_RESULT, frames.VERSION, len(buffers), *numbers)
        self._send(header + data)

    def drain(self) -> None:
        self._send(pack_frame(frames.DRAIN))

    def cancel(self, grace: float) -> None:
        self._send(pack_frame(frames.CANCEL, a=int(grace * 1000)))

    def _send(self, message: bytes) -> None:
        # A supervisor that has exited is noticed when its events are read.
        with suppress(OSError):
            self._connection.sendall(message)


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 16)
    except ConnectionError:
        return b""
