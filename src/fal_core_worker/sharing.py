"""
Sharing: values of different calls that refer to the same object, which may be changed.

What is sealed together refers to it together when it is opened. So the calls of a batch have
no such object in common: a function that changes a value changes that of one call.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Types whose values nobody changes.
FIXED = frozenset(
    (
        *(int, float, complex, bool, str, bytes, type(None), type(Ellipsis)),
        *(type, range, ModuleType, CodeType),
    )
)
_METHODS = (MethodType, BuiltinFunctionType, MethodWrapperType)
#: How deep containers are looked into. What is nested deeper is in no batch.
_DEPTH = 20
#: How many values are worth a look at whether some of them are the same.
_MANY = 10_000


class SharedObject(Exception):
    """
    Two of the calls that were to be sealed together have an object in common.

    Arguments:
        count: How many of the first of them have none.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count


class Watch:
    """
    Watches what a pickler meets in a list of calls, or of outcomes, to find what they share.

    It sees all that is pickled: attributes, and what objects give for themselves.
    """

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = iter(items)
        self._next: Any = next(self._items, None)
        self._owners: dict[int, int] = {}
        self._count = -1
        self._keywords: Any = None

    def look_at(self, value: Any, harmless: Iterable[Any]) -> None:
        """
        Note that *value*, of a type that is not in :data:`FIXED`, is pickled next.

        Arguments:
            harmless: Objects that may be shared.

        Raises:
            SharedObject: An earlier item has it too, and it may be changed.
        """
        if value is self._next:
            self._count += 1
            self._next = next(self._items, None)
            # Functions get a copy of their keyword arguments.
            self._keywords = value[1] if type(value[0]) is tuple else None
            return
        count = self._count
        if self._owners.setdefault(id(value), count) == count or value is self._keywords:
            return
        if not (any(value is each for each in harmless) or never_changes(value)):
            raise SharedObject(count)


def count_apart(calls: Sequence[Sequence[Any]]) -> int:
    """
    Return how many of the first *calls*, each given by its values, have no object in common.

    Lists, tuples and dictionaries are looked into. What other objects hold is found by
    :class:`Watch` when they are sealed.
    """
    # Most have none, and are looked at together, which takes far less time.
    if _find_changeable(chain.from_iterable(calls)) is not None:
        return len(calls)
    found: set[int] = set()
    for count, values in enumerate(calls):
        own = _find_changeable(values, repeated=True)
        if own is None or not found.isdisjoint(own):
            return max(count, 1)
        found.update(own)
    return len(calls)


def _find_changeable(values: Iterable[Any], *, repeated: bool = False) -> set[int] | None:
    """
    Return the identities of objects in *values* that may be changed, nested ones included.

    Return None if they are nested too deep, or if one is there twice.

    Arguments:
        repeated: Whether one may be there twice.
    """
    found: set[int] = set()
    for _ in range(_DEPTH):
        level = [value for value in values if type(value) not in FIXED]
        if not level:
            return found
        own = [
            id(value)
            for value in level
            if not _is_fixed(type(value))  # type: ignore[arg-type]  # types can be hashed
        ]
        before = len(found)
        found.update(own)
        if not repeated and len(found) - before < len(own):
            return None
        if repeated or len(level) > _MANY:
            # What is there many times is looked into once.
            level = list({id(value): value for value in level}.values())
        values = chain.from_iterable([_look_into(value) for value in level])
    return None


def _look_into(value: Any) -> Iterable[Any]:
    kind = type(value)
    found: Iterable[Any] = ()
    if kind is dict:
        found = value.values()
    elif kind is list or kind is tuple:
        found = value
    return found


@lru_cache(128)
def _is_fixed(kind: type) -> bool:
    """Tell whether values of *kind* are compared by what they are, and so do not change."""
    if issubclass(kind, (tuple, type, FunctionType)):
        return True
    by_value = kind.__hash__ is not None and kind.__hash__ is not object.__hash__
    return by_value and not hasattr(kind, "__setitem__")


def never_changes(value: Any, depth: int = 0) -> bool:
    """Tell whether nobody can change *value*, and what it refers to, as far as is known."""
    kind = type(value)
    if kind in FIXED or isinstance(value, type):
        return True
    try:
        parts = _find_parts(value)
    except Exception:
        # Such as a variable that has no value yet.
        return False
    if parts is None or depth == _DEPTH:
        return False
    return all(never_changes(part, depth + 1) for part in parts)


def _find_parts(value: Any) -> Iterable[Any] | None:
    """Return what *value*, which does not change itself, refers to. None if it may change."""
    import gc
    from enum import Enum

    kind: Any = type(value)
    parts: Iterable[Any] = value
    if kind is tuple or kind is frozenset:
        return parts
    if kind is FunctionType:
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        return [*cells, *(value.__defaults__ or ()), *(value.__kwdefaults__ or {}).values()]
    if kind in _METHODS:
        return (value.__self__,)
    if isinstance(value, Enum) or kind.__module__ == "zoneinfo":
        return ()  # There is one of each where it arrives too.
    if not _is_fixed(kind):
        # What pickles to a name, as a type of numbers does, is one object anyway.
        return () if type(value.__reduce_ex__(4)) is str else None
    if kind.__module__.partition(".")[0] in sys.stdlib_module_names:
        return ()
    attributes = getattr(value, "__dict__", None)
    parts = [part for part in gc.get_referents(value) if part is not attributes]
    return [*parts, *(attributes or {}).values()]
