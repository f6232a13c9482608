"""Spawned calls, which run while their caller goes on."""

from __future__ import annotations

import pickle
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from queue import Queue
from typing import IO, TYPE_CHECKING, Any, Generic
from urllib.parse import urlparse

import attrs

from fal_core.reprs import show_html
from fal_core.tracebacks.trimming import begins_at_caller

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    # A user who writes no parameter means any.
    ReturnT = TypeVar("ReturnT", covariant=True, default=Any)
else:
    from typing import TypeVar

    ReturnT = TypeVar("ReturnT", covariant=True)

#: Bytes of unread lines that are kept in memory.
_MEMORY = 8 << 20


class LogQueue(Queue[Any]):
    """
    A queue of log lines, which stays small however much is printed.

    Unread lines beyond 8 MiB are kept in a temporary file.
    """

    def _init(self, maxsize: int) -> None:
        self.queue: deque[Any] = deque()
        self._size = 0
        self._file: IO[bytes] | None = None
        self._spooled = 0
        self._read_at = 0

    def _qsize(self) -> int:
        return len(self.queue) + self._spooled

    def _put(self, item: Any) -> None:
        size = len(getattr(item, "message", "")) + 200
        if not self._spooled and self._size + size <= _MEMORY:
            self.queue.append(item)
            self._size += size
            return
        if self._file is None:
            # It is closed once everything in it has been read, not at the end of a block.
            self._file = tempfile.TemporaryFile(prefix="fal-core-logs-")  # noqa: SIM115
        self._file.seek(0, 2)
        pickle.dump(item, self._file)
        self._spooled += 1

    def _get(self) -> Any:
        if self.queue:
            item = self.queue.popleft()
            self._size = self._size - len(getattr(item, "message", "")) - 200
            return item
        assert self._file is not None
        self._file.seek(self._read_at)
        item = pickle.load(self._file)
        self._read_at = self._file.tell()
        self._spooled -= 1
        if not self._spooled:
            self._file.close()
            self._file = None
            self._read_at = 0
        return item


@attrs.define(eq=False, slots=False)
class SpawnInfo(Generic[ReturnT]):
    """
    A call that was spawned; *return_value* has the type that the function returns.

    Attributes:
        future: The future of the result. None if nothing was started.

        logs: The lines that the call printed, as they come.

        stream: The execution, which can be cancelled or drained. The items of a
            generator are not here: they are the result, as a list.

        urls: The urls of the service by their purpose: ``run`` for requests, ``metrics``
            for metrics and probes. Empty until ``url`` is known.
    """

    future: Future[ReturnT] | None = None
    logs: Queue[Any] = attrs.field(factory=LogQueue)
    _url_ready: threading.Event = attrs.field(factory=threading.Event, alias="_url_ready")
    _url: str | None = attrs.field(default=None, alias="_url")
    stream: Any = None
    urls: Mapping[str, str] = attrs.field(factory=dict, init=False)
    _ends: bool = attrs.field(default=False, init=False, repr=False)

    @property
    @begins_at_caller
    def return_value(self) -> ReturnT:
        """Wait for the result and return it, or raise what the function raised."""
        if self.future is None:
            raise ValueError("Nothing was spawned, so there is no result to wait for.")
        return self.future.result()

    @property
    @begins_at_caller
    def url(self) -> str | None:
        """
        Wait until the service can be reached, and return its url.

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
        Wait for a url, or for the end of the call; return whether either has come.

        Arguments:
            timeout: Seconds to wait at most. None waits for ever.
        """
        return self._url_ready.wait(timeout)

    @property
    def application(self) -> str:
        """The path of the url, which is the name of the application."""
        return urlparse(self.url or "").path.strip("/")

    @property
    def reference(self) -> str:
        """The name of the execution on its host."""
        return str(self.stream.reference)

    @property
    def ends(self) -> bool:
        """Whether the call has ended, or was cancelled."""
        return self._ends or self.future is None or self.future.done()

    def _repr_html_(self) -> str:
        """Show what is known now, and wait for nothing."""
        rows: list[tuple[str, object]] = [("state", self._describe_state())]
        rows += self.urls.items() or [("url", self._url)] * (self._url is not None)
        if self.stream is not None:
            rows.append(("reference", self.reference))
        return show_html("spawned call", rows)

    def _describe_state(self) -> str:
        future = self.future
        if future is None:
            return "not started"
        if not future.done():
            return "running"
        if future.cancelled():
            return "cancelled"
        error = future.exception()
        return "returned" if error is None else f"raised {type(error).__name__}: {error}"

    def cancel(self, grace: float = 2.0) -> None:
        """End the call: interrupt it, and after *grace* seconds end its processes."""
        self._ends = True
        if self.stream is not None:
            self._ask(self.stream.cancel, grace)

    def _ask(self, method: Callable[..., object], *arguments: Any) -> None:
        """Call a *method* of the execution; what it raises names the host."""
        ask = getattr(self.future, "ask", None)
        if ask is None:
            method(*arguments)
        else:
            ask(method, *arguments)
