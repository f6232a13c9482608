"""
What handlers of each kind receive, and what their clients get.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, Header, Request, Response, WebSocket
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, StreamingResponse
from websockets.sync.client import connect

from fal_core import function
from fal_serve import App, AppException, HealthCheck, endpoint


class Question(BaseModel):
    text: str
    count: int = Field(default=3, alias="n")


class Word(BaseModel):
    word: str
    long_name: float = Field(default=0.5, serialization_alias="longName")


class Answering(App, kind="current", max_multiplexing=8):
    version = "3"

    def setup(self) -> None:
        self.setup_thread = threading.current_thread() is threading.main_thread()
        self.ended: list[str] = []
        self.gate = threading.Event()

    async def teardown(self) -> None:
        print("torn down", flush=True)

    def provide_hints(self) -> list[str]:
        return ["model-a", "model-b"]

    async def health(self) -> dict[str, str]:
        return {"version": self.version, "mood": "well"}

    @endpoint("/sync")
    def sync(self, question: Question) -> Word:
        print(f"asked {question.text}")
        on_main = threading.current_thread() is threading.main_thread()
        return Word(word=f"{question.text}-{question.count}-{on_main}-{self.setup_thread}")

    @endpoint("/async")
    async def coroutine(self, question: Question, x_mood: str = Header("none")) -> dict:
        await asyncio.sleep(0)
        return {"text": question.text, "mood": x_mood}

    @endpoint("/billed")
    def billed(self, response: Response, tasks: BackgroundTasks) -> str:
        response.headers["x-fal-billable-units"] = "7"
        tasks.add_task(self.ended.append, "background")
        return "paid"

    @endpoint("/ended")
    def tell_ended(self) -> list[str]:
        return self.ended

    @endpoint("/pass")
    def open_gate(self) -> None:
        self.gate.set()

    @endpoint("/request")
    async def request(self, request: Request) -> dict[str, Any]:
        current = self.current_request
        return {
            "id": current.request_id,
            "header": current.headers["x-own"],
            "query": request.query_params["q"],
            "body": (await request.body()).decode(),
        }

    @endpoint("/text")
    def text(self) -> Response:
        return PlainTextResponse("plain", 201)

    @endpoint("/raw")
    def raw(self) -> Response:
        return StreamingResponse(iter([b"one,", b"two"]), media_type="text/csv")

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
            await asyncio.sleep(3600)
            yield 1
        finally:
            self.ended.append("silent")

    @endpoint("/echo", is_websocket=True)
    async def echo(self, websocket: WebSocket, name: str = "nobody") -> None:
        await websocket.accept()
        await websocket.send_text(f"hello {name}")
        while True:
            text = await websocket.receive_text()
            if text == "fail":
                raise LookupError("websocket secret")
            await websocket.send_text(text.upper())

    @endpoint("/well", health_check=HealthCheck(method="GET"))
    def well(self) -> str:
        return "well"


@pytest.fixture(scope="module")
def served(serve):
    return serve(Answering)


def events_of(answer: httpx.Response) -> list[Any]:
    """
    Return the data of the events in *answer*.
    """
    blocks = answer.text.removesuffix("\n\n").split("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def wait_for_end(served: Any, name: str) -> None:
    """
    Wait until the handler *name* has cleaned up.
    """
    while name not in served.post("/ended").json():
        pass


def test_plain_handler_runs_on_a_thread(served):
    """
    A plain method receives the model and runs on a thread; setup ran on the main thread.
    """
    answer = served.post("/sync", {"text": "why", "n": 4})
    assert answer.status_code == 200
    assert answer.json() == {"word": "why-4-False-True", "longName": 0.5}


def test_print_of_a_handler_tells_its_request(served):
    """
    What a handler prints carries the id of the request, on threads and in streams.
    """
    served.post("/sync", {"text": "marked"}, headers={"x-fal-request-id": "mine"})
    assert served.find_line("asked marked").request_id == "mine"
    served.post("/words", {"text": "streamed"}, headers={"x-fal-request-id": "other"})
    assert served.find_line("word streamed").request_id == "other"


def test_coroutine_handler_may_ask_for_more_than_the_body(served):
    """
    A handler can have FastAPI's other parameters, such as headers.
    """
    answer = served.post("/async", {"text": "hi"}, headers={"x-mood": "good"})
    assert answer.json() == {"text": "hi", "mood": "good"}


def test_billable_units_and_background_tasks(served):
    """
    A handler can set headers of its response, and its background tasks run.
    """
    answer = served.post("/billed")
    assert answer.headers["x-fal-billable-units"] == "7"
    assert answer.json() == "paid"
    wait_for_end(served, "background")


def test_current_request(served):
    """
    ``current_request`` is the request that the handler answers.
    """
    headers = {"x-own": "here", "x-fal-request-id": "abc"}
    answer = served.client.post("/request?q=1", content=b"raw", headers=headers)
    assert answer.json() == {"id": "abc", "header": "here", "query": "1", "body": "raw"}


def test_responses_pass(served):
    """
    A response that a handler returns is sent unchanged.
    """
    answer = served.post("/text")
    assert (answer.status_code, answer.text) == (201, "plain")
    answer = served.post("/raw")
    assert answer.text == "one,two"
    assert answer.headers["content-type"].startswith("text/csv")


def test_generator_streams_events(served):
    """
    Each item is an event with one line of JSON, encoded as by FastAPI.
    """
    answer = served.post("/words", {"text": "a b"})
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert answer.text == (
        'data: {"word":"a","longName":0.5}\n\ndata: {"word":"b","longName":0.5}\n\n'
    )
    wait_for_end(served, "words")


def test_async_generator_streams_events(served):
    """
    So is each item of an async generator; an injected response gives status and headers.
    """
    answer = served.post("/letters", {"text": "xy"})
    assert answer.status_code == 202
    assert answer.headers["x-fal-billable-units"] == "2"
    assert answer.headers.get_list("content-type") == ["text/event-stream; charset=utf-8"]
    assert events_of(answer) == [{"letter": each, "half": "\ud800"} for each in "xy"]


def test_items_are_sent_as_they_come(served):
    """
    An item arrives before the generator produces the next one.
    """
    with served.client.stream("POST", "/gated") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "data: 1"
        # The generator waits, and goes on only once the first item has been seen.
        served.post("/pass")
        assert [line for line in lines if line] == ["data: 2"]


def test_generator_may_yield_nothing(served):
    """
    A stream without items is a response without events.
    """
    answer = served.post("/nothing")
    assert (answer.status_code, answer.text) == (200, "")


def test_error_before_the_first_item_is_an_answer(served):
    """
    An exception before the first item has the same response as in any handler.
    """
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
    """
    A model decides how numbers are written that JSON does not have.
    """
    assert events_of(served.post("/not-a-number")) == [{"word": "nan", "longName": None}]


@pytest.mark.parametrize("name", ["endless", "endless-sync"])
def test_stream_ends_when_the_client_goes(served, name: str):
    """
    A generator is closed when its client disconnects, and cleans up.
    """
    with served.client.stream("POST", f"/{name}") as answer:
        assert next(answer.iter_lines()).startswith("data: ")
    wait_for_end(served, name)


def test_stream_that_waits_ends_when_the_client_goes(served):
    """
    So is one that has not yielded its first item yet.
    """

    async def leave() -> None:
        async with httpx.AsyncClient(base_url=served.url, timeout=60) as client:
            asked = asyncio.create_task(client.post("/silent"))
            while "silent begun" not in (await client.post("/ended")).json():
                pass
            asked.cancel()

    asyncio.run(leave())
    wait_for_end(served, "silent")


def test_websocket_handler_has_the_connection(served):
    """
    A websocket endpoint receives the connection, and its other parameters are FastAPI's.
    """
    url = served.url.replace("http", "ws")
    with connect(f"{url}/echo?name=you") as socket:
        assert socket.recv() == "hello you"
        socket.send("louder")
        assert socket.recv() == "LOUDER"


def test_error_in_a_websocket_closes_it(served):
    """
    A websocket handler that fails closes the connection with 1011; the reason is logged.
    """
    with connect(f"{served.url.replace('http', 'ws')}/echo") as socket:
        socket.recv()
        socket.send("fail")
        with pytest.raises(Exception, match="1011") as caught:
            socket.recv()
    assert "secret" not in str(caught.value)
    facts = json.loads(served.find_line("websocket secret").message)
    assert "in echo" in facts["traceback"]


def test_health(served):
    """
    GET /health returns what the application's ``health`` returns.
    """
    assert served.client.get("/health").json() == {"version": "3", "mood": "well"}


def test_health_check_answers_its_method_and_post(served):
    """
    A health check answers its own method, and POST like any endpoint.
    """
    assert served.client.get("/well").json() == served.post("/well").json() == "well"
    assert served.client.get("/sync").status_code == 405


def test_hints(served):
    """
    The hints of an application are sent with each response, errors included.
    """
    assert served.post("/text").headers["x-fal-runner-hints"] == "model-a,model-b"
    assert served.post("/none").headers["x-fal-runner-hints"] == "model-a,model-b"


@function("current", serve=True)
def count_down(question: Question) -> Iterator[int]:
    yield from range(question.count, 0, -1)


def test_served_function_may_be_a_generator(serve):
    """
    A served function is a handler like any other.
    """
    served = serve(count_down)
    assert events_of(served.post("/", {"text": "", "n": 2})) == [2, 1]
