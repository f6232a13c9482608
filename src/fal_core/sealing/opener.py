"""Opening what a function returned, yielded or raised, for its caller."""

from __future__ import annotations

import pickle
from typing import Any

from fal_core.errors import (
    FalMissingDependencyError,
    FalSerializationError,
    UserFunctionException,
)
from fal_core.events import Sealed
from fal_core_worker.opening.seals import PLAIN_PREFIX, PREFIX_SIZE, MissingModule, SealingError

#: Plain values smaller than this are unpickled here, without the module for all others.
_SMALL = 4096

#: The core's own errors, for which the worker, without fal_core, has other classes.
_CORE_ERRORS = {
    "FalSerializationError": FalSerializationError,
    "FalMissingDependencyError": FalMissingDependencyError,
}


class Opener:
    """
    How the outcomes of one function are opened.

    Attributes:
        name: The name of the function, for messages.

        reraise: Whether the caller gets an ``Exception`` of the function itself;
            otherwise it gets a :class:`~fal_core.errors.UserFunctionException`
            whose cause is that exception.

        host: The name of the host that runs it, for messages.
    """

    # Written out: attrs would compile it while a first call is waited for.
    __slots__ = ("host", "name", "reraise")

    def __init__(self, *, name: str, reraise: bool = True, host: str = "") -> None:
        self.name: str = name
        self.reraise: bool = reraise
        self.host: str = host

    def open_value(self, sealed: Sealed) -> Any:
        """
        Return the value that the function returned or yielded.

        Raises:
            FalSerializationError: This Python cannot open it.
        """
        data = sealed.data
        if data[:PREFIX_SIZE] == PLAIN_PREFIX and len(data) < _SMALL and not sealed.buffers:
            try:
                return pickle.loads(data[PREFIX_SIZE:])
            except Exception:
                pass  # It fails again below, where the error is made.
        from fal_core_worker.opening.unpickling import open_sealed

        try:
            remedy = "Install what provides it here too, or return plain values."
            what = f"the result of {self.name!r}"
            return open_sealed(sealed, what, remedy, from_caller=False)
        except MissingModule as error:
            raise FalMissingDependencyError(str(error)) from error.__cause__
        except SealingError as error:
            raise FalSerializationError(str(error)) from error.__cause__

    def open_error(self, sealed: Sealed) -> BaseException:
        """
        Return the exception to raise for one that the function raised.

        The remote traceback is its cause. Where the exception itself cannot be
        rebuilt, a stand-in whose class has the same name and bases takes its place.
        One that is no ``Exception``, such as ``SystemExit``, is always the cause of a
        :class:`~fal_core.errors.UserFunctionException`: it would end the caller.
        """
        from fal_core.tracebacks.source_lines import fill_in
        from fal_core_worker.opening.exceptions import open_error

        error = open_error(sealed, _CORE_ERRORS)
        fill_in(error)
        if self.reraise and isinstance(error, Exception):
            return error
        text = f"{type(error).__name__}: {error}".removesuffix(": ")
        wrapper = UserFunctionException(f"The function raised {text}")
        wrapper.__cause__ = error
        return wrapper
