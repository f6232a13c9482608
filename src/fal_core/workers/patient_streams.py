"""Streams to processes that do not read: the sender does not wait for them."""

from __future__ import annotations

# ``socket`` is slow to import.
import _socket
import os
import select
import stat
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from fal_core.sinks.event_thread import get_event_thread
from fal_core_worker.stream.streams import FrameStream, drop, views_of, write_all

#: Seconds for which a worker that has started may read nothing while somebody sends.
_PATIENCE = 0.5

#: Bytes that may be kept before who sends more has to wait.
_MOST_KEPT = 64 << 20

#: Seconds between two looks at whether the stream was closed.
_LOOK = 0.1

# Not every system has it in this module.
_DONT_WAIT = getattr(_socket, "MSG_DONTWAIT", 0)


class PatientStream(FrameStream):
    """
    A stream to a worker that may not have started, or may have been stopped.

    Until it is heard of, and where it reads nothing for long, frames that do not fit into the
    connection are kept, and sent by a thread in their order.
    """

    # Of a descriptor that is also read from, and has to go on to wait there.
    _connection: _socket.socket | None = None

    def __init__(self, reader: int, writer: int) -> None:
        super().__init__(reader, writer)
        self._room: select.poll = select.poll()
        self._room.register(writer, select.POLLOUT)
        if stat.S_ISSOCK(os.fstat(writer).st_mode):
            self._connection = _socket.socket(fileno=writer)
            # Regardless of the program's default timeout.
            self._connection.settimeout(None)
        self._try = self._try_pipe if self._connection is None else self._try_socket
        # Whether frames wait for the other end, and whether it was not heard of yet.
        self._held = self._unheard = False
        # What waits, in order, the part that is being sent included, and its bytes.
        self._kept: deque[bytes] = deque()
        self._kept_size = 0
        self._has_room = threading.Condition(self._lock)
        # What the thread writes to that sends it: the stream may be closed meanwhile, and
        # its descriptor's number given to a file.
        self._copy = -1

    def begin(self, data: bytes) -> None:
        """
        Send *data*, which comes before the first frame, to a process that starts.

        It is not waited for: what does not fit into the connection is sent by a thread, and
        so are frames until :meth:`heard` is called.

        Raises:
            OSError: The other end is gone.
        """
        with self._lock:
            self._held = self._unheard = True
            os.set_blocking(self.writer, False)
            try:
                sent = os.write(self.writer, data)
            except BlockingIOError:
                sent = 0
            finally:
                os.set_blocking(self.writer, True)
            if sent < len(data):
                self._keep(data[sent:])

    def heard(self) -> None:
        """Wait a moment for the other end from now on where it does not read: it has started."""
        with self._lock:
            self._unheard = False
            self._held = bool(self._kept)

    def wait_for_room(self) -> None:
        """
        Wait while much is kept for the other end, unless on the event thread.

        It is called before an answer is sent, of which the other end may ask for any number.
        Calls are few, and a thread that sends them may hold locks.
        """
        if self._kept_size <= _MOST_KEPT or get_event_thread().is_current_thread():
            return
        with self._lock:
            while self._kept_size > _MOST_KEPT and self.writer >= 0:
                self._has_room.wait(_LOOK)

    def _hold(self, data: bytes) -> None:
        """
        Send *data* to a process that starts, now or later; under the lock.

        Raises:
            BrokenPipeError: It is gone.
        """
        if self._kept:
            self._kept.append(data)
            self._kept_size += len(data)
            return
        state = dict(self._room.poll(0)).get(self.writer, 0)
        if state & (select.POLLERR | select.POLLHUP):
            raise BrokenPipeError("The other end is gone.")
        if state and len(data) <= select.PIPE_BUF:
            write_all(self.writer, [data])
        else:
            self._keep(data)

    def _keep(self, data: bytes) -> None:
        """Have a thread send *data* and what follows it; under the lock."""
        self._kept.append(data)
        self._kept_size = len(data)
        self._copy = os.dup(self.writer)
        threading.Thread(target=self._send_kept, name="fal-core start", daemon=True).start()

    def abandon(self) -> None:
        """Close the stream in a forked child, which has no thread that sends."""
        self.close()
        self._close_copy()

    def _close_copy(self) -> None:
        copy, self._copy = self._copy, -1
        if copy >= 0:
            os.close(copy)

    def _send_kept(self) -> None:
        """Send what is kept, until nothing is or the stream or its other end is gone."""
        data: bytes | None = None
        try:
            while (data := self._next_kept(data)) is not None:
                # No lock is held: this may take as long as the other end takes to start.
                write_all(self._copy, [data])
        except OSError:
            with self._lock:
                self._unheard = False
                self._keep_nothing()

    def _next_kept(self, sent: bytes | None) -> bytes | None:
        with self._lock:
            if sent is not None:
                self._kept_size -= len(self._kept.popleft())
                self._has_room.notify_all()
            if self._kept and self.writer >= 0:
                return self._kept[0]
            self._keep_nothing()
            return None

    def _keep_nothing(self) -> None:
        """Send frames at once from now on; under the lock."""
        self._kept.clear()
        self._kept_size = 0
        self._has_room.notify_all()
        self._held = self._unheard
        self._close_copy()

    def _try_socket(self, message: bytes) -> int:
        """Write what fits of a small message, and return how much that is; under the lock."""
        if self._held:
            return 0
        try:
            # Where there is none, a pipe is tried.
            return self._connection.send(message, _DONT_WAIT)  # type: ignore[union-attr]
        except BlockingIOError:
            return 0

    def _try_pipe(self, message: bytes) -> int:
        # A pipe that has room has as much of it.
        if self._held or len(message) > select.PIPE_BUF or not self._room.poll(0):
            return 0
        return os.write(self.writer, message)

    def _write(self, parts: Iterable[Any]) -> None:
        if self._held:
            # Buffers may change once this has returned.
            self._hold(b"".join(parts))
            return
        views = views_of(parts)
        while views:
            count = self._write_some(views[:64])
            if not (count or self._room.poll(_PATIENCE * 1000)):
                # The sender can end it meanwhile, as when the time of a call is up.
                self._held = True
                self._keep(b"".join(views))
                return
            drop(views, count)

    def _write_some(self, views: list[memoryview]) -> int:
        """Write what fits into the connection, and return how much that is."""
        try:
            if self._connection is not None:
                return self._connection.sendmsg(views, (), _DONT_WAIT)
            os.set_blocking(self.writer, False)
            return os.writev(self.writer, views)
        except BlockingIOError:
            return 0
        finally:
            if self._connection is None:
                os.set_blocking(self.writer, True)

    def close(self) -> None:
        self._let_go()
        super().close()

    def _let_go(self) -> None:
        # The descriptor is that of the stream alone.
        if self._connection is not None:
            self._connection.detach()

    __del__ = _let_go
