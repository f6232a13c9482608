"""Images, and what schemas say of media."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, Field

from fal_serve.media.constraints import (
    ImageSizeConstraints,
    ImageValidationConfig,
    VideoNormalizationConfig,
    VideoValidationConfig,
)
from fal_serve.media.errors import MediaInputError
from fal_serve.media.fields import (
    AudioField,
    FalBaseModel,
    FileField,
    Hidden,
    ImageField,
    ImageSizeField,
    VideoField,
)
from fal_serve.media.files import File
from fal_serve.media.images import (
    Audio,
    Image,
    ImageSize,
    Video,
    get_image_size,
    read_image_from_url,
)

pictures = pytest.importorskip("PIL.Image")


def test_picture_there_and_back():
    """An image of Pillow becomes a file and an image of Pillow again, in each format."""
    picture = pictures.new("RGBA", (8, 4), (255, 0, 0, 128))
    for format, kind in (("png", "png"), ("jpeg", "jpeg"), ("jpg", "jpg"), (None, "png")):
        image = Image.from_pil(picture, format=format)
        assert (image.width, image.height, image.content_type) == (8, 4, f"image/{kind}")
        assert image.to_pil().size == (8, 4)
    assert Image.from_pil(picture).to_pil("RGBA").getpixel((0, 0)) == (255, 0, 0, 128)
    url = Image.from_pil(picture).url
    assert read_image_from_url(url).mode == "RGB"
    assert read_image_from_url(url, convert_to_rgb=False).mode == "RGBA"
    sized = Image.from_bytes(b"1", "png", ImageSize(width=3))
    assert (sized.width, sized.height) == (3, 512)


def test_picture_is_turned_upright():
    """The orientation that a camera has written is applied."""
    exif = pictures.Exif()
    exif[0x0112] = 6
    picture = pictures.new("RGB", (8, 4))
    import io

    with io.BytesIO() as file:
        picture.save(file, "JPEG", exif=exif)
        url = File.from_bytes(file.getvalue(), "image/jpeg").url
    assert Image(url=url).to_pil().size == (4, 8)
    assert read_image_from_url(url, fix_orientation=False).size == (8, 4)


def test_what_is_no_picture():
    """What is no image, or too large, is an error of the request."""
    with pytest.raises(MediaInputError, match="The image cannot be read") as caught:
        Image(url=File.from_bytes(b"words", "image/png").url).to_pil()
    assert caught.value.status_code == 422
    url = Image.from_pil(pictures.new("RGB", (64, 64))).url
    with pytest.raises(MediaInputError, match="may have 10"):
        read_image_from_url(url, max_size=10)


def test_sizes():
    """A size is one, or the name of one."""
    assert get_image_size("landscape_16_9") == ImageSize(width=1024, height=576)
    assert get_image_size(ImageSize(width=1)).height == 512
    with pytest.raises(TypeError, match="'huge' is no size"):
        get_image_size("huge")  # type: ignore[arg-type]  # that is the test


class Request(FalBaseModel):
    """A request with every kind of field."""

    FIELD_ORDERS = ["prompt", "image"]

    image: Image
    size: ImageSize = ImageSizeField(
        default_factory=ImageSize,
        constraints=ImageSizeConstraints(max_width=9),
        ui={"important": True},
    )
    url: str = ImageField("", json_schema_extra={"examples": ["https://host/a"]})
    sound: str = AudioField("")
    file: str = FileField("")
    video: str = VideoField(
        "",
        constraints=VideoValidationConfig(max_duration=5),
        combined_constraints=VideoValidationConfig(max_duration=9),
        normalization=VideoNormalizationConfig(fps=24),
    )
    secret: int = Hidden(Field(1))
    prompt: str


def test_schemas():
    """A schema tells a form which medium a field takes, its limits, its order, and what to hide."""
    schema = Request.model_json_schema()
    properties: dict[str, Any] = schema["properties"]
    assert [*properties][:3] == ["prompt", "image", "size"]
    shown = {name: each.get("ui") for name, each in properties.items()}
    assert shown == {
        "prompt": None,
        "image": None,
        "size": {"important": True},
        "url": {"field": "image"},
        "sound": {"field": "audio"},
        "file": {"field": "file"},
        "video": {"field": "video"},
        "secret": {"hidden": True},
    }
    assert properties["url"]["examples"] == ["https://host/a"]
    assert properties["size"]["x-fal"] == {"max_width": 9}
    assert properties["video"]["x-fal"] == {
        "max_duration": 5,
        "combined": {"max_duration": 9},
        "normalization": {"fps": 24},
    }
    for model, kind in ((File, "file"), (Image, "image"), (Audio, "audio"), (Video, "video")):
        assert model.model_json_schema()["ui"] == {"field": kind}
    assert schema["$defs"]["Image"]["ui"] == {"field": "image"}
    json.dumps(schema)


def test_wrong_declarations():
    """
    A hidden field without a default, and limits that nothing meets, are refused where they
    are written.
    """
    with pytest.raises(ValueError, match="needs a default"):
        Hidden(Field())
    with pytest.raises(TypeError, match="takes a field"):
        Hidden(3)
    with pytest.raises(ValueError, match=r"min_width \(9\) is more than max_width \(1\)"):
        ImageSizeConstraints(min_width=9, max_width=1)
    with pytest.raises(ValueError, match="go together"):
        ImageValidationConfig(min_aspect_ratio=1.0)
    with pytest.warns(DeprecationWarning, match=r"Use Hidden\(Field"):

        class Old(FalBaseModel):
            SCHEMA_IGNORES = {"a"}
            a: int = 1

    assert Old.model_json_schema()["properties"]["a"]["ui"] == {"hidden": True}

    class Plain(BaseModel):
        image: Image | None = None

    assert Plain().image is None
