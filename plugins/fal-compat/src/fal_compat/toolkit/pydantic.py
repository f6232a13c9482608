"""Models and fields."""

from __future__ import annotations

from pydantic import Field

from fal_serve.media.fields import (
    AudioField,
    FalBaseModel,
    FileField,
    Hidden,
    ImageField,
    VideoField,
)

__all__ = [
    "IS_PYDANTIC_V2",
    "AudioField",
    "FalBaseModel",
    "Field",
    "FileField",
    "Hidden",
    "ImageField",
    "VideoField",
]

IS_PYDANTIC_V2 = True
