"""
Pickles of another Python minor: the same classes under other names.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable
from typing import Any


class ForeignUnpickler(pickle.Unpickler):
    """
    Finds classes that moved inside the standard library between Pythons.
    """

    def find_class(self, module: str, name: str) -> Any:
        try:
            return super().find_class(module, name)
        except (ModuleNotFoundError, AttributeError):
            # As ``pathlib._local.PosixPath``, which others have in ``pathlib``.
            parent, _, private = module.rpartition(".")
            if not parent or not private.startswith("_"):
                raise
            return super().find_class(parent, name)


def load_foreign(data: Any, *, buffers: Iterable[Any]) -> Any:
    """
    Open a pickle that another Python minor made.
    """
    return ForeignUnpickler(io.BytesIO(data), buffers=buffers).load()
