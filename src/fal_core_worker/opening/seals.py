"""
Sealed objects: pickles with a prefix that says what is needed to open them.

Layout of ``Sealed.data``: one byte of version, one of flags, two for the sender's
Python (major, minor), then a pickle of protocol 5.
"""

from __future__ import annotations

import io
import sys
from collections import namedtuple
from collections.abc import Sequence

# ``pickle`` also imports a pickler written in Python, and ``re`` for it, which takes a
# fifth of a worker's start.
try:
    from _pickle import Pickler, Unpickler, dumps, load, loads
except ImportError:
    # This Python has no pickler in C.
    from pickle import Pickler, Unpickler, dumps, load, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class _Sealed(NamedTuple):
        data: bytes
        buffers: Sequence[Any] = ()

    #: A sealed object of any class, such as that of :mod:`fal_core.events`.
    AnySealed = tuple[bytes, Sequence[Any]]
else:
    # The typed form needs a module that is slow to import.
    _Sealed = namedtuple("_Sealed", ("data", "buffers"), defaults=((),))

__all__ = [
    "CODE_PREFIX",
    "CONTAINS_CODE",
    "PLAIN_PREFIX",
    "PREFIX_SIZE",
    "PYTHON",
    "MissingModule",
    "Sealed",
    "SealingError",
    "Unpickler",
    "dump_plain",
    "dumps",
    "load",
    "loads",
]

VERSION = 1
CONTAINS_CODE = 1

PYTHON = bytes(sys.version_info[:2])
PLAIN_PREFIX = bytes((VERSION, 0)) + PYTHON
CODE_PREFIX = bytes((VERSION, CONTAINS_CODE)) + PYTHON
PREFIX_SIZE = 4


class Sealed(_Sealed):
    """
    A pickled object. A host passes it on, and never opens it.

    Attributes:
        data: The prefix, then the pickle.

        buffers: The out-of-band buffers of the pickle, in order.
    """

    __slots__ = ()

    @property
    def contains_code(self) -> bool:
        """
        Whether it holds code, which only the Python minor that sealed it can open.
        """
        return bool(self.data[1] & CONTAINS_CODE)

    @property
    def python(self) -> tuple[int, int]:
        """
        The Python that sealed it, as (major, minor).
        """
        return self.data[2], self.data[3]


class SealingError(Exception):
    """
    Something cannot be sealed or opened.

    The caller of the function sees it as ``FalSerializationError``.
    """


class MissingModule(SealingError):
    """
    Something needs a module that is not installed.

    The caller of the function sees it as ``FalMissingDependencyError``.
    """


class _NotPlain(Exception):
    """
    A value is not made of built-in values alone.
    """


class _PlainPickler(Pickler):
    def reducer_override(self, value: Any) -> Any:
        # It is called for everything but exact built-in values.
        raise _NotPlain


# Making a pickler takes longer than pickling a small value, so picklers are reused.
_picklers: list[tuple[_PlainPickler, io.BytesIO]] = []
_KEPT_SIZE = 1 << 16


def dump_plain(value: Any) -> bytes | None:
    """
    Seal *value* at the speed of C if it is made of built-in values, else return None.
    """
    try:
        pickler, file = _picklers.pop()
    except IndexError:
        file = io.BytesIO()
        pickler = _PlainPickler(file, 5)
    file.write(PLAIN_PREFIX)
    try:
        pickler.dump(value)
    except (_NotPlain, RecursionError):
        return None
    data = file.getvalue()
    if len(data) < _KEPT_SIZE:
        pickler.clear_memo()
        file.seek(0)
        file.truncate()
        _picklers.append((pickler, file))
    return data
