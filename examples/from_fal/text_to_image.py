"""Text to image: models with fields for a form, and images in the answer."""

from __future__ import annotations

import random

from pydantic import BaseModel, Field

import fal_compat as fal


class Input(fal.toolkit.FalBaseModel):
    FIELD_ORDERS = ["prompt", "image_size"]

    seed: int | None = Field(default=None, description="The same seed gives the same image.")
    prompt: str = Field(description="What the image shows.", examples=["a red square"])
    image_size: fal.toolkit.ImageSizeInput = fal.toolkit.ImageSizeField("square")
    num_images: int = Field(default=1, ge=1, le=4)
    sync_mode: bool = fal.toolkit.Hidden(Field(default=False))


class Output(BaseModel):
    images: list[fal.toolkit.Image]
    seed: int
    prompt: str


class TextToImage(fal.App, name="text-to-image", keep_alive=300):
    machine_type = "S"
    requirements = ["pillow>=11"]
    max_concurrency = 2

    def setup(self):
        from PIL import Image

        self.pictures = Image

    @fal.endpoint("/")
    def generate(self, input: Input) -> Output:
        seed = random.randrange(1 << 32) if input.seed is None else input.seed
        size = fal.toolkit.get_image_size(input.image_size)
        print(f"Painting {input.prompt!r} with seed {seed}")
        images = []
        for number in range(input.num_images):
            color = tuple(random.Random(f"{seed} {number}").randbytes(3))
            picture = self.pictures.new("RGB", (size.width, size.height), color)
            repository = "in_memory" if input.sync_mode else "fal_v3"
            image = fal.toolkit.Image.from_pil(picture, format="png", repository=repository)
            images.append(image)
        return Output(images=images, seed=seed, prompt=input.prompt)
