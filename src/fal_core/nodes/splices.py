"""
Splices: two connections that are one.

All splices of a process share one thread, which wakes once for many that have something to
pass on: requests come in bursts, and a thread of its own for each direction would cost a busy
node more than the passing on.
"""

from __future__ import annotations

import os
import select
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from fal_core.nodes.local_sockets import hand_over

#: Bytes that are passed on at once.
_PART = 1 << 18
#: Seconds between two looks whether a port is open.
_PAUSE = 0.02


class Direction:
    """
    One direction of a splice.

    Attributes:
        held: What the target had no room for. Nothing more is read until it has.

        is_over: Whether the source has ended, and the target was told.
    """

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source: socket.socket = source
        self.target: socket.socket = target
        self.held: memoryview = memoryview(b"")
        self.is_over: bool = False

    def pass_on(self) -> bool:
        """Pass on what there is, and return whether the splice goes on."""
        try:
            if not self.held:
                part = self.source.recv(_PART)
                if not part:
                    self.is_over = True
                    self.target.shutdown(socket.SHUT_WR)
                    return True
                self.held = memoryview(part)
            self.held = self.held[self.target.send(self.held) :]
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


class Splicer:
    """The thread of all splices."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._new: list[tuple[socket.socket, socket.socket, threading.Event]] = []
        self._lock = threading.Lock()
        #: The direction out of each socket, and what is set at the end of its splice.
        self._out: dict[socket.socket, Direction] = {}
        self._ends: dict[socket.socket, threading.Event] = {}
        self._selector.register(self._woken, selectors.EVENT_READ)
        threading.Thread(target=self._run, name="fal-core splices", daemon=True).start()

    def add(self, one: socket.socket, other: socket.socket) -> threading.Event:
        """
        Pass bytes between two connections until both have ended, and close them. Return an
        event that is set then.
        """
        ended = threading.Event()
        with self._lock:
            self._new.append((one, other, ended))
        self._waker.send(b"+")
        return ended

    def _run(self) -> None:
        while True:
            for key, ready in self._selector.select():
                if key.fileobj is self._woken:
                    self._take_new()
                    continue
                found = key.fileobj
                assert isinstance(found, socket.socket)
                # Another event of this round may have ended it.
                if found in self._out:
                    self._serve(found, ready)

    def _take_new(self) -> None:
        with suppress(BlockingIOError):
            self._woken.recv(4096)
        with self._lock:
            new, self._new = self._new, []
        for one, other, ended in new:
            for source, target in ((one, other), (other, one)):
                source.setblocking(False)
                self._out[source] = Direction(source, target)
                self._ends[source] = ended
                self._selector.register(source, selectors.EVENT_READ)

    def _serve(self, found: socket.socket, ready: int) -> None:
        own = self._out[found]
        back = self._out[own.target]
        goes_on = True
        if ready & selectors.EVENT_READ and not own.held and not own.is_over:
            goes_on = own.pass_on()
        if goes_on and ready & selectors.EVENT_WRITE and back.held:
            goes_on = back.pass_on()
        if goes_on and not (own.is_over and back.is_over):
            self._watch(own, back)
            self._watch(back, own)
        else:
            self._end(found, own.target)

    def _watch(self, own: Direction, back: Direction) -> None:
        """
        Look for what the source of *own* is watched for: it is read unless what came before is
        held, and written to if the other direction holds something.
        """
        wanted = 0 if own.held or own.is_over else selectors.EVENT_READ
        if back.held:
            wanted |= selectors.EVENT_WRITE
        known = self._selector.get_map().get(own.source)
        if known is None:
            if wanted:
                self._selector.register(own.source, wanted)
        elif not wanted:
            self._selector.unregister(own.source)
        elif known.events != wanted:
            self._selector.modify(own.source, wanted)

    def _end(self, *both: socket.socket) -> None:
        for each in both:
            with suppress(KeyError):
                self._selector.unregister(each)
            self._out.pop(each, None)
            self._ends.pop(each).set()
            each.close()


_making = threading.Lock()
_splicer: Splicer | None = None


def join(one: socket.socket, other: socket.socket) -> threading.Event:
    """
    Pass bytes between two connections until both have ended, and close them. Return at once
    an event that is set then.
    """
    global _splicer
    with _making:
        if _splicer is None:
            _splicer = Splicer()
    return _splicer.add(one, other)


def lead_to_port(connection: socket.socket, purpose: bytes, name: str) -> bool:
    """
    Use a connection whose purpose is ``forward PORT`` or ``await PORT``, in the background;
    return False where it is another one.

    Arguments:
        name: What a service takes connections by.
    """
    what, _, port = purpose.partition(b" ")
    if what not in (b"forward", b"await") or not port.isdigit():
        return False
    if what == b"forward":
        lead: Callable[[], None] = partial(forward, connection, name, int(port))
    else:
        lead = partial(await_port, connection, int(port))
    threading.Thread(target=lead, daemon=True).start()
    return True


def forward(connection: socket.socket, name: str, port: int) -> None:
    """
    Lead *connection* to the service at a port of the loopback address: give it to the service
    where that takes connections, and pass bytes between both in the background otherwise.

    Arguments:
        name: What the service takes connections by.
    """
    if hand_over(connection, name, port):
        return
    try:
        service = socket.create_connection(("127.0.0.1", port), timeout=10)
    except OSError:
        connection.close()
        return
    service.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    join(connection, service)


def await_port(connection: socket.socket, port: int) -> None:
    """
    Wait until something listens at a port of the loopback address, and send a ``+``; or until
    nobody waits at the other end of *connection*.
    """
    # A node has more descriptors than 'select' can take.
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    with connection, suppress(OSError):
        while not poll.poll(_PAUSE * 1000):
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=10):
                connection.sendall(b"+")
                return


def _forget_splicer() -> None:
    """Have no splice of a forked child wait for a thread of its parent process."""
    global _making, _splicer
    _making, _splicer = threading.Lock(), None


os.register_at_fork(after_in_child=_forget_splicer)
