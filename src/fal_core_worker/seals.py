"""
Sealed objects: pickles that say what they need before they are opened.

Layout of ``Sealed.data``: one byte of version, one of flags, two for the
sender's Python (major, minor), then a pickle of protocol 5.
"""

from __future__ import annotations

import io
import sys
from collections import namedtuple
from collections.abc import Sequence

from fal_core_worker import pickles

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class _Sealed(NamedTuple):
        data: bytes
        buffers: Sequence[Any] = ()
else:
    # The typed form takes a module that is slow to import.
    _Sealed = namedtuple("_Sealed", ("data", "buffers"), defaults=((),))

VERSION = 1
CONTAINS_CODE = 1

PYTHON = bytes(sys.version_info[:2])
PLAIN_PREFIX = bytes((VERSION, 0)) + PYTHON
CODE_PREFIX = bytes((VERSION, CONTAINS_CODE)) + PYTHON
PREFIX_SIZE = 4


class Sealed(_Sealed):
    """
    A pickled object that a host moves and does not open.

    Attributes:
        data: The prefix and the pickle.

        buffers: The out-of-band buffers of the pickle, in order.
    """

    __slots__ = ()

    @property
    def contains_code(self) -> bool:
        """
        Whether only the Python minor that sealed it may open it.
        """
        return bool(self.data[1] & CONTAINS_CODE)

    @property
    def python(self) -> tuple[int, int]:
        """
        The Python that sealed it, as (major, minor).
        """
        return self.data[2], self.data[3]


class NotPlain(Exception):
    """
    The value holds more than built-in values.
    """


class _PlainPickler(pickles.Pickler):
    def reducer_override(self, value: Any) -> Any:
        # It is asked about everything but exact built-in values.
        raise NotPlain


# Making a pickler costs more than a small value does, so they are kept.
_picklers: list[tuple[_PlainPickler, io.BytesIO]] = []
_KEPT_SIZE = 1 << 16


def dump_plain(value: Any) -> bytes | None:
    """
    Seal *value* at C speed where it is made of built-in values, else return None.
    """
    try:
        pickler, file = _picklers.pop()
    except IndexError:
        file = io.BytesIO()
        pickler = _PlainPickler(file, 5)
    file.write(PLAIN_PREFIX)
    try:
        pickler.dump(value)
    except (NotPlain, RecursionError):
        return None
    data = file.getvalue()
    if len(data) < _KEPT_SIZE:
        pickler.clear_memo()
        file.seek(0)
        file.truncate()
        _picklers.append((pickler, file))
    return data
