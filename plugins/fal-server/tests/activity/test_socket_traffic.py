"""The traffic of websockets: their messages, counted as requests."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import pytest

from fal_server.activity.measurements import Tally, merge_all
from fal_server.activity.socket_traffic import SocketTraffic
from fal_server.activity.traffic import Traffic

SOURCE = """
    import json
    import os

    from fal_serve import App, endpoint, realtime


    class Served(App, keep_alive=300):
        @endpoint("/look")
        def look(self, word: str) -> str:
            return word

        @realtime(
            "/talk",
            content_type="application/json",
            encode_message=lambda told: json.dumps(told).encode(),
            decode_message=json.loads,
        )
        def talk(self, word: str) -> str:
            if word == "fail":
                raise LookupError(word)
            if word == "die":
                os._exit(7)
            return word
"""

NAME = ("account", "app")


def message(text: str) -> aiohttp.WSMessage:
    return aiohttp.WSMessage(aiohttp.WSMsgType.TEXT, text, None)


@pytest.fixture
def socket() -> SocketTraffic:
    measurements: Any = None
    return SocketTraffic(Traffic(measurements), NAME)


def tally_of(socket: SocketTraffic) -> tuple[int, int, int]:
    """Return how many requests, errors and durations were counted."""
    tally = socket._traffic.tally_of(NAME)
    return tally.requests, tally.errors, sum(tally.durations.values())


def test_answer_is_timed_where_it_is_known_what_it_answers(socket: SocketTraffic):
    """
    Each message of the sender counts. The first one after a single message answers that; any
    other may answer anything, and says nothing of how long an answer takes.
    """
    socket.send(message("a"))
    socket.answer(message("A"))
    assert tally_of(socket) == (1, 0, 1)
    socket.answer(message("more of A"))
    socket.send(message("b"))
    socket.send(message("c"))
    socket.answer(message("B"))
    socket.answer(message("C"))
    assert tally_of(socket) == (3, 0, 1)
    socket.send(message("d"))
    socket.answer(message("D"))
    socket.end()
    assert tally_of(socket) == (4, 0, 2)


def test_socket_without_a_message_is_a_request(socket: SocketTraffic):
    """A websocket on which only the runner has sent counts once, whatever came."""
    socket.answer(message("news"))
    socket.answer(message("more"))
    socket.close(1000)
    socket.end()
    assert tally_of(socket) == (1, 0, 0)


@pytest.mark.parametrize(
    ("told", "code", "errors"),
    [
        ('{"type":"x-fal-error","error":"INTERNAL_ERROR","reason":"why"}', 1000, 1),
        ('{"type":"x-fal-error","error":"INTERNAL_ERROR","reason":"why"}', 1011, 1),
        ('{"type": "x-fal-error", "error": "VALIDATION_ERROR"}', 1008, 0),
        ('{"type": "x-fal-error", "error": "TIMEOUT"}', 1000, 0),
        ("x" * 500 + '"x-fal-error" "INTERNAL_ERROR"', 1000, 0),
        ("", 1011, 1),
        ("", 1006, 1),
        ("", 1012, 0),
        ("", None, 0),
    ],
)
def test_failure_of_the_runner_is_an_error(
    socket: SocketTraffic, told: str, code: int | None, errors: int
):
    """
    A websocket has one error where its runner fails, or is lost, and none for what the sender
    has done wrong.
    """
    socket.send(message("a"))
    if told:
        socket.answer(message(told))
    socket.close(code)
    socket.end()
    assert tally_of(socket)[:2] == (1, errors)


def test_messages_of_an_application_are_measured(served_plane: Any):
    """
    The messages of realtime endpoints are among the requests of an application, with how long
    their answers took, and with the websockets that end as their handler fails, or its runner
    dies; so are those of the gateway for many requests over one websocket.
    """
    pytest.importorskip("fal_host_serverless", reason="It deploys the application.")
    plane = served_plane.plane
    served_plane.deploy_class("measured", SOURCE)
    with plane.client() as client:
        name = client.get("/users/current").json()["user_id"], "measured"
    headers = {"Authorization": f"Key {plane.key}"}

    async def talk(port: str, path: str, *words: str) -> None:
        url = f"ws://127.0.0.1:{plane.plane.ports[port]}/owner/measured{path}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(url, headers=headers) as connection,
        ):
            for word in words:
                await connection.send_json({"word": word} if port == "ws" else word)
                got = await connection.receive()
                while port == "ws" and '"end"' not in str(got.data):
                    got = await connection.receive()
            if words[-1] in ("fail", "die"):
                while not connection.closed:
                    await connection.receive()

    traffic = plane.plane.decider.traffic

    def counted() -> Tally:
        # It is set aside now and then.
        steps = (*traffic._recent, traffic._present)
        return merge_all([each[name] for each in steps if name in each])

    def is_counted(requests: int, errors: int, timed: int) -> bool:
        tally = plane.here(counted)
        found = tally.requests, tally.errors, sum(tally.durations.values())
        return found == (requests, errors, timed)

    asyncio.run(talk("run", "/talk", "one", "two"))
    served_plane.settle(lambda: is_counted(2, 0, 2))
    asyncio.run(talk("run", "/talk", "three", "fail"))
    served_plane.settle(lambda: is_counted(4, 1, 3))
    asyncio.run(talk("ws", "/look", "five", "six"))
    served_plane.settle(lambda: is_counted(6, 1, 5))
    asyncio.run(talk("run", "/talk", "die"))
    served_plane.settle(lambda: is_counted(7, 2, 5))
    plane.run(traffic.store())
    rates = traffic.rates_of(name)
    assert rates.errors == 2
    assert rates.median is not None
