"""
Tasks: what is done in the background.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from fal_server.errors import STATE_TROUBLE

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")


class Tasks:
    """
    Tasks that nobody waits for; one that fails is logged.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()
        self._closed = False

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """
        Do *work* in the background; nothing is begun once they are closed.
        """
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._ended)
        if self._closed:
            task.cancel()
        return task

    async def close(self) -> None:
        """
        Cancel what runs, and wait for its end.
        """
        self._closed = True
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("What was done in the background failed", exc_info=task.exception())


_uninterrupted: set[asyncio.Future[Any]] = set()


def uninterrupted(
    work: Callable[P, Coroutine[Any, Any, T]],
) -> Callable[P, Coroutine[Any, Any, T]]:
    """
    Have *work* done to its end, also where who waits for it is cancelled meanwhile: a
    client that goes must not leave what is kept and what is known to differ.
    """

    @functools.wraps(work)
    async def wait(*arguments: P.args, **named: P.kwargs) -> T:
        task = asyncio.ensure_future(work(*arguments, **named))
        # The loop itself does not keep it alive.
        _uninterrupted.add(task)
        task.add_done_callback(_uninterrupted.discard)
        return await asyncio.shield(task)

    return wait


async def insist(work: Callable[[], Awaitable[T]], *, pause: float = 1.0) -> T:
    """
    Do *work* again, after a *pause* in seconds, until the state can be written.
    """
    while True:
        try:
            return await work()
        except STATE_TROUBLE:
            await asyncio.sleep(pause)
