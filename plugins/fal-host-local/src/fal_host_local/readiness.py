"""
Readiness: asking a service whether it answers, and whether it is well.

All of it happens on the reader's thread, which never waits: a question is sent
when the connection stands, and its answer read when it has come.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping
from math import inf
from time import monotonic
from typing import Any

import attrs

from fal_core.errors import OptionError
from fal_core.sinks.event_thread import get_reader

#: Seconds between two questions: the first, and the most.
_FIRST, _MOST = 0.01, 0.25
#: Seconds between two looks at a connection that is not there yet.
_LOOK = 0.005
_TIMEOUT = 5.0
#: Seconds between two questions to a service that is asked regularly.
_REGULARLY = 5.0
_FAILURES = 3


@attrs.frozen(kw_only=True)
class HealthCheck:
    """
    How a service is asked for its health. What is not said has a default.

    Attributes:
        path: What is asked for.

        timeout_seconds: How long an answer may take.

        start_period_seconds: How long after the first answer failures do not count.

        failure_threshold: After how many failures in a row the service is ended.

        call_regularly: Whether it is asked again once it is ready.
    """

    path: str
    method: str | None = None
    timeout_seconds: float | None = None
    start_period_seconds: float | None = None
    failure_threshold: int | None = None
    call_regularly: bool | None = None

    @classmethod
    def read(cls, config: Any) -> HealthCheck | None:
        """
        Return what ``health_check_config`` says: a mapping, or an object like this.

        Raises:
            OptionError: It has no path, or an entry that is not known.
        """
        if config is None:
            return None
        names = [field.name for field in attrs.fields(cls)]
        if isinstance(config, Mapping):
            unknown = [name for name in config if name not in names]
            if unknown:
                raise OptionError(
                    f"Option 'health_check_config' has no {unknown[0]!r}. "
                    f"It may have {', '.join(names)}."
                )
            said = dict(config)
        else:
            said = {name: getattr(config, name, None) for name in names}
        if not isinstance(said.get("path"), str):
            raise OptionError("Option 'health_check_config' needs a 'path', as in '/health'.")
        return cls(**said)

    @property
    def request(self) -> bytes:
        """
        The question, as it is sent.
        """
        path = self.path if self.path.startswith("/") else f"/{self.path}"
        line = f"{(self.method or 'GET').upper()} {path} HTTP/1.1\r\n"
        rest = "Host: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        return (line + rest).encode()


class Question:
    """
    One question to a port: whether it answers, or answers *request* with 2xx.

    Arguments:
        answered: Called once with the answer, on the reader's thread.
    """

    def __init__(
        self,
        port: int,
        answered: Callable[[bool], None],
        request: bytes | None = None,
        timeout: float = _TIMEOUT,
    ) -> None:
        self._answered = answered
        self._request = request
        self._got = b""
        self._done = False
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._timer = get_reader().after(timeout, lambda: self._end(False))
        self._socket.connect_ex(("127.0.0.1", port))
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
            get_reader().after(_LOOK, self._look)
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
            get_reader().follow(self)

    def _end(self, answer: bool) -> None:
        if not self._done:
            self._done = True
            get_reader().forget(self._timer)
            get_reader().unfollow(self)
            self._socket.close()
            self._answered(answer)


class Watch:
    """
    Asks a service until it answers, and regularly after that where it is wanted.

    Arguments:
        listens: Tells whether the service has opened its port.

        ready: Called once, when the service answers.

        failed: Called when it has answered wrongly too often, once it was ready.

        has_started: Whether the service has said itself that it has started. If it is
            asked regularly, it then has failed too if it is not ready in the time that
            so many failures take.
    """

    def __init__(
        self,
        port: int,
        check: HealthCheck | None,
        listens: Callable[[], bool],
        ready: Callable[[], None],
        failed: Callable[[], None],
        *,
        has_started: bool = False,
    ) -> None:
        self._port = port
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

    def ask(self) -> None:
        """
        Ask, on the reader's thread.
        """
        if self._stopped:
            return
        if not self._listens():
            self._take(False)
            return
        check = self._check
        if check is None:
            Question(self._port, self._take)
        else:
            Question(self._port, self._take, check.request, check.timeout_seconds or _TIMEOUT)

    def stop(self) -> None:
        """
        Ask no more.
        """
        self._stopped = True

    def _take(self, answer: bool) -> None:
        if self._stopped:
            return
        if self._is_ready:
            self._count(answer)
        elif answer:
            self._is_ready = True
            self._ready()
            if self._check is not None and self._check.call_regularly:
                wait = self._check.start_period_seconds or 0
                get_reader().after(max(wait, _REGULARLY), self.ask)
        elif monotonic() > self._until:
            self._failed()
        else:
            get_reader().after(self._pause, self.ask)
            self._pause = min(_MOST, self._pause * 1.5)

    def _count(self, answer: bool) -> None:
        assert self._check is not None
        self._failures = 0 if answer else self._failures + 1
        if self._failures >= (self._check.failure_threshold or _FAILURES):
            self._failed()
        else:
            get_reader().after(_REGULARLY, self.ask)
