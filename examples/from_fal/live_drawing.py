"""Realtime: messages over a websocket, one answered for each, and a stream of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from pydantic import BaseModel

import fal_compat as fal


class Stroke(BaseModel):
    x: float
    y: float
    picture: bytes = b""


class Drawn(BaseModel):
    count: int
    length: float
    picture: bytes = b""


class LiveDrawing(fal.App, keep_alive=300):
    machine_type = "S"

    def setup(self):
        self.count = 0

    @fal.realtime("/realtime", buffering=1)
    def draw(self, stroke: Stroke) -> Drawn:
        self.count += 1
        length = (stroke.x**2 + stroke.y**2) ** 0.5
        return Drawn(count=self.count, length=length, picture=stroke.picture[::-1])

    @fal.realtime("/sums")
    async def add(self, strokes: AsyncIterator[Stroke]) -> AsyncIterator[Drawn]:
        total, count = 0.0, 0
        async for stroke in strokes:
            total, count = total + stroke.x, count + 1
            yield Drawn(count=count, length=total)
