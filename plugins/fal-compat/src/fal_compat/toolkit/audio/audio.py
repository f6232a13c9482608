"""Sounds."""

from __future__ import annotations

from fal_serve.media.fields import (
    AudioField,
)
from fal_serve.media.images import (
    Audio,
)

__all__ = [
    "Audio",
    "AudioField",
]
