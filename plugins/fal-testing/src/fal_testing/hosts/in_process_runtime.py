"""The runtime of calls on threads of this process: how their code reaches the host."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from fal_core.calls import Node
from fal_core_worker import current
from fal_testing.hosts.services import InProcessService


class RunningCall(Protocol):
    """
    A call that runs on a thread of this process, as its code sees it.

    Attributes:
        node: The node that it runs on, if it is one of several.

        service: Runs what the call serves.
    """

    node: Node | None
    service: InProcessService

    def call_home(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have the caller run its function *number*, and wait for the result."""

    def announce(self, urls: dict[str, str]) -> None:
        """Deliver that a service is ready at *urls*."""

    def write(self, level: Any, line: str, logger: str | None = None) -> None:
        """Deliver a line that was written to the log, or a record of *logger*."""


_current: ContextVar[RunningCall | None] = ContextVar("current", default=None)
_running_calls = 0
_counting = threading.Lock()


@contextmanager
def at_home(call: RunningCall) -> Iterator[None]:
    """Have the code of this thread find *call*, and this process a runtime while any call runs."""
    global _running_calls
    _current.set(call)
    with _counting:
        _running_calls += 1
        current.runtime = current.runtime or _Home()
    try:
        yield
    finally:
        with _counting:
            _running_calls -= 1
            if not _running_calls and isinstance(current.runtime, _Home):
                current.runtime = None


class _Home:
    """The runtime through which the code of a call reaches its host."""

    address: str | None = None

    def call_home(self, number: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return _running("no home to call").call_home(number, args, kwargs)

    def run_service(self, service: Any, loop: Any, drain: Any) -> None:
        _running("nothing to serve for").service.run(service, loop, drain)

    def find_node(self) -> Node | None:
        call = _current.get()
        return None if call is None else call.node

    def announce(self, urls: dict[str, str]) -> None:
        _running("nobody to tell").announce(urls)

    @property
    def output(self) -> RunningCall:
        return _running("no log to write")


def _running(missing: str) -> RunningCall:
    call = _current.get()
    if call is None:
        raise RuntimeError(f"This thread runs no call, so there is {missing}.")
    return call
