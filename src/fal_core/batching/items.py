"""The items of batches: their arguments, and their outcomes."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from fal_core.errors import FalSerializationError
from fal_core.events import Sealed
from fal_core.sealing.opener import Opener
from fal_core_worker.stream.frames import RAISED, SEALED, VALUE

#: The positional and the keyword arguments of an item.
Arguments = tuple[tuple[Any, ...], dict[str, Any]]

#: The outcome of an item: (VALUE, value) or (RAISED, error).
ItemOutcome = tuple[int, Any]


def open_items(opener: Opener, sealed: Sealed) -> list[ItemOutcome]:
    """Open the outcomes that an event of a batch carries."""
    outcomes: list[ItemOutcome] = opener.open_value(sealed)
    if any(map(itemgetter(0), outcomes)):
        return [_open_item(opener, kind, value) for kind, value in outcomes]
    return outcomes


def _open_item(opener: Opener, kind: int, value: Any) -> ItemOutcome:
    try:
        if kind == RAISED:
            return RAISED, opener.open_error(Sealed(value))
        if kind == SEALED:
            return VALUE, opener.open_value(Sealed(*value))
    except Exception as error:
        return RAISED, error
    return kind, value


def named_argument(
    error: Exception, seal: Callable[[Arguments], Any], item: Arguments
) -> Exception:
    """
    Return *error*, which sealing a batch of one *item* has raised, as the item's own call has
    it: its sentence names the argument, and not a place in the batch.
    """
    if isinstance(error, FalSerializationError):
        try:
            seal(item)
        except FalSerializationError as own:
            return own
        except Exception:
            # The item has an error already.
            return error
    return error
