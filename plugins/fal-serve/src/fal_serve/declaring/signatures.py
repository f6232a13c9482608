"""Signatures of handlers."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from fal_core_worker.annotations import signature_of as read_signature


def resolve_annotation(annotation: Any, function: Callable[..., Any]) -> Any:
    """Return the type that *annotation* of *function* stands for; unresolvable text stays text."""
    if not isinstance(annotation, str):
        return annotation
    space = getattr(inspect.unwrap(function), "__globals__", {})
    try:
        return eval(annotation, dict(space))
    except Exception:
        return annotation


def signature_of(handler: Callable[..., Any]) -> inspect.Signature:
    """Return the signature of *handler* with its textual annotations resolved."""
    written = read_signature(handler)
    return written.replace(
        parameters=[
            each.replace(annotation=resolve_annotation(each.annotation, handler))
            for each in written.parameters.values()
        ],
        return_annotation=resolve_annotation(written.return_annotation, handler),
    )


def parameters_of(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """Return the parameters of *function* as they are written; none if it has no signature."""
    try:
        return list(read_signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def batch_parameter(function: Callable[..., Any]) -> inspect.Parameter | None:
    """Return the parameter ``*inputs`` of a handler that takes batches, or None."""
    for parameter in parameters_of(function):
        if parameter.kind is parameter.VAR_POSITIONAL:
            return parameter
    return None


def leads_batch(function: Callable[..., Any]) -> bool:
    """
    Tell whether a bound *function* takes batches as ``(input, *inputs)``.

    These are the inputs of one realtime session, which get one output together.
    """
    parameters = parameters_of(function)
    return batch_parameter(function) is not None and parameters[0].kind in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
    )
