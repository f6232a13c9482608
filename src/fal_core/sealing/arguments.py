"""Sealing the arguments of calls."""

from __future__ import annotations

from typing import Any

from fal_core.errors import FalSerializationError
from fal_core.events import Sealed
from fal_core.sealing.functions import FunctionSeal
from fal_core_worker.opening.seals import SealingError, seal_plain


def seal_arguments(value: Any, seal: FunctionSeal) -> Sealed:
    """
    Seal the arguments of one call, or a list of the arguments of many.

    Raises:
        FalSerializationError: They cannot be pickled.
    """
    plain = seal_plain(value)
    return seal_objects(value, seal) if plain is None else Sealed(*plain)


def seal_objects(value: Any, seal: FunctionSeal, *, apart: bool = False) -> Sealed:
    """
    Seal arguments that are not plain values, for which ``seal_plain`` has returned None.

    Arguments:
        apart: Whether they are those of many calls.

    Raises:
        FalSerializationError: They cannot be pickled.
    """
    from fal_core_worker.opening import pickling

    what = f"an argument of {seal.name!r}"
    remedy = "Pass what it is made of, and make it in the function."
    names = ("args", "kwargs")
    try:
        sealed = pickling.seal(
            value, what, remedy, names, by_value=seal.by_value, known=seal.classes, apart=apart
        )
    except SealingError as error:
        raise FalSerializationError(str(error)) from error.__cause__
    return Sealed(*sealed)
