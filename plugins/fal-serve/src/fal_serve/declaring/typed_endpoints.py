"""
Typed endpoints: what type checkers see of decorated methods. Nothing else imports it.

On an object, a method is that of an ``AppClient``, which stands for an object of the class: it
returns what the handler does, and for ``async def`` what its coroutine does. On the class it
is the method of an ``AsyncAppClient``, which stands for the class, or, with an application as
the first argument, the handler as it was written.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Iterable,
    Iterator,
    Sequence,
)
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, overload

from typing_extensions import Self

P = ParamSpec("P")
InT = TypeVar("InT")
OutT = TypeVar("OutT")
FirstT = TypeVar("FirstT", contravariant=True)
ResultT = TypeVar("ResultT", covariant=True)
HandlerT = TypeVar("HandlerT", bound=Callable[..., Any])


class Endpoint(Protocol[P, ResultT]):
    """A plain method."""

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[P, Awaitable[ResultT]]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, ResultT]: ...

    def __call__(self, instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> ResultT: ...


class Application(Protocol):
    """An application, in whose service handlers call each other."""

    def build_application(self) -> Any: ...


class AsyncCalls(Protocol[P, ResultT]):
    """The method of an ``AsyncAppClient``, or the ``async def`` handler of an application."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Awaitable[ResultT]: ...

    @overload
    def __call__(
        self, application: Application, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, ResultT]: ...


class AsyncEndpoint(Protocol[P, ResultT]):
    """An ``async def`` method."""

    @overload
    def __get__(self, instance: None, owner: type) -> AsyncCalls[P, ResultT]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, ResultT]: ...

    def __call__(
        self, instance: Any, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, ResultT]: ...


class Stream(Protocol[P, ResultT]):
    """A generator method."""

    @overload
    def __get__(self, instance: None, owner: type) -> Callable[P, AsyncIterator[ResultT]]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, Iterator[ResultT]]: ...

    def __call__(
        self, instance: Any, /, *args: P.args, **kwargs: P.kwargs
    ) -> Iterator[ResultT]: ...


class AsyncItems(Protocol[P, ResultT]):
    """The same as :class:`AsyncCalls`, for generators."""

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[ResultT]: ...

    @overload
    def __call__(
        self, application: Application, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[ResultT]: ...


class AsyncStream(Protocol[P, ResultT]):
    """An ``async def`` generator method."""

    @overload
    def __get__(self, instance: None, owner: type) -> AsyncItems[P, ResultT]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Callable[P, Iterator[ResultT]]: ...

    def __call__(
        self, instance: Any, /, *args: P.args, **kwargs: P.kwargs
    ) -> AsyncIterator[ResultT]: ...


class BatchCalls(Protocol[FirstT, ResultT]):
    """A method that takes many inputs at once: a client sends one, and gets its output."""

    @overload
    def __call__(self, one: FirstT, /) -> ResultT: ...

    @overload
    def __call__(self, one: FirstT, two: FirstT, /, *more: FirstT) -> Sequence[ResultT]: ...


class AsyncBatchCalls(Protocol[FirstT, ResultT]):
    """The same, awaited."""

    def __call__(self, one: FirstT, /) -> Awaitable[ResultT]: ...


class Batch(Protocol[FirstT, ResultT]):
    """A method with ``*inputs``."""

    @overload
    def __get__(self, instance: None, owner: type) -> AsyncBatchCalls[FirstT, ResultT]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> BatchCalls[FirstT, ResultT]: ...

    def __call__(self, instance: Any, /, *inputs: FirstT) -> Sequence[ResultT]: ...


class Session(Protocol[FirstT, ResultT]):
    """A session of a realtime endpoint, as a context manager."""

    timings: list[float]

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: Any) -> None: ...

    def send(self, message: FirstT) -> None: ...

    def receive(self, timeout: float | None = None) -> ResultT: ...

    def __call__(self, message: FirstT, timeout: float | None = None) -> ResultT: ...

    def __iter__(self) -> Iterator[ResultT]: ...


class AsyncSession(Protocol[FirstT, ResultT]):
    """The same as an async context manager."""

    timings: list[float]

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *error: Any) -> None: ...

    async def send(self, message: FirstT) -> None: ...

    async def receive(self) -> ResultT: ...

    async def __call__(self, message: FirstT) -> ResultT: ...

    def __aiter__(self) -> AsyncIterator[ResultT]: ...


class RealtimeCalls(Protocol[P, FirstT, ResultT]):
    """A realtime method: a client opens a session; called with inputs it is as it was written."""

    @overload
    def __call__(self) -> Session[FirstT, ResultT]: ...

    @overload
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


class Realtime(Protocol[P, FirstT, ResultT]):
    """A method that answers the messages of a websocket."""

    @overload
    def __get__(
        self, instance: None, owner: type
    ) -> Callable[[], AsyncSession[FirstT, ResultT]]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> RealtimeCalls[P, FirstT, ResultT]: ...

    def __call__(self, instance: Any, /, *args: P.args, **kwargs: P.kwargs) -> Any: ...


class Socket(Protocol):
    """A method that is given a websocket. A client passes parameters of its path by name."""

    @overload
    def __get__(
        self, instance: None, owner: type
    ) -> Callable[..., AsyncSession[str | bytes, str | bytes]]: ...

    @overload
    def __get__(self, instance: object, owner: type) -> Callable[..., Any]: ...

    def __call__(self, instance: Any, /, *args: Any, **kwargs: Any) -> Any: ...


class _TakesBatch(Protocol[FirstT, ResultT]):
    def __call__(self, instance: Any, /, *inputs: FirstT) -> ResultT: ...


class EndpointDecorator(Protocol):
    """What ``endpoint`` returns."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, handler: staticmethod[P, OutT]
    ) -> staticmethod[P, OutT]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, handler: Callable[Concatenate[Any, P], AsyncGenerator[OutT, Any]]
    ) -> AsyncStream[P, OutT]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, handler: Callable[Concatenate[Any, P], AsyncIterator[OutT]]
    ) -> AsyncStream[P, OutT]: ...

    @overload
    def __call__(
        self, handler: Callable[Concatenate[Any, P], Coroutine[Any, Any, OutT]]
    ) -> AsyncEndpoint[P, OutT]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, handler: Callable[Concatenate[Any, P], Generator[OutT, Any, Any]]
    ) -> Stream[P, OutT]: ...

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits is meant
        self, handler: Callable[Concatenate[Any, P], Iterator[OutT]]
    ) -> Stream[P, OutT]: ...

    @overload
    def __call__(self, handler: Callable[Concatenate[Any, P], OutT]) -> Endpoint[P, OutT]: ...

    @overload
    def __call__(self, handler: HandlerT) -> HandlerT: ...


class BatchDecorator(Protocol):
    """What ``endpoint`` returns for methods with ``*inputs``."""

    @overload
    def __call__(
        self, handler: _TakesBatch[InT, Coroutine[Any, Any, Iterable[OutT]]]
    ) -> Batch[InT, OutT]: ...

    @overload
    def __call__(self, handler: _TakesBatch[InT, Iterable[OutT]]) -> Batch[InT, OutT]: ...

    @overload
    def __call__(self, handler: HandlerT) -> HandlerT: ...


class SocketDecorator(Protocol):
    """What ``endpoint`` returns for websockets."""

    def __call__(self, handler: Callable[..., Any]) -> Socket: ...


class RealtimeDecorator(Protocol):
    """What ``realtime`` returns."""

    @overload
    def __call__(
        self, handler: Callable[[Any, AsyncIterator[InT]], AsyncIterator[OutT]]
    ) -> Realtime[[AsyncIterator[InT]], InT, OutT]: ...

    @overload
    def __call__(
        self, handler: Callable[[Any, AsyncIterator[InT]], Coroutine[Any, Any, OutT]]
    ) -> Realtime[[AsyncIterator[InT]], InT, OutT]: ...

    @overload
    def __call__(
        self, handler: Callable[[Any, InT], AsyncIterator[OutT]]
    ) -> Realtime[[InT], InT, OutT]: ...

    @overload
    def __call__(
        self, handler: Callable[[Any, InT], Iterator[OutT]]
    ) -> Realtime[[InT], InT, OutT]: ...

    @overload
    def __call__(
        self, handler: Callable[[Any, InT], Coroutine[Any, Any, OutT]]
    ) -> Realtime[[InT], InT, OutT]: ...

    @overload
    def __call__(self, handler: Callable[[Any, InT], OutT]) -> Realtime[[InT], InT, OutT]: ...

    @overload
    def __call__(
        self, handler: Callable[Concatenate[Any, P], Any]
    ) -> Realtime[P, Any, Any]: ...
