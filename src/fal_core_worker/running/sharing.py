"""
Sharing: values of different calls that refer to the same object, which may be changed.

What is sealed together refers to it together when it is opened. So the calls of a batch have
no such object in common: whoever changes a value changes that of one call.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain, islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

#: Types whose values nobody changes.
_FIXED = frozenset(
    (
        *(int, float, complex, bool, str, bytes, type(None), type(Ellipsis), type, range),
        *(FunctionType, BuiltinFunctionType, MethodType, ModuleType),
    )
)
#: How deep values are looked into, and how many of those in a container are looked at.
_DEPTH, _MOST = 3, 100


def count_apart(calls: Sequence[Sequence[Any]]) -> int:
    """
    Return how many of the first *calls*, each given by its values, have no object in common.
    """
    # Most have none, and are looked at together, which takes far less time.
    own = _find_changeable(chain.from_iterable(calls))
    if len(own) == len(set(own)):
        return len(calls)
    found: set[int] = set()
    for count, values in enumerate(calls):
        own = _find_changeable(values)
        if not found.isdisjoint(own):
            return count
        found.update(own)
    return len(calls)


def _find_changeable(values: Iterable[Any]) -> list[int]:
    """
    Return the identities of objects in *values* that may be changed, nested ones included.
    """
    found: list[int] = []
    for _ in range(_DEPTH):
        level = [value for value in values if type(value) not in _FIXED]
        if not level:
            break
        # mypy takes types for what cannot be hashed.
        found += [id(value) for value in level if not _is_fixed(type(value))]  # type: ignore[arg-type]
        values = chain.from_iterable([_look_into(value) for value in level])
    return found


def _look_into(value: Any) -> Iterable[Any]:
    kind = type(value)
    if kind is dict:
        return islice(value.values(), _MOST)
    return islice(value, _MOST) if kind is list or kind is tuple else ()


@lru_cache(128)
def _is_fixed(kind: type) -> bool:
    """
    Tell whether values of *kind* are compared by what they are, and so do not change.
    """
    if issubclass(kind, (tuple, type)):
        return True
    by_value = kind.__hash__ is not None and kind.__hash__ is not object.__hash__
    return by_value and not hasattr(kind, "__setitem__")
