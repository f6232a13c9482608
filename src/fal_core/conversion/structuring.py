"""
Structuring: values that users write, made into what an annotation declares.

It is strict: nothing is coerced but lists to tuples and integers to floats, and the
error says where a value is wrong.
"""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any, Literal

from fal_core.conversion.annotations import PRIMITIVES, UNIONS

if TYPE_CHECKING:
    from fal_core.conversion.mismatches import Manner

_PLAIN = frozenset((*PRIMITIVES, type(None)))

#: What :func:`_accept` returns for a value that has to be looked at closely.
_UNCLEAR = object()


def structure(value: Any, annotation: Any, where: str, *, manner: Manner = "written") -> Any:
    """
    Return *value* as *annotation* has it: a list becomes a tuple, an integer a float.

    Arguments:
        where: The name of the option or the parameter, for the error.

    Raises:
        OptionTypeError: *value* is of another type.
    """
    if manner == "written":
        accepted = _accept(value, annotation)
        if accepted is not _UNCLEAR:
            return accepted
    # Imported for what is neither plain nor right: most programs start without it.
    from fal_core.conversion.strict import structure_strictly

    return structure_strictly(value, annotation, where, manner=manner)


def _accept(value: Any, annotation: Any) -> Any:
    """Return *value* if it is clear at once that it fits, else :data:`_UNCLEAR`."""
    kind = type(value)
    if annotation is Any or kind is annotation:
        return value
    if annotation is float and kind is int:
        try:
            return float(value)
        except OverflowError:
            return _UNCLEAR
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        fitting = (one for one in arguments if type(one) is kind and one == value)
        return next(fitting, _UNCLEAR)
    if origin is frozenset and kind is frozenset:
        # As the capabilities of hosts have them.
        return value if all(type(one) in arguments for one in value) else _UNCLEAR
    if origin in UNIONS:
        if kind in _PLAIN and kind in arguments:
            return value
        if kind is frozenset:
            accepted = (_accept(value, arm) for arm in arguments)
            return next((one for one in accepted if one is not _UNCLEAR), _UNCLEAR)
        # An arm of another type might take the integer before ``float`` does.
        if kind is int and float in arguments and _PLAIN.issuperset(arguments):
            return _accept(value, float)
    return _UNCLEAR
