"""
Annotations of handlers, resolved so that they can travel.

An annotation that is text is resolved in its module. The module ``__main__`` is another
one where a handler is served, so that the resolved types travel with the handler.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

from fal_core_worker.annotations import annotations_of
from fal_serve.declaring.endpoints import routes_of
from fal_serve.declaring.signatures import resolve_annotation

#: A function, and the types of its annotations that were text.
ResolvedAnnotations = tuple[Callable[..., Any], dict[str, Any]]


def textual_annotations(served: Any) -> list[ResolvedAnnotations]:
    """Return the types of those annotations of the handlers of *served* that are text."""
    found = []
    for function in _handlers(served):
        written = annotations_of(function)
        types = {
            name: resolve_annotation(annotation, function)
            for name, annotation in written.items()
            if isinstance(annotation, str)
        }
        types = {name: each for name, each in types.items() if not isinstance(each, str)}
        if types:
            found.append((function, types))
    return found


def restore(found: list[ResolvedAnnotations]) -> None:
    """Set the resolved annotations of the functions in *found*."""
    for function, types in found:
        function.__annotations__ = {**annotations_of(function), **types}


def _handlers(served: Any) -> Iterator[Callable[..., Any]]:
    functions: list[Any] = [served]
    if isinstance(served, type):
        # If routes are written by hand, any method may be a handler.
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
