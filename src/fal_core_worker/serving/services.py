"""
Services: callables that serve until they are drained.

They run in a worker and in any other process. Outside a worker, URLs and log lines are
printed, and an interrupt drains.
"""

from __future__ import annotations

import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from fal_core_worker import current
from fal_core_worker.output import records

if TYPE_CHECKING:
    import asyncio

#: The id of the request that the current code handles. Empty between requests.
request_id: ContextVar[str] = ContextVar("request_id", default="")

#: Part of the serialized form of a service that takes ``exposed_socket``: a control plane
#: knows it by that, and does not have to open it.
SOCKET_MARK = "fal-core listens at exposed_socket"


class StartupError(Exception):
    """A service cannot start. The message says why and what to do, without a traceback."""


class Server(ABC):
    """
    A picklable callable that serves until it is drained.

    Attributes:
        func: The function or class that is served, as the user wrote it.

        requirements: What serving requires in the environment. Requirements of the
            function for the same distributions take precedence.

        packages: Packages that travel with the server as source.

        takes_socket: Whether it listens on Unix sockets where the address of the runtime
            names a directory for them, see :class:`~fal_core_worker.current.Runtime`.
    """

    func: Any
    requirements: Sequence[str] = ()
    packages: Sequence[str] = ()
    takes_socket: bool = False

    @abstractmethod
    def __call__(
        self, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        """
        Serve on the main thread until drained.

        Arguments:
            exposed_port: The port for requests. 0 takes a free one, None the declared
                one.

            exposed_metrics_port: The same for metrics and probes.
        """


def run(
    service: Coroutine[Any, Any, None],
    loop: asyncio.AbstractEventLoop,
    drain: Callable[[], None],
) -> None:
    """
    Run *service* in *loop* until it ends. Called on the main thread.

    SIGTERM, by which hosts drain, calls *drain* in the loop. If the call is cancelled,
    *service* is cancelled.
    """
    import asyncio

    runtime = current.runtime
    if runtime is not None:
        runtime.run_service(service, loop, drain)
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, drain)
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(service)
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
        asyncio.set_event_loop(None)
        loop.close()


def announce(urls: Mapping[str, str]) -> None:
    """Report that the service answers at *urls*. The one named ``run`` takes requests."""
    runtime = current.runtime
    if runtime is None:
        for name, url in urls.items():
            print(f"{name}: {url}", file=sys.stderr)
        return
    runtime.announce(dict(urls))


def end_request() -> None:
    """End the line that the current code has begun: it prints no more for its request."""
    # Only a worker keeps incomplete lines by request.
    end_lines = getattr(getattr(current.runtime, "output", None), "end_lines", None)
    if end_lines is not None:
        end_lines()


def log(level: str, facts: Mapping[str, Any]) -> None:
    """
    Write *facts* and the time to the log, as a line of JSON.

    Arguments:
        level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
    """
    import json
    from datetime import datetime, timezone

    now = datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec="milliseconds")
    write(level, json.dumps({"time": f"{now}Z", **facts}, default=str))


def write(level: str, line: str) -> None:
    """Write *line* to the log."""
    if not records.write(level, line):
        print(line, file=sys.stderr if level in ("WARNING", "ERROR") else sys.stdout)
