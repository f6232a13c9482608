"""
Sealed objects: pickles that say what they need before they are opened.

Layout of ``Sealed.data``: one byte of version, one of flags, two for the
sender's Python (major, minor), then a pickle of protocol 5.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

VERSION = 1
CONTAINS_CODE = 1

_PYTHON = bytes(sys.version_info[:2])
PLAIN_PREFIX = bytes((VERSION, 0)) + _PYTHON
CODE_PREFIX = bytes((VERSION, CONTAINS_CODE)) + _PYTHON
PREFIX_SIZE = 4


class Sealed(NamedTuple):
    """
    A pickled object that a host moves and does not open.

    Attributes:
        data: The prefix and the pickle.

        buffers: The out-of-band buffers of the pickle, in order.
    """

    data: bytes
    buffers: Sequence[Any] = ()

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
