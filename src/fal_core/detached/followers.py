"""Followers: detached work as a process sees it that has attached to it."""

from __future__ import annotations

import socket
import sys
import threading
from abc import abstractmethod
from contextlib import suppress

from fal_core.abilities import limit_of
from fal_core.calling import LateExecution
from fal_core.events import Credit, Event, Exited, Message, Sink
from fal_core.sinks import JournalReader
from fal_core_worker.stream import frames
from fal_core_worker.stream.frames import HEADER, pack_buffers, pack_frame

#: Bytes that are received at once.
_PART = 1 << 16

#: Bytes of a record beside the value that an event carries.
_TEXT = 1 << 21

#: Seconds for which a request waits until there is somebody to send it to.
_PATIENCE = 20.0


class FollowedExecution(LateExecution):
    """
    Detached work, as one process sees it. Its inner execution is the supervisor's.

    Its methods return once the supervisor has been sent the request, so that this process
    may exit right after.

    Arguments:
        after: How many of its events have been reported before.

    Attributes:
        after: How many of its events have been reported.

        received: How many bytes its supervisors have sent.

        largest: The largest record that is read, in bytes.
    """

    def __init__(self, reference: str, sink: Sink, after: int = 0) -> None:
        super().__init__(reference)
        self.sink: Sink = sink
        self.after: int = after
        self.received: int = 0
        limit = limit_of(sink)
        # A record has a text beside the value.
        self.largest: int = sys.maxsize if limit is None else limit + _TEXT

    def begin(self) -> None:
        """Follow the work in a thread."""
        threading.Thread(target=self.follow, name="fal-core detached", daemon=True).start()

    @abstractmethod
    def follow(self) -> None:
        """Report the work to its end, over one connection after the other."""

    def report(self, event: Event) -> None:
        """Give *event* to the sink."""
        self.sink(event)

    def send(self, message: Message) -> None:
        super().send(message)
        self.wait_until_settled(_PATIENCE)

    def drain(self) -> None:
        super().drain()
        self.wait_until_settled(_PATIENCE)

    def cancel(self, grace: float) -> None:
        super().cancel(grace)
        self.wait_until_settled(_PATIENCE)

    def follow_supervisor(self, connection: socket.socket) -> bool:
        """
        Report what a supervisor sends, and return whether the work has ended.

        Raises:
            UnreadableRecord: It sends what is no event.
        """
        # Sent before all requests. A supervisor that has exited since it was found is
        # noticed when its events are read.
        with suppress(OSError):
            connection.sendall(self.after.to_bytes(8, "little"))
        self.settle(SupervisedExecution(self.reference, connection))
        reader, start = JournalReader(self.largest), self.after
        with connection:
            while chunk := _receive(connection):
                self.received += len(chunk)
                for event in reader.feed(chunk):
                    self.after = start + reader.number
                    self.report(event)
                    if isinstance(event, Exited):
                        return True
        return False


class SupervisedExecution:
    """The execution at the other end of the connection to a supervisor."""

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
        return connection.recv(_PART)
    except OSError:
        return b""
