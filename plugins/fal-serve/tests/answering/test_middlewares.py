"""Middlewares set ids, context and headers for each request, and log one line for it."""

import asyncio
import re
from typing import Any

import httpx
import pytest
import websockets
from fastapi import Request, Response, WebSocket
from hypothesis import given
from hypothesis import strategies as st

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering import requests
from fal_serve.answering.middlewares import readable_id
from fal_serve.servables import BaseServable

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Everything(BaseServable):
    """Routes for what a middleware can get wrong."""

    def __init__(self, func: Any) -> None:
        self._asked = 0

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {
            RouteSignature("/context"): self.context,
            RouteSignature("/unended"): self.unended,
            RouteSignature("/billed"): self.billed,
            RouteSignature("/token"): self.token,
            RouteSignature("/fails"): self.fails,
            RouteSignature("/exits"): self.exits,
            RouteSignature("/interrupts"): self.interrupts,
            RouteSignature("/cancels"): self.cancels,
            RouteSignature("/client"): self.client,
            RouteSignature("/socket", is_websocket=True): self.socket,
            RouteSignature("/broken", is_websocket=True): self.broken,
            RouteSignature("/refused", is_websocket=True): self.refused,
        }

    def hints(self) -> list[str] | None:
        self._asked += 1
        if self._asked == 2:
            raise LookupError("no hints today")
        return ["warm", "größe", "模型", "two\r\nlines"]

    def context(self) -> dict[str, Any]:
        request = requests.current.get()
        assert request is not None
        print("I was here")
        return {
            "request_id": request.request_id,
            "endpoint": request.endpoint,
            "lifecycle_preference": request.lifecycle_preference,
            "agent": request.headers["user-agent"],
        }

    def unended(self) -> None:
        print("no line end", end="")

    def billed(self, response: Response) -> None:
        response.headers["x-fal-billable-units"] = "7"

    def token(self, value: str) -> None:
        request = requests.current.get()
        assert request is not None
        request.headers["x-fal-cdn-token"] = value

    def fails(self) -> None:
        raise LookupError("gone")

    def exits(self) -> None:
        raise SystemExit(3)

    async def interrupts(self) -> None:
        raise KeyboardInterrupt

    async def cancels(self) -> None:
        raise asyncio.CancelledError

    async def client(self, request: Request) -> dict[str, Any]:
        assert request.client is not None
        return {"host": request.client.host, "scheme": request.url.scheme}

    async def socket(self, websocket: WebSocket) -> None:
        await websocket.accept()
        request = requests.current.get()
        await websocket.send_text(str(request and request.request_id))
        print("in the session")
        await websocket.close()

    async def broken(self, websocket: WebSocket) -> None:
        await websocket.accept()
        raise SystemExit("gone")

    async def refused(self, websocket: WebSocket) -> None:
        await websocket.close()


def nothing() -> None: ...


@pytest.fixture
def service(serve_with: Any) -> Any:
    return serve_with(nothing, Everything)


def find_printed(service: Any, text: str) -> Any:
    """Return the first line that is *text*; warnings about a busy machine may precede it."""
    while (line := service.logs.get(timeout=30)).message != text:
        pass
    return line


def test_id_of_the_caller_is_kept(service, wait_for_line):
    """The caller's id is sent back, is in the context, and marks the lines of the handler."""
    headers = {
        "x-fal-request-id": "my id",
        "x-fal-endpoint": "someone/app",
        "x-fal-object-lifecycle-preference": '{"expiration_duration_seconds": "60"}',
        "traceparent": TRACE,
    }
    answer = httpx.post(service.url + "/context", headers=headers)
    assert answer.headers["x-fal-request-id"] == "my id"
    assert answer.json() == {
        "request_id": "my id",
        "endpoint": "someone/app",
        "lifecycle_preference": {"expiration_duration_seconds": "60"},
        "agent": answer.request.headers["user-agent"],
    }
    assert find_printed(service, "I was here").request_id == "my id"
    line = wait_for_line(service, request_id="my id")
    assert (line["method"], line["path"], line["status"]) == ("POST", "/context", 200)
    assert (line["endpoint"], line["client"]) == ("someone/app", "127.0.0.1")
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert line["bytes"] == len(answer.content)
    assert line["milliseconds"] > 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


def test_line_that_a_handler_does_not_end_ends_with_its_request(service):
    """An unfinished line that a handler has printed arrives when its request ends."""
    for number in range(3):
        httpx.post(f"{service.url}/unended", headers={"x-fal-request-id": f"r{number}"})
    lines = []
    while len(lines) < 3:
        line = service.logs.get(timeout=30)
        if line.message == "no line end":
            lines.append(line.request_id)

    assert lines == ["r0", "r1", "r2"]


def test_request_without_an_id_is_given_one(service):
    """A request without an id, or with an unusable one, gets its own."""
    url = service.url + "/context"
    answers = [httpx.post(url) for _ in range(3)]
    answers.append(httpx.post(url, headers={"x-fal-request-id": "x" * 300}))
    ids = {answer.headers["x-fal-request-id"] for answer in answers}
    assert ids == {answer.json()["request_id"] for answer in answers}
    assert len(ids) == 4
    assert all(re.fullmatch(r"[0-9a-f-]{36}", each) for each in ids)


def test_hints_are_given_with_each_answer(service, wait_for_line):
    """Hints are sent unless they cannot be; a failure of the hook is only logged."""
    first = httpx.post(service.url + "/context")
    hints = dict(first.headers.raw)[b"x-fal-runner-hints"]
    assert hints == "warm,größe".encode("latin-1")
    message = "The hint '模型' is left out: it is not latin-1."
    wait_for_line(service, message=message, logger="fal_serve")
    message = r"The hint 'two\r\nlines' is left out: it has control characters."
    wait_for_line(service, message=message, logger="fal_serve")
    second = httpx.post(service.url + "/context")
    assert second.status_code == 200
    assert "x-fal-runner-hints" not in second.headers
    line = wait_for_line(service, message="The hints of the service failed.")
    assert "LookupError: no hints today" in line["traceback"]


def test_headers_of_the_handler_pass(service):
    """Headers that the handler sets for the gateway are in the response."""
    answer = httpx.post(service.url + "/billed")
    assert answer.headers["x-fal-billable-units"] == "7"


def test_token_is_given_back_where_it_is_another(service):
    """A CDN token that the handler has replaced is sent back; an unchanged one is not."""
    url, headers = service.url + "/token", {"x-fal-cdn-token": "old"}
    same = httpx.post(url, params={"value": "old"}, headers=headers)
    assert "x-fal-cdn-token" not in same.headers
    other = httpx.post(url, params={"value": "new"}, headers=headers)
    assert other.headers["x-fal-cdn-token"] == "new"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("fails", "LookupError: gone"),
        ("exits", "SystemExit: 3"),
        ("interrupts", "KeyboardInterrupt"),
    ],
)
def test_whatever_a_handler_raises_is_logged_and_answered(service, wait_for_line, path, kind):
    """The traceback is logged once, the client sees none of it, and the service goes on."""
    answer = httpx.post(f"{service.url}/{path}", headers={"x-fal-request-id": "r1"})
    assert answer.status_code == 500
    assert kind not in answer.text
    found = []
    while not any("status" in line for line in found):
        found.append(wait_for_line(service, request_id="r1"))
    assert [kind in line.get("traceback", "") for line in found] == [True, False]
    assert found[-1]["status"] == 500
    assert httpx.post(service.url + "/context").status_code == 200


def test_handler_that_cancels_itself_is_answered(service):
    """A handler that raises CancelledError does not end the service."""
    assert httpx.post(service.url + "/cancels").status_code == 503
    assert httpx.post(service.url + "/context").status_code == 200


def test_proxy_on_this_machine_tells_the_client(service):
    """A proxy on this machine is trusted about the client."""
    headers = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    answer = httpx.post(service.url + "/client", headers=headers)
    assert answer.json() == {"host": "203.0.113.9", "scheme": "https"}


@pytest.mark.parametrize(
    ("proxies", "client"),
    [
        ("198.51.100.7", {"host": "127.0.0.1", "scheme": "http"}),
        ("198.51.100.7,127.0.0.0/8", {"host": "203.0.113.9", "scheme": "https"}),
    ],
)
def test_proxies_that_are_trusted_are_named(monkeypatch, serve_with, proxies, client):
    """A variable names the addresses of the proxies that are trusted about the client."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", proxies)
    service = serve_with(nothing, Everything)
    headers = {"x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https"}
    assert httpx.post(service.url + "/client", headers=headers).json() == client


def test_websocket_has_an_id(service, wait_for_line):
    """A websocket's id is in the response, the context, the printed lines, and the log."""

    async def talk() -> None:
        url = service.url.replace("http", "ws") + "/socket"
        headers = {"x-fal-request-id": "session 1"}
        async with websockets.connect(url, additional_headers=headers) as client:
            assert client.response is not None
            assert client.response.headers["x-fal-request-id"] == "session 1"
            assert await client.recv() == "session 1"

    asyncio.run(talk())
    assert find_printed(service, "in the session").request_id == "session 1"
    line = wait_for_line(service, request_id="session 1")
    assert (line["method"], line["status"], line["bytes"]) == ("WEBSOCKET", 101, 9)


def test_websocket_whose_handler_fails_is_closed(service, wait_for_line):
    """The connection is closed with 1011, and the traceback is logged."""

    async def talk() -> None:
        async with websockets.connect(service.url.replace("http", "ws") + "/broken") as client:
            with pytest.raises(websockets.ConnectionClosedError) as caught:
                await client.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1011

    asyncio.run(talk())
    line = wait_for_line(service, message="The handler failed.")
    assert "SystemExit: gone" in line["traceback"]


def test_websocket_that_is_refused_is_told(service, wait_for_line):
    """The log has the status with which a websocket was refused."""

    async def talk() -> None:
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(service.url.replace("http", "ws") + "/refused")

    asyncio.run(talk())
    assert wait_for_line(service, path="/refused")["status"] == 403


@given(st.binary(max_size=400))
def test_id_that_is_sent_back_is_a_good_header(raw):
    """Only an id that is valid in a header is kept, and kept unchanged."""
    kept = readable_id(raw)
    if kept is not None:
        assert kept.encode("latin-1") == raw
        assert not re.search(rb"[\x00-\x1f\x7f]", raw)
