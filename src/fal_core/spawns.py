"""
``spawn``: a call that runs while the caller goes on.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future
from queue import Queue
from typing import Any
from urllib.parse import urlparse

import attrs

from fal_core.sinks.log_queues import LogQueue


@attrs.define(eq=False, slots=False)
class SpawnInfo:
    """
    A call that was spawned.

    Attributes:
        future: Of the result. None where nothing has been started.

        logs: The lines that the call printed, as they come.

        stream: The execution, to cancel or drain the call by. The items of a
            generator are not there: they are its result, as a list.

        urls: All that the service can be reached at, by what it is for: ``run`` for
            requests, ``metrics`` for metrics and probes. Empty until ``url`` is known.
    """

    future: Future[Any] | None = None
    logs: Queue[Any] = attrs.field(factory=LogQueue)
    _url_ready: threading.Event = attrs.field(factory=threading.Event, alias="_url_ready")
    _url: str | None = attrs.field(default=None, alias="_url")
    stream: Any = None
    urls: Mapping[str, str] = attrs.field(factory=dict, init=False)

    @property
    def return_value(self) -> Any:
        """
        Wait for the result and return it, or raise what the function raised.
        """
        if self.future is None:
            raise ValueError("Nothing was spawned, so there is no result to wait for.")
        return self.future.result()

    @property
    def url(self) -> str | None:
        """
        Wait until the service can be reached and return where.

        Raises:
            Exception: The call's own error, if it ends before that.
        """
        self.await_url()
        if self._url is None and self.future is not None and self.future.done():
            error = self.future.exception()
            if error is not None:
                raise error
            raise ValueError("The function has ended, and was never reachable at a url.")
        return self._url

    @url.setter
    def url(self, value: str | None) -> None:
        self._url = value
        self._url_ready.set()

    def await_url(self, timeout: float | None = None) -> bool:
        """
        Wait for a url, or for the end that comes before one; tell whether either has come.

        Arguments:
            timeout: Seconds to wait at most. None waits for ever.
        """
        return self._url_ready.wait(timeout)

    @property
    def application(self) -> str:
        """
        The path of the url: how the application is named.
        """
        return urlparse(self.url or "").path.strip("/")

    @property
    def reference(self) -> str:
        """
        What the execution is called on its host.
        """
        return str(self.stream.reference)

    def cancel(self, grace: float = 2.0) -> None:
        """
        End the call: interrupt it, and after *grace* seconds end its processes.
        """
        if self.stream is not None:
            self.stream.cancel(grace)
