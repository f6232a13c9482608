"""
Annotations of handlers, on their way to where FastAPI reads them.

As text they mean what their module says, which is not there where a handler of
``__main__`` is served: they go along as types.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from fal_serve.declaring.endpoints import routes_of
from fal_serve.declaring.signatures import evaluate

#: A function, and the types that its textual annotations stand for.
Found = tuple[Callable[..., Any], dict[str, Any]]


def textual_annotations(served: Any) -> list[Found]:
    """
    Return what the textual annotations of the handlers of *served* stand for.
    """
    found = []
    for function in _handlers(served):
        written = getattr(function, "__annotations__", None) or {}
        types = {
            name: evaluate(annotation, function)
            for name, annotation in written.items()
            if isinstance(annotation, str)
        }
        types = {name: each for name, each in types.items() if not isinstance(each, str)}
        if types:
            found.append((function, types))
    return found


def restore(found: list[Found]) -> None:
    """
    Give functions the annotations that were found.
    """
    for function, types in found:
        function.__annotations__ = {**function.__annotations__, **types}


def _handlers(served: Any) -> Iterator[Callable[..., Any]]:
    functions: list[Any] = [served]
    if isinstance(served, type):
        # Where routes are written by hand, any method may be a handler.
        functions = [route.function for route in routes_of(served)] or [
            each
            for base in served.__mro__
            if base.__module__.partition(".")[0] != "fal_serve"
            for each in vars(base).values()
            if inspect.isfunction(each)
        ]
    for function in functions:
        while function is not None:
            yield function
            function = getattr(function, "__wrapped__", None)
