"""
Converters: values that users write, and values from the wire, made into typed ones.

What a user writes is taken strictly: nothing is coerced, and what is wrong is
said where it stands. cattrs is the authority, and is imported where the first
look of :mod:`fal_core.conversion.shortcuts` does not suffice.
"""

from __future__ import annotations

import functools
import reprlib
from typing import TYPE_CHECKING, Any

from fal_core.conversion.shortcuts import UNSURE, WRONG, accept
from fal_core.errors import OptionTypeError

if TYPE_CHECKING:
    import cattrs

    from fal_core.conversion.mismatches import Manner


def structure(value: Any, annotation: Any, where: str, *, manner: Manner = "written") -> Any:
    """
    Return *value* as *annotation* has it: a list becomes a tuple, an integer a float.

    Arguments:
        where: The name of the option or the parameter, for the error.

    Raises:
        OptionTypeError: *value* is of another type.
    """
    result = accept(value, annotation)
    if result is not UNSURE and result is not WRONG:
        return result
    from fal_core.conversion.mismatches import Mismatch

    try:
        return converter(manner).structure(value, annotation)
    except Mismatch as mismatch:
        path = where + "".join(mismatch.path)
        raise OptionTypeError(path, show(mismatch.value), mismatch.expected) from None


def wire_converter() -> cattrs.Converter:
    """
    Return the converter for what came over a wire, where integers arrive as doubles.

    It raises :class:`~fal_core.conversion.mismatches.Mismatch` for what fits no type at all.
    """
    return converter("wire")


@functools.cache
def converter(manner: Manner) -> cattrs.Converter:
    """
    Return the cattrs converter of *manner*; it is made once.
    """
    from fal_core.conversion.structuring import make_converter

    return make_converter(manner)


def show(value: Any) -> str:
    """
    Return *value* as ``repr`` shows it, shortened, and its type.
    """
    if value is None:
        return "None"
    return f"{reprlib.repr(value)} ({type(value).__name__})"
