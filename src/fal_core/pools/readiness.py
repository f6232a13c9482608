"""
Readiness: probing a service until it accepts connections or passes its health check.

Everything happens on the event thread, which never blocks: a request is sent once the
connection is open, and the response is read when it has arrived.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from math import inf
from time import monotonic

from fal_core.declaring import HealthCheckConfig
from fal_core.sinks import get_event_thread

#: Seconds between two probes: at first, and at most.
_FIRST, _MOST = 0.01, 0.25
#: Seconds between two checks whether a connection is open.
_LOOK = 0.005
#: Seconds that a response may take where the health check does not say.
_TIMEOUT = 5.0
#: Seconds between two probes of a ready service.
_REGULARLY = 5.0
#: Failures in a row after which a service is stopped, where the health check does not say.
_FAILURES = 3


class Probe:
    """
    One probe of a port: it succeeds if the port accepts a connection, or answers *request*
    with 2xx where there is one.

    Arguments:
        done: Called once on the event thread, with whether the probe succeeded.

        timeout: Seconds after which the probe has failed.

        address: The machine of the port; a name may take long to look up.
    """

    def __init__(
        self,
        port: int,
        done: Callable[[bool], None],
        request: bytes | None = None,
        timeout: float = _TIMEOUT,
        address: str = "127.0.0.1",
    ) -> None:
        self._report = done
        self._request = request
        self._got = b""
        self._done = False
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._timer = get_event_thread().after(timeout, lambda: self._end(False))
        try:
            self._socket.connect_ex((address, port))
        except OSError:
            # The name is unknown; a moment later it may not be.
            get_event_thread().after(0, lambda: self._end(False))
            return
        self._look()

    def fileno(self) -> int:
        return self._socket.fileno()

    def read_ready(self) -> bool:
        try:
            part = self._socket.recv(4096)
        except OSError:
            part = b""
        self._got += part
        line, end, _ = self._got.partition(b"\r\n")
        if part and not end and len(line) < 4096:
            return True
        status = line.split()[1:2] if line.startswith(b"HTTP/") else []
        self._end(bool(status) and status[0].startswith(b"2"))
        return False

    def _look(self) -> None:
        if self._done:
            return
        poll = select.poll()
        poll.register(self._socket, select.POLLOUT)
        if not poll.poll(0):
            get_event_thread().after(_LOOK, self._look)
        elif self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._end(False)
        elif self._request is None:
            self._end(True)
        else:
            try:
                self._socket.sendall(self._request)
            except OSError:
                self._end(False)
                return
            get_event_thread().follow(self)

    def _end(self, succeeded: bool) -> None:
        if not self._done:
            self._done = True
            get_event_thread().forget(self._timer)
            get_event_thread().unfollow(self)
            self._socket.close()
            self._report(succeeded)


class Watch:
    """
    Probes a service until it is ready, and regularly after that if its check says so.

    Arguments:
        check: The health check; None if an open port is enough.

        listens: Returns whether the service has opened its port.

        ready: Called once, when a probe succeeds.

        failed: Called when a ready service has failed too many probes in a row.

        address: The machine of the port.

        has_started: Whether the service has reported that it has started. If it is
            checked regularly, it has then failed as well if it does not become ready in
            the time that so many failures take.
    """

    def __init__(
        self,
        port: int,
        check: HealthCheckConfig | None,
        listens: Callable[[], bool],
        ready: Callable[[], None],
        failed: Callable[[], None],
        *,
        address: str = "127.0.0.1",
        has_started: bool = False,
    ) -> None:
        self._port = port
        self._address = address
        self._check = check
        self._listens = listens
        self._ready = ready
        self._failed = failed
        self._is_ready = False
        self._stopped = False
        self._failures = 0
        self._pause = _FIRST
        self._until = inf
        if has_started and check is not None and check.call_regularly:
            patience = (check.failure_threshold or _FAILURES) * _REGULARLY
            self._until = monotonic() + (check.start_period_seconds or 0) + patience

    def probe(self) -> None:
        """Probe the service, on the event thread."""
        if self._stopped:
            return
        if not self._listens():
            self._take(False)
            return
        check = self._check
        if check is None:
            Probe(self._port, self._take, address=self._address)
        else:
            timeout = check.timeout_seconds or _TIMEOUT
            Probe(self._port, self._take, _request(check), timeout, self._address)

    def stop(self) -> None:
        """Stop probing."""
        self._stopped = True

    def _take(self, succeeded: bool) -> None:
        if self._stopped:
            return
        if self._is_ready:
            self._count(succeeded)
        elif succeeded:
            self._is_ready = True
            self._ready()
            if self._check is not None and self._check.call_regularly:
                wait = self._check.start_period_seconds or 0
                get_event_thread().after(max(wait, _REGULARLY), self.probe)
        elif monotonic() > self._until:
            self._failed()
        else:
            get_event_thread().after(self._pause, self.probe)
            self._pause = min(_MOST, self._pause * 1.5)

    def _count(self, succeeded: bool) -> None:
        assert self._check is not None
        self._failures = 0 if succeeded else self._failures + 1
        if self._failures >= (self._check.failure_threshold or _FAILURES):
            self._failed()
        else:
            get_event_thread().after(_REGULARLY, self.probe)


def _request(check: HealthCheckConfig) -> bytes:
    """Return the HTTP request of *check*, as it is sent."""
    path = check.path if check.path.startswith("/") else f"/{check.path}"
    line = f"{(check.method or 'GET').upper()} {path} HTTP/1.1\r\n"
    rest = "Host: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    return (line + rest).encode()
