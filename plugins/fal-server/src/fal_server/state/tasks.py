"""Tasks: work in the background, and work that must not be left half done."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from fal_server.errors import STATE_TROUBLE, Fenced

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Tasks:
    """Background tasks. The error of one that fails is logged."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Future[Any]:
        """
        Start *work* in the background. After :meth:`close` there is no task that nobody would
        await: *work* is not begun, and what is returned is cancelled.
        """
        loop = asyncio.get_running_loop()
        if self._closed:
            work.close()
            dropped = loop.create_future()
            dropped.cancel()
            return dropped
        task = loop.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel all tasks, and wait until they have ended."""
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        _log_failure(task)


def _log_failure(task: asyncio.Future[Any]) -> None:
    """Log the error of a task that nobody awaits."""
    error = None if task.cancelled() else task.exception()
    # What it would have written is for another replica to find out.
    if error is not None and not isinstance(error, Fenced):
        logger.error("A background task failed", exc_info=error)


_uninterrupted: set[asyncio.Future[Any]] = set()


def uninterrupted(
    work: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """
    Run *work* to its end even if its caller is cancelled.

    A client that disconnects must not leave the database and the memory of the server in
    different states.
    """

    @functools.wraps(work)
    async def wait(*arguments: P.args, **named: P.kwargs) -> T:
        task = asyncio.ensure_future(work(*arguments, **named))
        # The event loop itself keeps only a weak reference.
        _uninterrupted.add(task)
        task.add_done_callback(_uninterrupted.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(_log_failure)
            raise

    return wait


async def run_in_thread(work: Callable[[], T]) -> T:
    """Run *work* in a thread. Where its caller is cancelled, that ends after *work* has."""
    running = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait({running})
        if not running.cancelled():
            # Its error is nobody's any more.
            running.exception()
        raise


async def wait_for_event(event: asyncio.Event, seconds: float | None) -> bool:
    """
    Wait for an event, and return whether it is set. A task that is cancelled at the moment at
    which it is set is cancelled nevertheless: by :func:`asyncio.wait_for` it would go on, up to
    Python 3.11.

    Arguments:
        seconds: How long it is waited for. None for as long as it takes.
    """
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait({waiting}, timeout=seconds)
    finally:
        if not waiting.done():
            waiting.cancel()
            await asyncio.wait({waiting})
    return event.is_set()


async def insist(work: Callable[[], Awaitable[T]], *, pause: float = 1.0) -> T:
    """Repeat *work*, with a *pause* in seconds, until the database can be written."""
    while True:
        try:
            return await work()
        except STATE_TROUBLE:
            await asyncio.sleep(pause)
