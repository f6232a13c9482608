"""Videos."""

from __future__ import annotations

from fal_serve.media.fields import (
    VideoField,
)
from fal_serve.media.images import (
    Video,
)

__all__ = [
    "Video",
    "VideoField",
]
