"""
Late executions: standing in for an execution that is not known yet.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from fal_core.hosts import Execution

if TYPE_CHECKING:
    from fal_core.events import Message


class LateExecution:
    """
    An execution that stands in for another one until that is known.

    Until then requests, as to cancel it, are kept. :meth:`settle` passes them on in order,
    and holds no lock while it does.

    Arguments:
        reference: Its reference until the inner one is known.

    Attributes:
        inner: The inner execution, once it is known.
    """

    def __init__(self, reference: str) -> None:
        self.inner: Execution | None = None
        self._reference = reference
        self._lock = threading.Lock()
        self._requests: list[Callable[[Execution], None]] | None = []
        self._settled = threading.Event()

    @property
    def reference(self) -> str:
        return self._reference if self.inner is None else self.inner.reference

    def send(self, message: Message) -> None:
        self._pass_on(lambda inner: inner.send(message))

    def drain(self) -> None:
        self._pass_on(lambda inner: inner.drain())

    def cancel(self, grace: float) -> None:
        self._pass_on(lambda inner: inner.cancel(grace))

    def settle(self, inner: Execution | None) -> None:
        """
        Pass everything on to *inner*, now and from now on.

        None drops it: there will be no inner execution. It may be called again, where
        one execution follows another.
        """
        self.inner = inner
        while True:
            with self._lock:
                if not self._requests:
                    self._requests = None
                    break
                request = self._requests.pop(0)
            if inner is not None:
                request(inner)
        self._settled.set()

    def wait_until_settled(self, timeout: float | None) -> bool:
        """
        Wait until :meth:`settle` has been called; return False after *timeout* seconds.
        """
        return self._settled.wait(timeout)

    def _pass_on(self, request: Callable[[Execution], None]) -> None:
        with self._lock:
            if self._requests is not None:
                self._requests.append(request)
                return
        if self.inner is not None:
            request(self.inner)
