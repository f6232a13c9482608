"""Iterations over what handlers yield, sync or async."""

from __future__ import annotations

import threading
from collections.abc import AsyncGenerator, Iterator
from typing import Any

from fal_serve.answering.logs import log_error
from fal_serve.answering.threads import run_on_thread


async def iterate(produced: Any) -> AsyncGenerator[Any, None]:
    """Iterate over what a handler produces, sync or async, and close it in the end."""
    if hasattr(produced, "__aiter__"):
        items = produced.__aiter__()
        try:
            async for item in items:
                yield item
        finally:
            if hasattr(items, "aclose"):
                await items.aclose()
    elif hasattr(produced, "__iter__"):
        steps = ThreadIterator(iter(produced))
        try:
            while (item := await run_on_thread(steps.next)) is not steps.end:
                yield item
        finally:
            if hasattr(steps.iterator, "close"):
                await run_on_thread(steps.close)
    else:
        raise TypeError(
            "A streaming handler must yield, or return an iterator; it returned a value of "
            f"type {type(produced).__name__!r}."
        )


class ThreadIterator:
    """
    An iterator whose steps run on threads. The last step may outlast its request.

    Attributes:
        end: Returned by ``next`` when there are no more items.
    """

    def __init__(self, iterator: Iterator[Any]) -> None:
        self.iterator: Any = iterator
        self.end: object = object()
        self._lock = threading.Lock()
        self._running = self._closed = False

    def next(self) -> Any:
        """Return the next item."""
        with self._lock:
            if self._closed:
                return self.end
            self._running = True
        try:
            return next(self.iterator, self.end)
        finally:
            with self._lock:
                self._running = False
                closed = self._closed
            if closed:
                self._close_late()

    def close(self) -> None:
        """Close the iterator: now, or once the running step has ended."""
        with self._lock:
            self._closed = True
            running = self._running
        if not running:
            self.iterator.close()

    def _close_late(self) -> None:
        try:
            self.iterator.close()
        except Exception as error:
            # Nobody is left to be told.
            log_error(error, "The generator failed as it was closed.")
