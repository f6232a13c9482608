"""The default repository, and the one that puts files into their URLs."""

from __future__ import annotations

from fal_serve.media.repositories import (
    FalFileRepository,
    InMemoryRepository,
)
from fal_serve.media.repositories import (
    FalFileRepository as FalCDNFileRepository,
)
from fal_serve.media.repositories import (
    FalFileRepository as FalFileRepositoryV2,
)
from fal_serve.media.repositories import (
    FalFileRepository as FalFileRepositoryV3,
)

__all__ = [
    "FalCDNFileRepository",
    "FalFileRepository",
    "FalFileRepositoryV2",
    "FalFileRepositoryV3",
    "InMemoryRepository",
]
