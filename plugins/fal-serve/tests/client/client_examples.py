"""An application with endpoints of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from json import dumps, loads
from typing import Annotated, Any

import numpy
from fastapi import Body, Cookie, Header, HTTPException, Response, UploadFile, WebSocket
from pydantic import BaseModel, Field

from fal_serve import App, AppException, endpoint
from fal_serve import realtime as realtime_endpoint


class Prompt(BaseModel):
    text: str = Field(min_length=1)
    times: int = 1


class Answer(BaseModel):
    text: str
    upper: bool = False


class Everything(App, kind="current"):
    version = "7"

    @endpoint("/model")
    def model(self, prompt: Prompt) -> Answer:
        return Answer(text=prompt.text * prompt.times)

    @endpoint("/mixed")
    async def mixed(
        self, prompt: Prompt, upper: bool = False, note: str = Header("none")
    ) -> Answer:
        text = f"{prompt.text} {note}"
        return Answer(text=text.upper() if upper else text, upper=upper)

    @endpoint("/two")
    def two(self, first: Prompt, second: int = Body(2)) -> dict[str, int]:
        return {first.text: second}

    @endpoint("/upload")
    def upload(self, file: UploadFile) -> int:
        return len(file.file.read())

    @endpoint("/upload-all")
    def upload_all(self, files: list[UploadFile], also: UploadFile | None = None) -> list[int]:
        return [len(each.file.read()) for each in [*files, *([also] if also else [])]]

    @endpoint("/items/{folder}/{name:path}")
    def item(self, folder: str, name: str) -> list[str]:
        return [folder, name]

    @endpoint("/labels")
    def labels(
        self,
        note: Annotated[list[str] | None, Header()] = None,
        crumb: str | None = Cookie(None),
        prompt: str | None = None,
    ) -> list[Any]:
        return [note, crumb, prompt]

    @endpoint("/raw")
    def raw(self) -> Response:
        return Response(b"\x00\x01", media_type="application/octet-stream")

    @endpoint("/together", max_batch_size=4)
    def together(self, *inputs: Prompt) -> list[Answer]:
        return [Answer(text=each.text) for each in inputs]

    @endpoint("/count")
    def count(self, to: int) -> Iterator[Answer]:
        for number in range(to):
            yield Answer(text=str(number))

    @endpoint("/broken")
    async def broken(self) -> AsyncIterator[int]:
        yield 1
        raise LookupError("in the middle")

    @endpoint("/refused")
    def refused(self) -> None:
        raise AppException("not today", 418)

    @endpoint("/refused-twice")
    def refused_twice(self) -> None:
        raise HTTPException(409, ["not today", "nor tomorrow"])

    @realtime_endpoint("/talk")
    def talk(self, prompt: Prompt) -> Answer:
        return Answer(text=prompt.text[::-1])

    @realtime_endpoint("/turn")
    def turn(self, array: numpy.ndarray) -> numpy.ndarray:
        return array.T

    @realtime_endpoint("/json", content_type="application/json")
    def json(self, prompt: Prompt) -> Answer:
        return Answer(text=prompt.text[::-1])

    @realtime_endpoint("/text", encode_message=dumps, decode_message=loads)
    def text(self, message: Any) -> Any:
        if message is None:
            raise AppException("no such word", 404)
        return message

    @endpoint("/socket/{name}", is_websocket=True)
    async def socket(self, websocket: WebSocket, name: str, loud: bool = False) -> None:
        await websocket.accept()
        await websocket.send_text(name.upper() if loud else name)
        await websocket.send_bytes(await websocket.receive_bytes())
        await websocket.send_text(await websocket.receive_text())

    @endpoint("/close")
    def close(self) -> str:
        return "closed by its endpoint"

    @realtime_endpoint("/connect")
    def connect(self, prompt: Prompt) -> Answer:
        return Answer(text=prompt.text)
