"""Texts that are URLs of files."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic_core import core_schema

from fal_serve.media.downloads import download_file
from fal_serve.media.images import read_image_from_url

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MAX_DATA_URI_LENGTH = 10 * 1024 * 1024
MAX_HTTPS_URL_LENGTH = 2048
HTTP_URL_REGEX = r"^https:\/\/(?:[a-zA-Z0-9-]+\.)+[a-zA-Z]{2,}(?::\d{1,5})?(?:\/[^\s]*)?$"


class DownloadFileMixin:
    """A URL whose file is downloaded."""

    @contextlib.contextmanager
    def as_temp_file(self) -> Iterator[Path]:
        """Yield the path of the file, which is removed afterwards."""
        with tempfile.TemporaryDirectory() as folder:
            yield download_file(str(self), folder)


class DownloadImageMixin:
    """A URL of an image."""

    def to_pil(self) -> Picture:
        """Return the image as one of Pillow."""
        return read_image_from_url(str(self))


class _Text(str):
    pattern: ClassVar[str]
    most: ClassVar[int]
    format: ClassVar[str]  # type: ignore[assignment]  # not the method of texts

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        text = core_schema.str_schema(
            pattern=cls.pattern, max_length=cls.most, strip_whitespace=True
        )
        return core_schema.no_info_after_validator_function(cls, text)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return {**handler(schema), "format": cls.format}


class DataUri(DownloadFileMixin, _Text):
    """A data URL."""

    pattern = "^data:"
    most = MAX_DATA_URI_LENGTH
    format = "data-uri"


class HttpsUrl(DownloadFileMixin, _Text):
    """A URL of https."""

    pattern = HTTP_URL_REGEX
    most = MAX_HTTPS_URL_LENGTH
    format = "https-url"


class ImageHttpsUrl(DownloadImageMixin, HttpsUrl):
    """A URL of https, of an image."""


class ImageDataUri(DownloadImageMixin, DataUri):
    """A data URL of an image."""


FileInput = HttpsUrl | DataUri
ImageInput = ImageHttpsUrl | ImageDataUri
