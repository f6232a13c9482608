"""
Cancellation of handlers whose client has disconnected.

A handler goes on when its client disconnects, unless it uses what is defined here. A
stream always ends.
"""

from __future__ import annotations

import asyncio
import contextlib
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

#: The ASGI *receive* of the current request, and the event loop that it belongs to.
connection: ContextVar[tuple[Receive, asyncio.AbstractEventLoop] | None] = ContextVar(
    "connection", default=None
)


def note_connection(receive: Receive) -> None:
    """Keep the *receive* of the current request, for what is defined here."""
    with contextlib.suppress(RuntimeError):
        # There is no such loop under trio, on which FastAPI can be tested.
        connection.set((receive, asyncio.get_running_loop()))


async def wait_for_disconnect(receive: Receive) -> None:
    """Return once the client has disconnected. The unread rest of the body is discarded."""
    while (await receive())["type"] not in _DISCONNECTS:
        pass


class CancelOnDisconnect:
    """A block of async code that is cancelled when the client disconnects."""

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
    Cancel async code when the client disconnects, with a
    :class:`RequestCancelledException`.

    Use it as a decorator of an ``async def`` handler, or around a part of one:
    ``async with cancel_on_disconnect(): …``. The body of the request must have been read.

    Arguments:
        target: The handler; or the request, which may be left out.

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
    Tell a handler that runs on a thread whether its client has disconnected.

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
        # Receive what has arrived already, without waiting.
        scope.cancel()
        while True:
            if (await receive())["type"] in _DISCONNECTS:
                return True
    return False
