"""Constraints of media."""

from __future__ import annotations

from fal_serve.media.constraints import (
    ImageSizeConstraints,
    ImageValidationConfig,
    ImageValidationOptions,
    VideoNormalizationConfig,
    VideoValidationConfig,
    VideoValidationOptions,
    to_xfal,
)

__all__ = [
    "ImageSizeConstraints",
    "ImageValidationConfig",
    "ImageValidationOptions",
    "VideoNormalizationConfig",
    "VideoValidationConfig",
    "VideoValidationOptions",
    "to_xfal",
]
