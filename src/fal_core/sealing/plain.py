"""
Reading bytes of processes that are not trusted: they may hold built-in values alone.
"""

from __future__ import annotations

import io
import pickle
from typing import TYPE_CHECKING, Any

from fal_core_worker.opening.seals import PREFIX_SIZE

if TYPE_CHECKING:
    from fal_core.events import Sealed


def load_plain(data: bytes | memoryview) -> Any:
    """
    Unpickle *data*, which may hold built-in values alone.

    Raises:
        UnpicklingError: It refers to a class or a function.
    """
    return _PlainUnpickler(io.BytesIO(data)).load()


def open_plain(sealed: Sealed) -> Any:
    """
    Open *sealed*, which may hold built-in values alone, such as the record of an exception.

    Raises:
        UnpicklingError: It refers to a class or a function.
    """
    return load_plain(memoryview(sealed.data)[PREFIX_SIZE:])


class _PlainUnpickler(pickle.Unpickler):
    """
    An unpickler of built-in values alone.
    """

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is no plain value")
