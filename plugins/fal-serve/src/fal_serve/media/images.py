"""Images, sounds and videos in requests and responses."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Self

from fal_serve.media.downloads import fetch_bytes
from fal_serve.media.errors import DownloadError, MediaInputError
from fal_serve.media.files import File
from fal_serve.media.repositories import (
    DEFAULT_REPOSITORY,
    FALLBACK_REPOSITORY,
    FileRepository,
    Repositories,
    RepositoryId,
)

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

#: The most bytes of an image that is downloaded.
MAX_IMAGE_DOWNLOAD_SIZE = 50 * 1024 * 1024

ImageFormat = Literal["png", "jpeg", "jpg", "webp", "gif"]
ImageSizePreset = Literal[
    "square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"
]


class ImageSize(BaseModel):
    """The width and the height of an image, in pixels."""

    width: int = Field(
        default=512, description="The width of the generated image.", gt=0, le=14142
    )
    height: int = Field(
        default=512, description="The height of the generated image.", gt=0, le=14142
    )


IMAGE_SIZE_PRESETS: dict[ImageSizePreset, ImageSize] = {
    "square_hd": ImageSize(width=1024, height=1024),
    "square": ImageSize(width=512, height=512),
    "portrait_4_3": ImageSize(width=768, height=1024),
    "portrait_16_9": ImageSize(width=576, height=1024),
    "landscape_4_3": ImageSize(width=1024, height=768),
    "landscape_16_9": ImageSize(width=1024, height=576),
}

ImageSizeInput = ImageSize | ImageSizePreset


def get_image_size(source: ImageSizeInput) -> ImageSize:
    """Return the size that *source* is, or is the name of."""
    if isinstance(source, ImageSize):
        return source
    if isinstance(source, str) and source in IMAGE_SIZE_PRESETS:
        return IMAGE_SIZE_PRESETS[source]
    known = ", ".join(IMAGE_SIZE_PRESETS)
    raise TypeError(
        f"{source!r} is no size of an image. Write an ImageSize, or one of {known}."
    )


class Image(File):
    """An image at a URL."""

    width: int | None = Field(
        None, description="The width of the image in pixels.", examples=[1024]
    )
    height: int | None = Field(
        None, description="The height of the image in pixels.", examples=[1024]
    )

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"ui": {"field": "image"}}
    )

    @classmethod
    def from_bytes(  # type: ignore[override]  # as fal's does
        cls,
        data: bytes,
        format: ImageFormat,
        size: ImageSize | None = None,
        file_name: str | None = None,
        repository: FileRepository | RepositoryId = DEFAULT_REPOSITORY,
        fallback_repository: Repositories | None = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: dict[str, Any] | None = None,
        fallback_save_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Keep an image that is encoded already, and return it with its URL."""
        made = super().from_bytes(
            data,
            content_type=f"image/{format}",
            file_name=file_name,
            repository=repository,
            fallback_repository=fallback_repository,
            request=request,
            save_kwargs=save_kwargs,
            fallback_save_kwargs=fallback_save_kwargs,
        )
        if size is not None:
            made.width, made.height = size.width, size.height
        return made

    @classmethod
    def from_pil(
        cls,
        pil_image: Picture,
        format: ImageFormat | None = None,
        file_name: str | None = None,
        repository: FileRepository | RepositoryId = DEFAULT_REPOSITORY,
        fallback_repository: Repositories | None = FALLBACK_REPOSITORY,
        request: Any = None,
        save_kwargs: dict[str, Any] | None = None,
        fallback_save_kwargs: dict[str, Any] | None = None,
    ) -> Self:
        """Encode and keep an image of Pillow, and return it with its URL."""
        chosen: Any = format or (pil_image.format or "png").lower()
        # As JPEG, an image has no transparency.
        picture = pil_image
        if chosen in ("jpeg", "jpg") and picture.mode not in ("RGB", "L", "CMYK"):
            picture = picture.convert("RGB")
        options = {
            "png": {"compress_level": 1},
            "jpeg": {"quality": 95},
            "jpg": {"quality": 95},
        }
        with io.BytesIO() as file:
            encoder = "jpeg" if chosen == "jpg" else chosen
            picture.save(file, format=encoder, **options.get(chosen, {}))
            data = file.getvalue()
        return cls.from_bytes(
            data,
            chosen,
            ImageSize(width=pil_image.width, height=pil_image.height),
            file_name,
            repository,
            fallback_repository=fallback_repository,
            request=request,
            save_kwargs=save_kwargs,
            fallback_save_kwargs=fallback_save_kwargs,
        )

    def to_pil(self, mode: str = "RGB") -> Picture:
        """
        Download the image, turn it upright, and return it as one of Pillow.

        Raises:
            MediaInputError: It cannot be downloaded, is too large, or is no image.
        """
        return _read(self.url, MAX_IMAGE_DOWNLOAD_SIZE, mode)


class Audio(File):
    """A sound at a URL."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"ui": {"field": "audio"}}
    )


class Video(File):
    """A video at a URL."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        json_schema_extra={"ui": {"field": "video"}}
    )


@lru_cache(maxsize=64)
def read_image_from_url(
    url: str,
    convert_to_rgb: bool = True,
    fix_orientation: bool = True,
    max_size: int = MAX_IMAGE_DOWNLOAD_SIZE,
) -> Picture:
    """
    Return the image at *url* as one of Pillow; the last ones are kept in memory.

    Raises:
        MediaInputError: It cannot be downloaded, is too large, or is no image.
    """
    return _read(url, max_size, "RGB" if convert_to_rgb else None, upright=fix_orientation)


def _read(url: str, limit: int, mode: str | None, *, upright: bool = True) -> Picture:
    try:
        from PIL import Image as pictures
        from PIL import ImageOps
    except ImportError as error:
        raise ImportError(
            "Images are opened with Pillow, which is not installed here. Add 'pillow' to the "
            "requirements."
        ) from error
    try:
        data = fetch_bytes(url, limit=limit)
        picture: Any = pictures.open(io.BytesIO(data))
        if upright:
            picture = ImageOps.exif_transpose(picture)
        return picture.convert(mode) if mode else _loaded(picture)
    except DownloadError as error:
        raise MediaInputError(str(error)) from error
    except (OSError, SyntaxError, ValueError, pictures.DecompressionBombError) as error:
        raise MediaInputError(f"The image cannot be read: {error}".rstrip(".") + ".") from error


def _loaded(picture: Any) -> Any:
    picture.load()
    return picture
