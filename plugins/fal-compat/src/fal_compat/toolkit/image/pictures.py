"""Images of Pillow, before and after a model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


def filter_by(has_nsfw_concepts: Iterable[bool], images: Iterable[Picture]) -> list[Picture]:
    """
    Return *images*, with a black one of the same size for each that is marked.

    Raises:
        ValueError: There are not as many marks as images.
    """
    from PIL import Image as pictures

    pairs = zip(images, has_nsfw_concepts, strict=True)
    return [pictures.new("RGB", image.size) if marked else image for image, marked in pairs]


def preprocess_image(
    image_pil: Picture, convert_to_rgb: bool = True, fix_orientation: bool = True
) -> Picture:
    """Return the first picture of an image, turned upright and without transparency."""
    from PIL import ImageOps

    # Of a file with several pictures, as cameras make them, the first one counts.
    image_pil.seek(0)
    picture = ImageOps.exif_transpose(image_pil) if fix_orientation else image_pil.copy()
    return picture.convert("RGB") if convert_to_rgb else picture
