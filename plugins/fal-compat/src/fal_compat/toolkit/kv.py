"""The key-value store."""

from __future__ import annotations

from fal_serve.media.errors import (
    KVStoreException,
)
from fal_serve.media.key_values import (
    KVStore,
)

__all__ = [
    "KVStore",
    "KVStoreException",
]
