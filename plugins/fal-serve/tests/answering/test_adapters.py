"""
Adapters: the arguments that handlers of each kind receive, and the responses that clients
get.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import BackgroundTasks, Header, Request, Response, WebSocket
from pydantic import BaseModel, Field
from starlette.responses import PlainTextResponse, StreamingResponse
from websockets.sync.client import connect

from fal_core import function
from fal_serve import App, HealthCheck, endpoint


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
        # A handler that awaits something; it takes no time.
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
    """Return the data of the events in *answer*."""
    blocks = answer.text.removesuffix("\n\n").split("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_plain_handler_runs_on_a_thread(served):
    """A plain method receives the model and runs on a thread; setup ran on the main thread."""
    answer = served.post("/sync", {"text": "why", "n": 4})
    assert answer.status_code == 200
    assert answer.json() == {"word": "why-4-False-True", "longName": 0.5}


def test_print_of_a_handler_tells_its_request(served):
    """Lines that a handler prints carry the id of the request, on threads and in streams too."""
    served.post("/sync", {"text": "marked"}, headers={"x-fal-request-id": "mine"})
    assert served.find_line("asked marked").request_id == "mine"
    served.post("/words", {"text": "streamed"}, headers={"x-fal-request-id": "other"})
    assert served.find_line("word streamed").request_id == "other"


def test_coroutine_handler_may_ask_for_more_than_the_body(served):
    """A handler can have FastAPI's other parameters, such as headers."""
    answer = served.post("/async", {"text": "hi"}, headers={"x-mood": "good"})
    assert answer.json() == {"text": "hi", "mood": "good"}


def test_billable_units_and_background_tasks(served):
    """A handler can set headers of its response, and its background tasks run."""
    answer = served.post("/billed")
    assert answer.headers["x-fal-billable-units"] == "7"
    assert answer.json() == "paid"
    served.wait_for_end("background")


def test_current_request(served):
    """``current_request`` is the request that the handler answers."""
    headers = {"x-own": "here", "x-fal-request-id": "abc"}
    answer = served.client.post("/request?q=1", content=b"raw", headers=headers)
    assert answer.json() == {"id": "abc", "header": "here", "query": "1", "body": "raw"}


def test_responses_pass(served):
    """A response that a handler returns is sent unchanged."""
    answer = served.post("/text")
    assert (answer.status_code, answer.text) == (201, "plain")
    answer = served.post("/raw")
    assert answer.text == "one,two"
    assert answer.headers["content-type"].startswith("text/csv")


def test_websocket_handler_has_the_connection(served):
    """A websocket endpoint receives the connection, and its other parameters are FastAPI's."""
    url = served.url.replace("http", "ws")
    with connect(f"{url}/echo?name=you") as socket:
        assert socket.recv() == "hello you"
        socket.send("louder")
        assert socket.recv() == "LOUDER"


def test_error_in_a_websocket_closes_it(served):
    """A websocket handler that fails closes the connection with 1011; the reason is logged."""
    with connect(f"{served.url.replace('http', 'ws')}/echo") as socket:
        socket.recv()
        socket.send("fail")
        with pytest.raises(Exception, match="1011") as caught:
            socket.recv()
    assert "secret" not in str(caught.value)
    facts = json.loads(served.find_line("websocket secret").message)
    assert "in echo" in facts["traceback"]


def test_health(served):
    """GET /health returns what the application's ``health`` returns."""
    assert served.client.get("/health").json() == {"version": "3", "mood": "well"}


def test_health_check_answers_its_method_and_post(served):
    """A health check answers its own method, and POST like any endpoint."""
    assert served.client.get("/well").json() == served.post("/well").json() == "well"
    assert served.client.get("/sync").status_code == 405


def test_hints(served):
    """The hints of an application are sent with each response, errors included."""
    assert served.post("/text").headers["x-fal-runner-hints"] == "model-a,model-b"
    assert served.post("/none").headers["x-fal-runner-hints"] == "model-a,model-b"


@function("current", serve=True)
def count_down(question: Question) -> Iterator[int]:
    yield from range(question.count, 0, -1)


def test_served_function_may_be_a_generator(serve):
    """A served function is a handler like any other."""
    served = serve(count_down)
    assert events_of(served.post("/", {"text": "", "n": 2})) == [2, 1]
