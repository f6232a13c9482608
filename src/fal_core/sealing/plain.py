"""
Reading bytes of processes that are not trusted: they may hold built-in values alone.

They are pickles, and no pickle machine reads them: a few bytes can have that call what is
installed, or fill the memory. What is read here takes memory for the bytes that are there.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fal_core_worker.opening.seals import PREFIX_SIZE

if TYPE_CHECKING:
    from fal_core.events import Sealed

#: Operations whose argument is the value.
_VALUES = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
        *("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    )
)
#: Operations that stand for a value.
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_SET": set,
}
_SCALARS = frozenset((type(None), bool, int, float, str, bytes))
#: Values in a tuple that is a key, and bits of an integer in one.
_MOST_PARTS, _MOST_BITS = 16, 1024
#: The most keys of one dictionary or set that has other keys than texts and bytes.
_MOST_NUMBERED = 256
#: Operations that make a tuple of the last values, and of how many.
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
#: Operations that add to what stands before: one value, or those since the last mark.
_ADDITIONS: dict[str, tuple[type, int | None]] = {
    "APPEND": (list, 1),
    "APPENDS": (list, None),
    "SETITEM": (dict, 2),
    "SETITEMS": (dict, None),
    "ADDITEMS": (set, None),
}


def load_plain(data: bytes | memoryview) -> Any:
    """
    Read the pickle *data*, which may hold built-in values alone.

    Raises:
        UnpicklingError: It refers to a class or a function, or is no pickle.
    """
    from pickletools import genops

    values = _Values()
    try:
        for operation, argument, _ in genops(bytes(data)):
            values.take(operation.name, argument)
        (value,) = values.stack
    except pickle.UnpicklingError:
        raise
    except (LookupError, OverflowError, TypeError, ValueError) as error:
        raise pickle.UnpicklingError(f"the pickle is broken: {error}") from error
    return value


def open_plain(sealed: Sealed) -> Any:
    """
    Open *sealed*, which may hold built-in values alone, such as the record of an exception.

    Raises:
        UnpicklingError: It refers to a class or a function, or is no pickle.
    """
    return load_plain(memoryview(sealed.data)[PREFIX_SIZE:])


class _Values:
    """
    The values that a pickle has made so far.

    Attributes:
        stack: Those that are in no other yet.
    """

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def take(self, name: str, argument: Any) -> None:
        """Apply an operation."""
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in _TUPLES:
            stack.append(tuple(self._pop(_TUPLES[name])))
        elif name == "TUPLE":
            stack.append(tuple(self._pop(None)))
        elif name == "FROZENSET":
            stack.append(frozenset(_check_keys(self._pop(None))))
        elif name in _ADDITIONS:
            kind, count = _ADDITIONS[name]
            added = self._pop(count)
            _add(stack[-1], kind, added)
        elif name not in ("PROTO", "FRAME", "STOP"):
            if name == "GLOBAL":
                name = str(argument).replace(" ", ".")
            elif name == "STACK_GLOBAL":
                name = ".".join(part for part in stack[-2:] if type(part) is str)
            raise pickle.UnpicklingError(f"{name:.200} is no plain value")

    def _pop(self, count: int | None) -> list[Any]:
        """Take the last *count* values, or those since the last mark."""
        at = self._marks.pop() if count is None else len(self.stack) - count
        if at < (self._marks[-1] if self._marks else 0):
            raise ValueError("there are too few values")
        taken = self.stack[at:]
        del self.stack[at:]
        return taken


def _check_keys(keys: list[Any], present: int = 0) -> list[Any]:
    """
    Return *keys*, if they can be hashed and told apart in no time.

    Tuples in tuples may take for ever, and so may a long tuple or integer that is a key again
    and again. Many numbers can be chosen to have the same hash, which texts and bytes cannot.

    Arguments:
        present: How many keys there are already.
    """
    numbered = False
    for key in keys:
        parts = key if type(key) is tuple else (key,)
        if len(parts) > _MOST_PARTS:
            raise ValueError(f"a key has {len(parts)} values, of at most {_MOST_PARTS}")
        for part in parts:
            kind = type(part)
            if kind not in _SCALARS:
                raise TypeError(f"{kind.__name__} is part of a key")
            if kind is int and part.bit_length() > _MOST_BITS:
                raise ValueError(f"a key has {part.bit_length()} bits, of at most {_MOST_BITS}")
            numbered = numbered or kind not in (str, bytes)
    if numbered and present + len(keys) > _MOST_NUMBERED:
        raise ValueError(f"more than {_MOST_NUMBERED} keys are not all texts or bytes")
    return keys


def _add(value: Any, kind: type[Any], added: list[Any]) -> None:
    if type(value) is not kind:
        raise TypeError(f"{type(value).__name__} stands in place of {kind.__name__}")
    if isinstance(value, dict):
        keys, values = added[::2], added[1::2]
        value.update(zip(_check_keys(keys, len(value)), values, strict=True))
    elif isinstance(value, list):
        value += added
    else:
        value.update(_check_keys(added, len(value)))
