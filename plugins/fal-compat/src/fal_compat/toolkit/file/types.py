"""What repositories take."""

from __future__ import annotations

from fal_serve.media.repositories import (
    FileData,
    FileRepository,
    RepositoryId,
    Reservation,
)

__all__ = [
    "FileData",
    "FileRepository",
    "RepositoryId",
    "Reservation",
]
