"""
Services: callables that serve until they are drained, and what they tell.

It works in a worker and in any other process; outside a worker what is announced
is printed, and an interrupt drains.
"""

from __future__ import annotations

import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from fal_core_worker import nested
from fal_core_worker.outputs import Output

if TYPE_CHECKING:
    import asyncio

#: The id of the request that this code works for; empty between requests.
request_id: ContextVar[str] = ContextVar("request_id", default="")


class StartupError(Exception):
    """
    A service cannot start; the message says why and what to do, and no traceback more.
    """


class Server(ABC):
    """
    A picklable callable that serves until it is drained.

    Attributes:
        func: The function or class that is served, as the user wrote it.

        requirements: What the environment needs for serving, unless it asks for
            another version of the same.

        packages: Packages that travel with the server as source.
    """

    func: Any
    requirements: Sequence[str] = ()
    packages: Sequence[str] = ()

    @abstractmethod
    def __call__(
        self, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        """
        Serve on the main thread until drained.

        Arguments:
            exposed_port: Where requests are taken. 0 takes a free port; None the
                declared one.

            exposed_metrics_port: The same for metrics and probes.
        """


def run(
    service: Coroutine[Any, Any, None],
    loop: asyncio.AbstractEventLoop,
    drain: Callable[[], None],
) -> None:
    """
    Run *service* in *loop* until it ends; the main thread calls it.

    SIGTERM, which is also how a host drains, calls *drain* in the loop. The end
    of the call cancels *service*.
    """
    import asyncio

    runner = nested.runner
    if runner is not None:
        runner.run_service(service, loop, drain)
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
    """
    Tell that the service answers at *urls*; ``run`` is the one to call.
    """
    runner = nested.runner
    if runner is None:
        for name, url in urls.items():
            print(f"{name}: {url}", file=sys.stderr)
        return
    runner.announce(dict(urls))


def end_request() -> None:
    """
    Tell that this code prints no more for its request: its last line is whole.
    """
    runner = nested.runner
    # Others keep no lines by their requests.
    if runner is not None and isinstance(runner.output, Output):
        runner.output.end_lines()


def log(level: str, facts: Mapping[str, Any]) -> None:
    """
    Write *facts* to the log as a line of JSON, with the time.

    Arguments:
        level: ``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``.
    """
    import json
    from datetime import datetime, timezone

    now = datetime.now(timezone.utc).replace(tzinfo=None).isoformat(timespec="milliseconds")
    write(level, json.dumps({"time": f"{now}Z", **facts}, default=str))


def write(level: str, line: str) -> None:
    """
    Write *line* to the log.
    """
    runner = nested.runner
    if runner is None:
        print(line, file=sys.stderr if level in ("WARNING", "ERROR") else sys.stdout)
    else:
        runner.output.write(level, line)
