"""Sessions of realtime endpoints: their modes, and their ends."""

from __future__ import annotations

import json
import sys
from contextlib import suppress

import pytest
from pydantic import BaseModel
from realtime_examples import ask, error, send, take, take_all
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fal_serve import App, realtime


def test_each_message_is_answered_in_order(dial) -> None:
    """A client may send many messages before it reads the first output."""
    messages = [{"number": each, "bytes": b"\x00\xff", "text": "ü"} for each in range(500)]
    with dial("/echo") as socket:
        send(socket, *messages)
        assert take(socket, 500) == messages


def test_large_message_is_answered(dial) -> None:
    """A message may have megabytes."""
    with dial("/echo") as socket:
        assert ask(socket, bytes(8_000_000)) == bytes(8_000_000)


def test_models_are_made_and_dumped(dial) -> None:
    """A handler receives its annotated type, and the client the fields of a model."""
    with dial("/model") as socket:
        assert ask(socket, {"x": "41"}) == {"y": 42, "data": b"\xff"}


def test_handler_that_is_not_async_runs_on_a_thread(dial) -> None:
    """A plain handler runs on a thread; timings follow each output, as JSON text."""
    with dial("/sync") as socket:
        send(socket, {"x": 1}, {"x": 2})
        first, timing, second, _ = take(socket, 4)
    assert first == {"y": 1, "data": b"False"}
    assert second["y"] == 2
    assert timing.keys() == {"type", "action", "timing"}
    assert (timing["type"], timing["action"]) == ("x-fal-message", "timings")
    assert timing["timing"] >= 0.01


@pytest.mark.parametrize("path", ["/count", "/later", "/buffered-stream"])
def test_generator_streams_its_items(dial, path: str) -> None:
    """
    One input gets an output for each item, and then the session ends, also where another
    input comes.
    """
    with dial(path) as socket:
        send(socket, {"x": 3})
        with suppress(ConnectionClosed):  # It may have ended.
            send(socket, {"x": 9})
        found = take_all(socket)
    assert [each["y"] for each in found[:3]] == [0, 1, 2]
    timings = [each["action"] for each in found[3:]]
    assert timings == (["timings"] if path == "/later" else [])


def test_iterator_that_is_returned_is_streamed(dial) -> None:
    """A handler that returns an iterator streams too."""
    with dial("/list") as socket:
        send(socket, {"x": 3})
        assert take_all(socket) == [{"y": 3}]


def test_stream_of_inputs_ends_when_no_more_come(dial) -> None:
    """When the session is idle, the handler returns its output, and the client gets the reason."""
    with dial("/total") as socket:
        send(socket, {"x": 3}, {"x": 4})
        answer, last = take_all(socket)
    assert answer["y"] == 7
    assert last == error("TIMEOUT", "There was no input for 3.5 s.")


def test_streams_go_both_ways(dial) -> None:
    """Outputs arrive while inputs are sent."""
    with dial("/both") as socket:
        send(socket, {"x": 3})
        assert [each["y"] for each in take(socket, 2)] == [3, -3]
        send(socket, {"x": 4})
        assert [each["y"] for each in take(socket, 2)] == [4, -4]


def test_session_ends_when_it_is_idle(dial) -> None:
    """The timeout does not count the time of the handler."""
    with dial("/idle") as socket:
        assert ask(socket, {"x": 38})["y"] == 38
        assert take_all(socket) == [error("TIMEOUT", "There was no input for 3.5 s.")]


def test_error_is_in_the_log_with_the_request(served) -> None:
    """The traceback is a line of JSON with the request id, as printed lines have it."""
    url = served.url.replace("http", "ws") + "/fail"
    headers = {"x-fal-request-id": "that-one"}
    with connect(url, additional_headers=headers) as socket:
        send(socket, {"how": "key"})
        take_all(socket, 1011)
    assert served.find_line("working at key").request_id == "that-one"
    while True:
        line = json.loads(served.find_line('"traceback": "').message)
        if line.get("request_id") == "that-one":
            break
        served.lines.clear()
    assert "LookupError: the secret" in line["traceback"]
    assert "in fail" in line["traceback"]


class Number(BaseModel):
    x: int


def test_environment_of_its_own_has_what_is_needed(serve) -> None:
    """A service in a virtual environment has msgpack and all else that it needs."""

    class Isolated(App, kind="virtualenv"):
        @realtime("/where", max_batch_size=2)
        async def where(self, *inputs: Number) -> list[dict]:
            import sys

            return [{"x": each.x, "prefix": sys.prefix} for each in inputs]

    served = serve(Isolated)
    with connect(served.url.replace("http", "ws") + "/where") as socket:
        found = ask(socket, {"x": 5})
    assert found["x"] == 5
    assert found["prefix"] != sys.prefix
