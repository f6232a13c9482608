"""Executions around an execution: how behaviour is added to a call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fal_core.abilities import Driven
from fal_core.events import Message
from fal_core.hosts import Execution


class LateExecution(Driven):
    """
    An execution around one that is known later, or is followed by another.

    Requests that come before the inner execution is known are kept. :meth:`settle` passes
    them on in order, and holds no lock while it does. A call that was cancelled stays so:
    an execution that follows is cancelled at once.

    Arguments:
        reference: Its reference until the inner execution is known.

    Attributes:
        inner: The inner execution, once it is known.

        cancelled: Whether the call was cancelled.
    """

    def __init__(self, reference: str) -> None:
        self.inner: Execution | None = None
        self.cancelled: bool = False
        self._reference = reference
        self._grace = 0.0
        self._lock = threading.Lock()
        self._requests: list[Callable[[Execution], None]] | None = []
        self._settled: threading.Event | None = None

    @property
    def reference(self) -> str:
        return self._reference if self.inner is None else self.inner.reference

    @property
    def drives(self) -> bool:
        """Whether driving it delivers events, as far as is known."""
        from fal_core.sinks.breaches import drives

        return self.inner is None or drives(self.inner)

    def send(self, message: Message) -> None:
        self._pass_on(lambda inner: inner.send(message))

    def drain(self) -> None:
        self._pass_on(lambda inner: inner.drain())

    def cancel(self, grace: float) -> None:
        # In this order: settle() looks for it after the inner execution was replaced.
        self._grace = grace
        self.cancelled = True
        self._pass_on(lambda inner: inner.cancel(grace))

    def drive(self, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        if self.wait_until_settled(timeout) and isinstance(self.inner, Driven):
            left = None if until is None else max(0.0, until - time.monotonic())
            self.inner.drive(left)

    def settle(self, inner: Execution | None) -> None:
        """
        Pass all requests on to *inner*, those that were kept and those to come.

        None drops them: there is no execution any more. It may be called again, when
        another execution follows. What *inner* raises is raised once all were passed on.
        """
        follows = self._requests is None
        self.inner = inner
        if follows and inner is not None and self.cancelled:
            inner.cancel(self._grace)
        failure: Exception | None = None
        while True:
            with self._lock:
                if not self._requests:
                    self._requests = None
                    if self._settled is not None:
                        self._settled.set()
                    break
                request = self._requests.pop(0)
            try:
                if inner is not None:
                    request(inner)
            except Exception as error:
                failure = failure or error
        if failure is not None:
            raise failure

    def wait_until_settled(self, timeout: float | None) -> bool:
        """Wait until :meth:`settle` was called; return False after *timeout* seconds."""
        with self._lock:
            if self._requests is None:
                return True
            if self._settled is None:
                self._settled = threading.Event()
        return self._settled.wait(timeout)

    def _pass_on(self, request: Callable[[Execution], None]) -> None:
        with self._lock:
            if self._requests is not None:
                self._requests.append(request)
                return
        if self.inner is not None:
            request(self.inner)
