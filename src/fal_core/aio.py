"""``.aio``: isolated functions for code that runs in an event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, Protocol, TypeVar, overload

from fal_core.errors import Cancelled
from fal_core.tracebacks.trimming import trim

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fal_core.keywords.maps import MapKeywords

ArgsT = ParamSpec("ArgsT")
ReturnT = TypeVar("ReturnT", covariant=True)
ItemT = TypeVar("ItemT")


class Calls(Protocol[ArgsT, ReturnT]):
    """The ways to call that isolated functions and isolated methods have in common."""

    @property
    def flavour(self) -> str: ...

    def check_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None: ...

    def __call__(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> ReturnT: ...

    # Any: their parameters follow those of the function in ways that no protocol says.
    def submit(self, /, *args: Any, **kwargs: Any) -> Any: ...

    def map(self, /, *args: Any, **kwargs: Any) -> Iterator[ReturnT]: ...

    def stream(self, /, *args: Any, **kwargs: Any) -> Any: ...


class AsyncCalls(Generic[ArgsT, ReturnT]):
    """
    The calls of an isolated function, to be awaited.

    Cancelling the task that awaits one ends the call.
    """

    def __init__(self, function: Calls[ArgsT, ReturnT]) -> None:
        self._function = function

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a generator's is one too
        self: AsyncCalls[ArgsT, Iterator[ItemT]], /, *args: ArgsT.args, **kwargs: ArgsT.kwargs
    ) -> AsyncIterator[ItemT]: ...

    @overload
    def __call__(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> Awaitable[ReturnT]: ...

    def __call__(self, /, *args: ArgsT.args, **kwargs: ArgsT.kwargs) -> Any:
        """
        Run the function; await the result.

        A generator function gives an asynchronous iterator of what it yields.
        """
        if self._function.flavour.endswith("generator"):
            calls: Any = self
            return calls.stream(*args, **kwargs)
        __tracebackhide__ = True
        try:
            self._function.check_arguments(args, kwargs)
        except TypeError as error:
            raise trim(error)  # noqa: B904  # the same one
        coroutine: Any = self._result(args, kwargs)
        # One that is never awaited is told by its name.
        name = getattr(self._function, "__qualname__", "")
        coroutine.__qualname__ = name or coroutine.__qualname__
        return coroutine

    async def map(
        self, *iterables: Iterable[Any], **options: Unpack[MapKeywords]
    ) -> AsyncIterator[ReturnT]:
        """Iterate over the results of the function for each item."""
        __tracebackhide__ = True
        try:
            results = self._function.map(*iterables, **options)
            async for result in _iterate(results):
                yield result
        except Exception as error:
            raise trim(error)  # noqa: B904  # the same one

    async def stream(
        self: AsyncCalls[ArgsT, Iterator[ItemT]], /, *args: ArgsT.args, **kwargs: ArgsT.kwargs
    ) -> AsyncIterator[ItemT]:
        """Iterate over what a generator function yields."""
        __tracebackhide__ = True
        try:
            items = self._function.stream(*args, **kwargs)
            async for item in _iterate(items):
                sent = yield item
                # The stream of a running function takes no values, and says so.
                if sent is not None:
                    items.send(sent)
        except Exception as error:
            raise trim(error)  # noqa: B904  # the same one

    async def _result(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> ReturnT:
        made: list[Future[ReturnT]] = []
        abandoned = threading.Event()

        def submit() -> Future[ReturnT]:
            made.append(self._function.submit(*args, **kwargs))
            if abandoned.is_set():
                made[0].cancel()
            return made[0]

        __tracebackhide__ = True
        try:
            try:
                future = await asyncio.to_thread(submit)
            except asyncio.CancelledError:
                # The thread goes on, and ends the call as soon as it is launched.
                abandoned.set()
                for future in made:
                    future.cancel()
                raise
            await _end_of(future)
            if future.cancelled():
                raise Cancelled
            return future.result()
        except Exception as error:
            raise trim(error)  # noqa: B904  # the same one


async def _end_of(future: Future[Any]) -> None:
    """
    Wait until *future* is done; cancel it if the task that waits is cancelled.

    ``asyncio.wrap_future`` would cancel that task where the future is cancelled, or holds
    a ``CancelledError`` of the function.
    """
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def settle() -> None:
        if not ended.done():
            ended.set_result(None)

    def wake(_: object) -> None:
        try:
            loop.call_soon_threadsafe(settle)
        except RuntimeError:
            pass  # The loop is closed, so nobody waits.

    # It waits for nothing, and needs no thread for callbacks, as CallFuture has.
    Future.add_done_callback(future, wake)
    try:
        await ended
    except asyncio.CancelledError:
        future.cancel()
        raise


_END = object()


async def _iterate(items: Any) -> AsyncIterator[Any]:
    """Take *items* on threads, one at a time; close them when nobody takes more."""
    try:
        while True:
            item, error = await asyncio.to_thread(_take, items)
            if error is not None:
                raise error
            if item is _END:
                return
            yield item
    finally:
        items.close()


def _take(items: Iterator[Any]) -> tuple[Any, BaseException | None]:
    """Return the next of *items* or the error that it raised, which asyncio might replace."""
    try:
        return next(items, _END), None
    except BaseException as error:
        return _END, error
