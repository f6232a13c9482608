"""Responses that stream items as server-sent events."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import Response
from pydantic import BaseModel, Field

from fal_serve import App, AppException, endpoint


class Question(BaseModel):
    text: str
    count: int = Field(default=3, alias="n")


class Word(BaseModel):
    word: str
    long_name: float = Field(default=0.5, serialization_alias="longName")


class Streaming(App, kind="current", max_multiplexing=8):
    def setup(self) -> None:
        self.ended: list[str] = []
        self.gate = threading.Event()

    @endpoint("/ended")
    def tell_ended(self) -> list[str]:
        return self.ended

    @endpoint("/pass")
    def open_gate(self) -> None:
        self.gate.set()

    @endpoint("/words")
    def words(self, question: Question) -> Iterator[Word]:
        try:
            for word in question.text.split():
                print(f"word {word}")
                yield Word(word=word)
        finally:
            self.ended.append("words")

    @endpoint("/letters")
    async def letters(self, question: Question, response: Response) -> AsyncIterator[Any]:
        response.headers["x-fal-billable-units"] = "2"
        response.status_code = 202
        for letter in question.text:
            yield {"letter": letter, "half": "\ud800"}

    @endpoint("/gated")
    def gated(self) -> Iterator[int]:
        yield 1
        self.gate.wait(60)
        yield 2

    @endpoint("/nothing")
    async def nothing(self) -> AsyncIterator[int]:
        for number in ():
            yield number

    @endpoint("/refuse")
    async def refuse(self) -> AsyncIterator[int]:
        raise AppException("not today", 402)
        yield 1

    @endpoint("/break")
    def break_off(self) -> Iterator[int]:
        yield 1
        raise LookupError("the secret reason")

    @endpoint("/not-a-number")
    async def not_a_number(self) -> AsyncIterator[Any]:
        yield Word(word="nan", long_name=float("nan"))

    @endpoint("/endless")
    async def endless(self) -> AsyncIterator[int]:
        try:
            number = 0
            while True:
                yield (number := number + 1)
                # Endless, but no busy loop.
                await asyncio.sleep(0.001)
        finally:
            self.ended.append("endless")

    @endpoint("/endless-sync")
    def endless_sync(self) -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            self.ended.append("endless-sync")

    @endpoint("/silent")
    async def silent(self) -> AsyncIterator[int]:
        self.ended.append("silent begun")
        try:
            # Ends by being cancelled.
            await asyncio.sleep(3600)
            yield 1
        finally:
            self.ended.append("silent")


@pytest.fixture(scope="module")
def served(serve):
    return serve(Streaming)


def events_of(answer: httpx.Response) -> list[Any]:
    """Return the data of the events in *answer*."""
    blocks = answer.text.removesuffix("\n\n").split("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_generator_streams_events(served):
    """Each item is an event with one line of JSON, encoded as by FastAPI."""
    answer = served.post("/words", {"text": "a b"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.text == (
        'data: {"word":"a","longName":0.5}\n\ndata: {"word":"b","longName":0.5}\n\n'
    )
    served.wait_for_end("words")


def test_async_generator_streams_events(served):
    """So is each item of an async generator; an injected response gives status and headers."""
    answer = served.post("/letters", {"text": "xy"})
    assert answer.status_code == 202
    assert answer.headers["x-fal-billable-units"] == "2"
    assert answer.headers.get_list("content-type") == ["text/event-stream; charset=utf-8"]
    assert events_of(answer) == [{"letter": each, "half": "\ud800"} for each in "xy"]


def test_items_are_sent_as_they_come(served):
    """An item arrives before the generator produces the next one."""
    with served.client.stream("POST", "/gated") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: 1"
        # The generator waits, and goes on only once the first item has been seen.
        served.post("/pass")
        assert [line for line in lines if line] == ["data: 2"]


def test_generator_may_yield_nothing(served):
    """A stream without items is a response without events."""
    answer = served.post("/nothing")
    assert (answer.status_code, answer.text) == (200, "")


def test_error_before_the_first_item_is_an_answer(served):
    """An exception before the first item has the same response as in any handler."""
    answer = served.post("/refuse")
    assert (answer.status_code, answer.json()) == (402, {"detail": "not today"})


def test_error_in_a_stream_breaks_it_off(served):
    """
    A stream that fails ends with an error event and an incomplete response; the reason is
    only in the log, once.
    """
    lines: list[str] = []
    with (
        pytest.raises(httpx.RemoteProtocolError),
        served.client.stream(
            "POST", "/break", headers={"x-fal-request-id": "broken"}
        ) as answer,
    ):
        lines.extend(answer.iter_lines())
    assert [line for line in lines if line] == [
        "data: 1",
        "event: error",
        'data: {"detail":"Internal Server Error"}',
    ]
    facts = json.loads(served.find_line("the secret reason").message)
    assert facts["traceback"].rstrip().endswith("LookupError: the secret reason")
    served.find_line('"path":"/break"')
    errors = [each for each in served.lines if each.level == "ERROR"]
    assert sum(each.request_id == "broken" for each in errors) == 1


def test_numbers_that_json_has_not(served):
    """A model decides how numbers are written that JSON does not have."""
    assert events_of(served.post("/not-a-number")) == [{"word": "nan", "longName": None}]


@pytest.mark.parametrize("name", ["endless", "endless-sync"])
def test_stream_ends_when_the_client_goes(served, name: str):
    """A generator is closed when its client disconnects, and cleans up."""
    with served.client.stream("POST", f"/{name}") as answer:
        assert next(answer.iter_lines()).startswith("data: ")
    served.wait_for_end(name)


def test_stream_that_waits_ends_when_the_client_goes(served):
    """So is one that has not yielded its first item yet."""

    async def leave() -> None:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            asked = asyncio.create_task(client.post("/silent"))
            while "silent begun" not in (await client.post("/ended")).json():
                pass
            asked.cancel()

    asyncio.run(leave())
    served.wait_for_end("silent")
