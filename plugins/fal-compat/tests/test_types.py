"""Texts that are URLs of files, and images of Pillow."""

from __future__ import annotations

import base64
import io

import pytest
from pydantic import BaseModel, ValidationError

from fal_compat.toolkit.types import DataUri, FileInput, ImageDataUri, ImageInput


class Request(BaseModel):
    file: FileInput
    image: ImageInput | None = None


def test_urls():
    """
    A URL of https or a data URL is taken, and any other text refused; a file of it is there
    for a moment.
    """
    request = Request.model_validate({"file": " data:,hello "})
    assert type(request.file) is DataUri
    with request.file.as_temp_file() as path:
        assert path.read_text() == "hello"
    assert not path.exists()
    sent = {"file": "https://host.example/a.png"}
    assert Request.model_validate(sent).file == sent["file"]
    for wrong in ("http://host.example/a", "https://localhost/a", "a.png"):
        with pytest.raises(ValidationError):
            Request.model_validate({"file": wrong})
    variants = Request.model_json_schema()["properties"]["file"]["anyOf"]
    formats = {each["format"] for each in variants}
    assert formats == {"data-uri", "https-url"}


def test_image():
    """An image of a data URL becomes one of Pillow."""
    pictures = pytest.importorskip("PIL.Image")
    with io.BytesIO() as file:
        pictures.new("RGB", (3, 2)).save(file, "PNG")
        url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    request = Request.model_validate({"file": url, "image": url})
    assert type(request.image) is ImageDataUri
    assert request.image.to_pil().size == (3, 2)


def test_images_before_and_after_a_model():
    """An image is turned upright and loses its transparency; those that are marked become black."""
    pictures = pytest.importorskip("PIL.Image")
    from fal_compat.toolkit.image import filter_by, preprocess_image

    turned = pictures.new("RGBA", (3, 2), "white")
    turned.getexif()[0x112] = 6
    with io.BytesIO() as file:
        turned.save(file, "PNG", exif=turned.getexif())
        read = pictures.open(io.BytesIO(file.getvalue()))
    upright = preprocess_image(read)
    assert (upright.mode, upright.size) == ("RGB", (2, 3))
    as_it_is = preprocess_image(read, convert_to_rgb=False, fix_orientation=False)
    assert (as_it_is.mode, as_it_is.size) == ("RGBA", (3, 2))
    white, black = filter_by([False, True], [upright, upright])
    assert white is upright
    assert (black.size, black.getcolors()) == ((2, 3), [(6, (0, 0, 0))])
    with pytest.raises(ValueError, match="shorter"):
        filter_by([], [upright])
