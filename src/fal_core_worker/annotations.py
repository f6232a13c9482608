"""
Annotations, as they are read of functions and classes that come from users.

From Python 3.14 on annotations are evaluated when they are read, and may name what only type
checkers see. Such an annotation is read as its text, as every one of a module is that has
``from __future__ import annotations``.
"""

from __future__ import annotations

import sys
import types

TYPE_CHECKING = False
if TYPE_CHECKING:
    import inspect
    from collections.abc import Callable
    from typing import Any


def annotations_of(value: Any) -> dict[str, Any]:
    """Return the annotations of *value*, a function or class; none of what has none."""
    try:
        found = getattr(value, "__annotations__", None)
    except Exception:
        return _partly_evaluated(value)
    return found if isinstance(found, dict) else {}


def readable(function: types.FunctionType) -> types.FunctionType:
    """Return *function*, or a copy of one whose annotations cannot all be evaluated."""
    try:
        function.__annotations__  # noqa: B018, evaluated by being read
    except Exception:
        copy = types.FunctionType(
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        for name in ("__qualname__", "__module__", "__doc__", "__kwdefaults__"):
            setattr(copy, name, getattr(function, name))
        copy.__dict__.update(function.__dict__)
        copy.__annotations__ = annotations_of(function)
        return copy
    return function


def signature_of(function: Callable[..., Any]) -> inspect.Signature:
    """
    Return the signature of *function*, with its annotations as :func:`annotations_of` has them.

    Raises:
        TypeError: It cannot be called.

        ValueError: It has no signature.
    """
    import inspect

    try:
        return inspect.signature(function)
    except (TypeError, ValueError):
        raise
    except Exception:
        if sys.version_info >= (3, 14):
            from annotationlib import Format

            written = inspect.signature(function, annotation_format=Format.STRING)
            found = annotations_of(inspect.unwrap(function))
            parameters = [
                each.replace(annotation=found.get(each.name, each.annotation))
                for each in written.parameters.values()
            ]
            returned = found.get("return", written.return_annotation)
            return written.replace(parameters=parameters, return_annotation=returned)
        raise


def _partly_evaluated(value: Any) -> dict[str, Any]:
    if sys.version_info >= (3, 14):
        from annotationlib import Format, get_annotations

        texts: dict[str, Any] = get_annotations(value, format=Format.STRING)
        try:
            found = get_annotations(value, format=Format.FORWARDREF)
        except Exception:
            # A name is there, and has not the attribute that the annotation takes of it.
            return texts
        return {name: found[name] if _is_whole(found[name]) else texts[name] for name in texts}
    return {}


def _is_whole(annotation: Any) -> bool:
    from typing import ForwardRef, get_args

    if isinstance(annotation, (list, tuple)):
        return all(map(_is_whole, annotation))
    return not isinstance(annotation, ForwardRef) and _is_whole(get_args(annotation))
