"""
Isolated functions inside a worker.

An isolated function that another one uses arrives as a :class:`Stub`. If both have the
same host and environment it runs in place. Otherwise the call goes home: to the process
that launched this worker, over the worker's own stream.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import CoroutineType

from fal_core_worker import current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: The class of ``fal_core.errors.UserFunctionException``, for where that is not installed.
_USER_ERROR: tuple[Any, ...] = ("builtins", "Exception", ())
for _name in ("FalCoreError", "FalServerlessException", "UserFunctionException"):
    _USER_ERROR = ("fal_core.errors", _name, (_USER_ERROR,))


class Stub:
    """
    An isolated function inside a worker.

    Attributes:
        number: The number of the function in the launching process.

        function: The function itself, if it may run in place.
    """

    def __init__(self, number: int, name: str) -> None:
        self.number = number
        self.__name__ = name
        self.function: Callable[..., Any] | None = None

    def __repr__(self) -> str:
        return f"<isolated function {self.__name__} in a worker>"

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """
        Call the function in place, or at home.

        An exit of the function is an error of the call in both cases.
        """
        if self.function is not None:
            return _call_in_place(self.function, args, kwargs)
        runtime = current.runtime
        if runtime is None:
            raise RuntimeError(
                f"Isolated function {self.__name__!r} was called in a process that no host "
                "launched, so there is no home to run it. Call it in the worker itself, "
                "not in a child process."
            )
        return runtime.call_home(self.number, args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else BoundStub(self, instance)

    def __getattr__(self, name: str) -> Any:
        # Copy and pickle look special names up, and need a plain AttributeError.
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(
            f"Isolated function {self.__name__!r} has no {name!r} in a worker: there it can "
            "be called, and has submit, map, stream and run_local. Another host, policy or "
            "option is given to it outside of the function that uses it."
        )

    def run_local(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the function here."""
        return self(*args, **kwargs)

    def submit(self, /, *args: Any, **kwargs: Any) -> Any:
        """
        Call the function on a thread, and return a future of its result.

        The call runs at once, and cannot be cancelled: ``cancel()`` returns False.
        """
        import threading
        from concurrent.futures import Future

        future: Future[Any] = Future()
        future.set_running_or_notify_cancel()

        def run() -> None:
            try:
                future.set_result(self(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future

    def map(self, *iterables: Iterable[Any]) -> Iterator[Any]:
        """Call the function once for each item, in order."""
        for args in zip(*iterables, strict=False):
            yield self(*args)

    def stream(self, /, *args: Any, **kwargs: Any) -> Iterator[Any]:
        """Iterate over what the function yields."""
        items: Iterator[Any] = iter(self(*args, **kwargs))
        return items


class BoundStub(Stub):
    """An isolated method inside a worker."""

    def __init__(self, stub: Stub, instance: Any) -> None:
        super().__init__(stub.number, stub.__name__)
        self.__func__ = stub
        self.__self__ = instance

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the method in place, or at home."""
        return self.__func__(self.__self__, *args, **kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> BoundStub:
        return self


def _call_in_place(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        value = function(*args, **kwargs)
    except SystemExit as error:
        raise _error_of(error) from error
    return _await_in_place(value) if type(value) is CoroutineType else value


async def _await_in_place(coroutine: Any) -> Any:
    try:
        return await coroutine
    except SystemExit as error:
        raise _error_of(error) from error


def _error_of(error: SystemExit) -> BaseException:
    """Return what the caller of the function sees, as ``Opener`` does in the launching process."""
    from fal_core_worker.opening.exceptions import stand_in

    if getattr(error, "ends_worker", False):
        return error
    text = f"The function raised {type(error).__name__}: {error}".removesuffix(": ")
    record = {"class": _USER_ERROR, "arguments": (text,), "message": text, "attributes": {}}
    return stand_in(record)


def make_stub(number: int, name: str) -> Stub:
    """Make a stub. If its function may run in place, it arrives as the state of the stub."""
    return Stub(number, name)
