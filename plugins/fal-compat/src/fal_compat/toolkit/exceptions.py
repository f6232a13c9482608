"""Exceptions of the toolkit."""

from __future__ import annotations

from fal_serve.media.errors import (
    FileUploadException,
    FileUploadFallbackException,
    KVStoreException,
)
from fal_serve.media.errors import (
    MediaError as FalTookitException,
)

__all__ = [
    "FalTookitException",
    "FileUploadException",
    "FileUploadFallbackException",
    "KVStoreException",
]
