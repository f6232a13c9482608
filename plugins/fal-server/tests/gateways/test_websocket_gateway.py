"""The websocket gateway: many requests over one websocket."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Callable
from typing import Any

import aiohttp


def exchange(served_plane: Any, path: str, *sent: str) -> list[list[str]]:
    """Send requests over a websocket, and return the messages of each response."""
    url = f"ws://127.0.0.1:{served_plane.plane.plane.ports['ws']}/owner/{path}"
    headers = {"Authorization": f"Key {served_plane.plane.key}"}

    async def talk() -> list[list[str]]:
        answers: list[list[str]] = []
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers=headers) as connection,
        ):
            for each in sent:
                await connection.send_str(each)
            for _ in sent:
                answers.append([])
                while not answers[-1] or '"type": "end"' not in answers[-1][-1]:
                    data = (await connection.receive()).data
                    answers[-1].append(data if isinstance(data, str) else data.decode())
        return answers

    found: list[list[str]] = served_plane.plane.run(talk())
    return found


def test_requests_of_a_websocket(served_plane: Any, mirror: str):
    """
    The requests of a websocket are answered in order, uncompressed, with the path and the
    query with which the websocket was opened.
    """
    answers = exchange(served_plane, f"{mirror}/sub?a=1&fal_jwt_token=x&b=%20", "1", "2")
    for sent, answer in zip(["1", "2"], answers, strict=True):
        start, body, end = map(json.loads, answer)
        assert (start["type"], start["status"], end["status"]) == ("start", 200, 200)
        assert start["request_id"] == end["request_id"] == body["headers"]["x-fal-request-id"]
        assert body["path"] == "/sub?a=1&b=%20"
        assert base64.b64decode(body["body"]).decode() == sent


def test_requests_of_a_websocket_that_take_too_long(
    served_plane: Any, make_mirror: Callable[[], Any]
):
    """
    The ``request_timeout`` applies to the requests of a websocket as well, and a runner that
    stops responding is replaced.
    """
    served_plane.deploy("slow", function=make_mirror(), request_timeout=4, max_multiplexing=8)
    [answer] = exchange(served_plane, "slow/sleep", "1")
    start, body, end = map(json.loads, answer)
    assert (start["status"], end["status"]) == (504, 504)
    assert body["error_type"] == "request_timeout"
    assert start["headers"]["x-fal-request-timeout-type"] == "infrastructure"

    def pid() -> int:
        return int(json.loads(exchange(served_plane, "slow/again", "1")[0][1]).get("pid", 0))

    stopped = next(found for found in iter(pid, None) if found)
    os.kill(stopped, signal.SIGSTOP)
    served_plane.settle(lambda: pid() not in (0, stopped))


def test_request_of_a_websocket_whose_answer_breaks_off(served_plane: Any, mirror: str):
    """
    If the body of a response breaks off, an error follows, and the ``end`` message has its
    status.
    """
    [(start, half, why, end)] = exchange(served_plane, f"{mirror}/half", "1")
    assert json.loads(start)["status"] == 200
    assert half == "half"
    assert json.loads(why)["error_type"] == "runner_disconnected"
    assert json.loads(end)["status"] == 503
