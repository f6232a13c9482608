"""Methods and functions that take the arguments of an operation, declared once."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

ArgsT = ParamSpec("ArgsT")
FirstT = TypeVar("FirstT")
ResultT = TypeVar("ResultT")


def with_arguments_of(
    operation: Callable[ArgsT, Any],
) -> Callable[
    [Callable[Concatenate[FirstT, ...], ResultT]],
    Callable[Concatenate[FirstT, ArgsT], ResultT],
]:
    """
    Give a function, after its own first argument, the signature of *operation*.

    The function itself takes ``*args`` and ``**kwargs`` and passes them on.
    """

    def decorate(
        function: Callable[Concatenate[FirstT, ...], ResultT],
    ) -> Callable[Concatenate[FirstT, ArgsT], ResultT]:
        own = inspect.signature(function)
        first = next(iter(own.parameters.values()))
        parameters = [first, *inspect.signature(operation).parameters.values()]
        function.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate
