"""
Sealed objects: pickles with a prefix that says what is needed to open them.

Layout of ``Sealed.data``: one byte of version, one of flags, two for the sender's
Python (major, minor), then a pickle of protocol 5. If it is divided, that is the pickle of
a list, whose items are the pieces of the value's pickle: bytes, and None for each piece
that is the next of the buffers. The buffers of the value follow those.
"""

from __future__ import annotations

import sys
from collections import namedtuple
from collections.abc import Sequence
from itertools import groupby

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
    "DIVIDED",
    "PLAIN_PREFIX",
    "PREFIX_SIZE",
    "PYTHON",
    "MissingModule",
    "Sealed",
    "SealingError",
    "Unpickler",
    "assemble",
    "dumps",
    "load",
    "loads",
    "seal_plain",
]

VERSION = 1
CONTAINS_CODE = 1
DIVIDED = 2

PYTHON = bytes(sys.version_info[:2])
# The prefix for each combination of flags.
_PREFIXES = tuple(bytes((VERSION, flags)) + PYTHON for flags in range(4))
PLAIN_PREFIX, CODE_PREFIX = _PREFIXES[0], _PREFIXES[CONTAINS_CODE]
PREFIX_SIZE = 4


class Sealed(_Sealed):
    """
    A pickled object. A host passes it on, and never opens it.

    Attributes:
        data: The prefix, then the pickle.

        buffers: Large pieces of the pickle, and its out-of-band buffers, in order.
    """

    __slots__ = ()

    @property
    def contains_code(self) -> bool:
        """Whether it holds code, which only the Python minor that sealed it can open."""
        return bool(self.data[1] & CONTAINS_CODE)

    @property
    def is_divided(self) -> bool:
        """Whether large pieces of the pickle are among the buffers."""
        return bool(self.data[1] & DIVIDED)

    @property
    def python(self) -> tuple[int, int]:
        """The Python that sealed it, as (major, minor)."""
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
    """A value is not made of built-in values alone."""


class _PlainPickler(Pickler):
    def reducer_override(self, value: Any) -> Any:
        # It is called for everything but exact built-in values.
        raise _NotPlain


class Output:
    """
    A file for a pickler. Its pieces are what is written, none of it copied.

    A pickler writes the contents of large ``bytes`` and ``bytearray`` on their own, as the
    objects that they are.
    """

    __slots__ = ("pieces", "write")

    def __init__(self) -> None:
        self.pieces: list[Any] = []
        self.write = self.pieces.append


# Making a pickler takes longer than pickling a small value, so picklers are reused.
_picklers: list[tuple[_PlainPickler, list[Any]]] = []
_KEPT_SIZE = 1 << 16

#: Bytes: a piece of at least this size travels beside the pickle. No frame of a pickle is
#: as large, unless what it holds is.
LARGE_PIECE = 1 << 17
#: The most buffers of one sealed object, which a frame of a stream can carry.
MOST_BUFFERS = 0xFFFF


def seal_plain(value: Any, *, beside: bool = True) -> tuple[bytes, Sequence[Any]] | None:
    """
    Seal *value* at the speed of C if it is made of built-in values, else return None.

    Arguments:
        beside: Whether large buffers may travel beside the pickle.
    """
    try:
        pickler, pieces = _picklers.pop()
    except IndexError:
        output = Output()
        pickler, pieces = _PlainPickler(output, 5), output.pieces
    try:
        pickler.dump(value)
    except _NotPlain:
        if not pieces:
            # It has remembered little so far.
            pickler.clear_memo()
            _picklers.append((pickler, pieces))
        return None
    except RecursionError:
        return None
    if len(pieces) > 1:
        return assemble(pieces, divisible=beside)
    data: bytes = PLAIN_PREFIX + pieces.pop()
    if len(data) < _KEPT_SIZE:
        pickler.clear_memo()
        _picklers.append((pickler, pieces))
    return data, ()


def assemble(
    pieces: list[Any], buffers: Sequence[Any] = (), *, flags: int = 0, divisible: bool = True
) -> tuple[bytes, Sequence[Any]]:
    """
    Return the data and the buffers of a sealed object.

    Arguments:
        pieces: What a pickler has written.

        buffers: The out-of-band buffers of the pickle.

        divisible: Whether large pieces become buffers, instead of being copied.
    """
    if not divisible or max(map(len, pieces)) < LARGE_PIECE:
        return b"".join((_PREFIXES[flags], *pieces)), buffers
    room = MOST_BUFFERS - len(buffers)
    kept: list[bytes | None] = []
    beside: list[memoryview] = []
    for is_large, run in groupby(pieces, lambda piece: len(piece) >= LARGE_PIECE):
        for piece in run if is_large else (b"".join(run),):
            if len(piece) < LARGE_PIECE or len(beside) >= room:
                kept.append(bytes(piece))
            else:
                kept.append(None)
                # A view keeps a bytearray from being resized before it is sent.
                beside.append(memoryview(piece))
    return _PREFIXES[flags | DIVIDED] + dumps(kept, 5), (*beside, *buffers)
