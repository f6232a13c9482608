"""
Cancellation: what runs for a client that has gone.

A handler goes on when its client goes, unless it says otherwise here. What streams
its items ends in any case.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Coroutine
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

import anyio

from fal_serve.declaring.errors import declaration_error
from fal_serve.exceptions import RequestCancelledException

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT")

_DISCONNECTS = ("http.disconnect", "websocket.disconnect")

#: What tells of the client of the request that this code works for, and in which loop.
connection: ContextVar[tuple[Receive, asyncio.AbstractEventLoop] | None] = ContextVar(
    "connection", default=None
)


async def wait_for_disconnect(receive: Receive) -> None:
    """
    Return once the client has gone. What is left of the request's body is lost.
    """
    while (await receive())["type"] not in _DISCONNECTS:
        pass


class CancelOnDisconnect:
    """
    A block of asynchronous code that is cancelled when the client goes.
    """

    def __init__(self, request: Request | None = None) -> None:
        self._request = request
        self._scope = anyio.CancelScope()
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        self._scope.__enter__()
        self._watcher = asyncio.create_task(self._watch())

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        assert self._watcher is not None
        gone = self._scope.cancel_called
        self._watcher.cancel()
        swallowed = self._scope.__exit__(kind, error, traceback)
        if gone and swallowed:
            raise RequestCancelledException() from None
        return swallowed

    async def _watch(self) -> None:
        if self._request is not None:
            receive: Receive = self._request.receive
        else:
            known = connection.get()
            if known is None:
                return
            receive = known[0]
        await wait_for_disconnect(receive)
        self._scope.cancel()


@overload
def cancel_on_disconnect(target: Request | None = None) -> CancelOnDisconnect: ...


@overload
def cancel_on_disconnect(
    target: Callable[ArgsT, Coroutine[Any, Any, ReturnT]],
) -> Callable[ArgsT, Coroutine[Any, Any, ReturnT]]: ...


def cancel_on_disconnect(target: Any = None) -> Any:
    """
    Cancel asynchronous code when the client goes; it ends in a
    :class:`RequestCancelledException`.

    Write it above a handler that is ``async def``, or around a part of one:
    ``async with cancel_on_disconnect(): …``. The request's body is to have been read.

    Arguments:
        target: The handler; or the request, which need not be given.

    Raises:
        ValueError: The handler is not ``async def``.
    """
    if target is None or not callable(target):
        return CancelOnDisconnect(target)
    if not inspect.iscoroutinefunction(target):
        raise declaration_error(
            f"cancel_on_disconnect cannot cancel {target.__name__!r}, which is not "
            "'async def'. Have it ask request_cancelled() from time to time."
        )

    @functools.wraps(target)
    async def cancelled(*args: Any, **kwargs: Any) -> Any:
        async with CancelOnDisconnect():
            return await target(*args, **kwargs)

    return cancelled


def request_cancelled() -> bool:
    """
    Tell a handler that is no coroutine whether its client has gone.

    Raises:
        RuntimeError: It is called in the event loop, which it would block.
    """
    known = connection.get()
    if known is None:
        return False
    receive, loop = known
    try:
        would_block = asyncio.get_running_loop() is loop
    except RuntimeError:
        would_block = False
    if would_block:
        raise RuntimeError(
            "request_cancelled() is for handlers that are not 'async def'. "
            "Decorate this one with cancel_on_disconnect."
        )
    return asyncio.run_coroutine_threadsafe(_has_gone(receive), loop).result()


async def _has_gone(receive: Receive) -> bool:
    with anyio.CancelScope() as scope:
        # Nothing is waited for: what has happened is told at once.
        scope.cancel()
        while True:
            if (await receive())["type"] in _DISCONNECTS:
                return True
    return False
