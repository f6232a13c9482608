"""Endpoints that handle many requests at once."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import httpx
import pytest
from pydantic import BaseModel, model_validator

from fal_serve import App, AppException, endpoint


class Item(BaseModel):
    seen: ClassVar[list[int]] = []
    number: int

    @model_validator(mode="after")
    def note(self) -> Item:
        self.seen.append(self.number)
        return self


class Doubled(BaseModel):
    number: int
    among: int


class Batching(App, kind="current"):
    def setup(self) -> None:
        self.gate = asyncio.Event()

    @endpoint("/double", max_batch_size=4)
    async def double(self, *items: Item) -> list[Doubled]:
        # What comes meanwhile waits for its batch.
        await self.gate.wait()
        return [Doubled(number=2 * item.number, among=len(items)) for item in items]

    @endpoint("/open")
    async def open_gate(self) -> None:
        self.gate.set()

    @endpoint("/seen")
    async def tell_seen(self) -> int:
        return len(Item.seen)

    @endpoint("/each", max_batch_size=8)
    def each(self, *numbers: int) -> list[int | Exception]:
        refused = AppException("thirteen", 418)
        return [refused if number == 13 else -number for number in numbers]

    @endpoint("/one")
    def one(self, *anything) -> tuple:
        return anything

    @endpoint("/fill", max_batch_size=3, batch_wait=600)
    def fill(self, *numbers: int) -> list[int]:
        return [len(numbers)] * len(numbers)

    @endpoint("/short", max_batch_size=2)
    def short(self, *numbers: int) -> list[int]:
        return []


@pytest.fixture(scope="module")
def served(serve):
    return serve(Batching)


def ask(served: Any, path: str, bodies: list[Any]) -> list[httpx.Response]:
    """Send requests with all *bodies* to *path* at once."""

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
            return await asyncio.gather(*(client.post(path, json=body) for body in bodies))

    return asyncio.run(run())


def test_batch_is_what_waits_when_the_handler_becomes_free(served):
    """
    Requests that arrive while the handler is busy are batched up to the limit, and each
    gets its own output.
    """

    async def run() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=served.url, timeout=30) as client:
            asked = []
            for number in range(7):
                ask = client.post("/double", json={"number": number})
                asked.append(asyncio.create_task(ask))
                # Once a request has been read, it waits, or has the handler busy.
                while (await client.post("/seen")).json() <= number:
                    pass
            await client.post("/open")
            return await asyncio.gather(*asked)

    answers = asyncio.run(run())
    assert [answer.json()["number"] for answer in answers] == [0, 2, 4, 6, 8, 10, 12]
    among = [answer.json()["among"] for answer in answers]
    assert sorted(among) == [1, 2, 2, 4, 4, 4, 4]


def test_error_is_of_one_request(served):
    """
    An exception among the outputs is the response to its own request; an invalid item never
    reaches the handler.
    """
    answers = ask(served, "/each", [1, 13, 3, "four"])
    assert [answer.status_code for answer in answers] == [200, 418, 200, 422]
    assert answers[0].json() == -1
    assert answers[1].json() == {"detail": "thirteen"}


def test_handler_is_always_given_a_tuple(served):
    """A handler with *inputs receives a tuple whatever its batch size."""
    assert served.post("/one", {"any": "thing"}).json() == {"any": "thing"}


def test_batch_waits_to_fill(served):
    """With batch_wait, a batch waits until it is full."""
    answers = ask(served, "/fill", [1, 2, 3])
    assert [answer.json() for answer in answers] == [3, 3, 3]


def test_outputs_that_are_missing_are_told(served):
    """Too few outputs fail all requests of the batch."""
    assert served.post("/short", 1).status_code == 500
    assert "inputs, and must return" in served.find_line("'short'").message


def test_document_shows_one_item():
    """The document of a batch endpoint describes a single item."""
    document = Batching().openapi()

    def models(path: str) -> tuple[Any, Any]:
        operation = document["paths"][path]["post"]
        answer = operation["responses"]["200"]
        return tuple(
            part["content"]["application/json"]["schema"]
            for part in (operation["requestBody"], answer)
        )

    taken, given = models("/double")
    assert taken == {"$ref": "#/components/schemas/Item"}
    assert given == {"$ref": "#/components/schemas/Doubled"}
    assert models("/fill")[0]["type"] == "integer"
