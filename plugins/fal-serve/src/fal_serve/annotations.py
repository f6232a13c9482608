"""
Annotations of handlers: what FastAPI reads them by, as types.

As text they mean what their module says, which is not there where a handler of
``__main__`` is served.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from fal_serve.endpoints import routes_of

#: A function, and the types that its textual annotations stand for.
Found = tuple[Callable[..., Any], dict[str, Any]]


def evaluate(annotation: Any, function: Callable[..., Any]) -> Any:
    """
    Return what *annotation* of *function* stands for; text that means nothing stays text.
    """
    if not isinstance(annotation, str):
        return annotation
    space = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return eval(annotation, dict(space))
    except Exception:
        return annotation


def signature_of(handler: Callable[..., Any]) -> inspect.Signature:
    """
    Return the signature of *handler* with its textual annotations evaluated.
    """
    written = inspect.signature(handler)
    return written.replace(
        parameters=[
            each.replace(annotation=evaluate(each.annotation, handler))
            for each in written.parameters.values()
        ],
        return_annotation=evaluate(written.return_annotation, handler),
    )


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
        functions = [route.function for route in routes_of(served)]
    for function in functions:
        while function is not None:
            yield function
            function = getattr(function, "__wrapped__", None)
