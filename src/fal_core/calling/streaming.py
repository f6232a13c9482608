"""Streams: what a generator function yields, as it yields it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

from fal_core.calling.launcher import Launcher
from fal_core.errors import UnsupportedError
from fal_core.events import Credit, Exited, HomeCall, Item, Log
from fal_core.hosts import Execution
from fal_core.sealing.opener import Opener
from fal_core.sinks.call_sinks import OpeningSink, UnattendedSink
from fal_core.sinks.requests import send, try_cancel
from fal_core.tracebacks.trimming import begins_at_caller

#: Items after which the worker is told that it may send as many more.
CREDIT = 8


class Stream(Iterator[Any]):
    """
    The items of a running generator function.

    The function is held back while its items are not taken. It is ended when the stream
    is closed or no longer referred to. What it returns is the value of ``StopIteration``,
    and so of ``yield from``.
    """

    # Also for a stream whose call could not be launched.
    _ended = True

    def __init__(
        self, launcher: Launcher, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._events: SimpleQueue[Item | Exited] = SimpleQueue()
        self._sink = _StreamSink(self._events, launcher.opener, launcher.answer)
        self._grace = launcher.policy.grace
        self._host = launcher.host.name
        self._taken = 0
        call = launcher.call((args, kwargs), stream=True)
        self.execution: Execution = launcher.launch(call, self._sink)
        self._sink.follow(self.execution)
        self._ended = False

    def __iter__(self) -> Stream:
        return self

    @begins_at_caller
    def __next__(self) -> Any:
        if self._ended:
            raise StopIteration
        event = self._get()
        if isinstance(event, Item):
            self._taken += 1
            if self._taken % CREDIT == 0:
                send(self._sink, Credit(CREDIT))
            return self._sink.opener.open_value(event.sealed)
        self._ended = True
        raise StopIteration(self._sink.result())

    def send(self, value: None) -> Any:
        """
        Return the next item, as ``next`` does: a running function is sent no values.

        Raises:
            UnsupportedError: *value* is not None.
        """
        if value is not None:
            raise refuse_to_send(self._host)
        return next(self)

    def throw(self, *error: Any) -> Any:
        """
        Refuse to raise *error* in the function.

        Raises:
            UnsupportedError: In any case.
        """
        raise UnsupportedError(
            self._host,
            "raise an exception in a running generator",
            "Close the stream to end it.",
        )

    def close(self) -> None:
        """End the function and take no more items."""
        if not self._ended:
            self._ended = True
            try_cancel(self._host, self.execution, self._grace)

    def __del__(self) -> None:
        self.close()

    def _get(self) -> Item | Exited:
        try:
            return self._events.get()
        except BaseException:
            self.close()
            raise


def refuse_to_send(host: str) -> UnsupportedError:
    """Return the error for a value that a running generator is to be sent."""
    return UnsupportedError(
        host, "send a value into a running generator", "Pass what it needs as arguments."
    )


class _StreamSink(UnattendedSink):
    """Queues the events of a stream, without keeping the stream itself alive."""

    def __init__(
        self,
        events: SimpleQueue[Item | Exited],
        opener: Opener,
        answer: Callable[[HomeCall, OpeningSink], None],
    ) -> None:
        super().__init__(opener, answer)
        self._events = events

    def on_log(self, log: Log) -> None:
        from fal_core.sinks.printing import print_log

        print_log(log)

    def on_item(self, item: Item) -> None:
        self._events.put(item)

    def on_exited(self, exited: Exited) -> None:
        super().on_exited(exited)
        self._events.put(exited)
