"""Image to image: images that callers send as URLs, and errors of their fields."""

from __future__ import annotations

from pydantic import BaseModel

import fal_compat as fal


class Input(BaseModel):
    image_url: str = fal.toolkit.ImageField(description="The image to turn.")
    mask: fal.toolkit.Image | None = None
    angle: int = 90


class Output(BaseModel):
    image: fal.toolkit.Image


class ImageToImage(fal.App, keep_alive=300):
    machine_type = "S"
    requirements = ["pillow>=11"]

    @fal.endpoint("/")
    def turn(self, input: Input) -> Output:
        if input.angle % 90:
            raise fal.exceptions.FieldException("angle", "It has to be a multiple of 90.")
        picture = fal.toolkit.Image(url=input.image_url).to_pil()
        if input.mask is not None:
            mask = input.mask.to_pil("L")
            if mask.size != picture.size:
                raise fal.exceptions.AppException("The mask has another size.", 400)
            picture.putalpha(mask)
        turned = picture.rotate(input.angle, expand=True)
        return Output(image=fal.toolkit.Image.from_pil(turned, "png", "turned.png"))
