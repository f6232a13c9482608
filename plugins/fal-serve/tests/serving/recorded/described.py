"""
One application for two libraries: what each says of it is compared.

Run by a Python that has the SDK, it prints the SDK's document.
"""

import sys
from typing import Literal

from fastapi import Response, WebSocket
from pydantic import BaseModel, Field

if "fal_serve" in sys.modules:
    from fal_serve import App, HealthCheck, endpoint
else:
    from fal.app import App, endpoint
    from fal.sdk import HealthCheck


class Box(BaseModel):
    left: int = 0
    top: int = 0


class Picture(BaseModel):
    url: str
    kind: Literal["png", "jpeg"] = "png"
    boxes: list[Box] = Field(default=[], description="What was found.")


class Prompt(BaseModel):
    text: str = Field(min_length=1, examples=["a cat"])
    seed: int | None = None
    box: Box = Box()


class Answer(BaseModel):
    pictures: list[Picture]
    seed: int


class Described(App, name="described"):
    version = "7"

    @endpoint("/")
    def generate(self, prompt: Prompt, response: Response) -> Answer:
        """Generate pictures."""

    @endpoint("/zoom/{factor}")
    async def zoom(self, factor: float, picture: Picture) -> Picture:
        """Zoom in."""

    @endpoint("/check", health_check=HealthCheck(timeout_seconds=3))
    def check(self) -> dict:
        return {}

    @endpoint("/chat", is_websocket=True)
    async def chat(self, websocket: WebSocket) -> None:
        """Chat."""


if __name__ == "__main__":
    import json

    print(json.dumps(Described(_allow_init=True).openapi(), indent=1))
