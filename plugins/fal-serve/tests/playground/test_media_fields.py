"""Fields for files and images on the playground."""

from __future__ import annotations

import base64

import pytest
from playwright.sync_api import expect
from pydantic import BaseModel, Field

from fal_serve import App, endpoint
from fal_serve.media import FalBaseModel, File, Hidden, Image, ImageField


class Pictures(FalBaseModel):
    FIELD_ORDERS = ["picture", "mask"]

    mode: str = Hidden(Field("usual"))
    picture: Image
    mask: Image | None = None
    source: str = ImageField("")
    others: list[File] = []


class Answer(BaseModel):
    picture: Image
    given: Pictures


class Gallery(App, kind="current"):
    @endpoint("/")
    def show(self, pictures: Pictures) -> Answer:
        content = base64.b64decode(pictures.picture.url.partition(",")[2])
        shown = Image.from_bytes(content, "png", file_name="shown.png")
        return Answer(picture=shown, given=pictures)


@pytest.fixture(scope="module")
def gallery(serve):
    """A service that takes and gives images."""
    return serve(Gallery)


def test_image_is_chosen_and_shown(open_page, gallery, run, answer_of, field, is_loaded, png):
    """
    A model of an image is one field, in which a file is chosen; what the service keeps itself
    is shown as a picture. A hidden field has its default. What is left empty is not sent, and
    an empty image that is needed is an error of its field.
    """
    page = open_page(gallery.url, "POST /")
    labels = page.locator(".view .field:visible .heading label")
    assert labels.all_text_contents()[:2] == ["picture", "mask"]
    expect(field(page, "mode")).to_be_hidden()
    run(page, "422")
    expect(page.locator(".field-error:visible")).to_contain_text("required")
    chosen = {"name": "one.png", "mimeType": "image/png", "buffer": png}
    picker = page.locator("input[type=file]")
    assert [picker.nth(each).get_attribute("accept") for each in range(3)] == ["image/*"] * 3
    picker.nth(0).set_input_files(chosen)
    expect(page.locator(".preview img")).to_have_count(1)
    page.get_by_role("button", name="Add an item to others").click()
    field(page, "others 1").fill("https://host.example/a.bin")
    run(page, "200")
    shown = page.get_by_role("img", name="Image of the answer").first
    assert is_loaded(shown)
    told = answer_of(page)
    assert told["picture"]["file_name"] == "shown.png"
    assert told["picture"]["url"].startswith(f"{gallery.url}/fal-media/")
    assert told["given"]["picture"]["url"].startswith("data:image/png")
    assert (told["given"]["mask"], told["given"]["source"]) == (None, "")
    assert told["given"]["mode"] == "usual"
    assert told["given"]["others"][0]["url"] == "https://host.example/a.bin"
