"""Images."""

from __future__ import annotations

from fal_serve.media.fields import (
    ImageField,
    ImageSizeField,
)
from fal_serve.media.images import (
    IMAGE_SIZE_PRESETS,
    MAX_IMAGE_DOWNLOAD_SIZE,
    Image,
    ImageFormat,
    ImageSize,
    ImageSizeInput,
    ImageSizePreset,
    get_image_size,
    read_image_from_url,
)

__all__ = [
    "IMAGE_SIZE_PRESETS",
    "MAX_IMAGE_DOWNLOAD_SIZE",
    "Image",
    "ImageField",
    "ImageFormat",
    "ImageSize",
    "ImageSizeField",
    "ImageSizeInput",
    "ImageSizePreset",
    "get_image_size",
    "read_image_from_url",
]
