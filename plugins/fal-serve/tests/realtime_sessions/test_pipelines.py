"""Sessions that read on while their handler works: buffers and batches."""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any

import msgpack
import pytest
from realtime_examples import Realtime, error, send, take, take_all
from websockets.sync.client import ClientConnection, connect

from fal_testing.harness.processes import wait_until


def wait_for(served: Any, *expected: Any) -> None:
    """Wait until the handlers have recorded *expected*."""
    assert wait_until(lambda: served.post("/seen").json() == list(expected), 60), served.post(
        "/seen"
    ).json()


@pytest.mark.parametrize("path", ["/newest", "/dropping"])
def test_oldest_of_too_many_inputs_is_dropped(serve, path: str) -> None:
    """The handler continues with the newest inputs, after the one it has begun."""
    kept = {"/newest": [8, 9], "/dropping": [9]}[path]
    served = serve(Realtime)
    with connect(served.url.replace("http", "ws") + path) as socket:
        send(socket, {"x": 0})
        wait_for(served, 0)
        send(socket, *({"x": each} for each in range(1, 10)))
        # The inputs have been read when a pong comes, which is answered after them.
        assert socket.ping().wait(60)
        # The session takes them out of the connection's queue one by one.
        time.sleep(0.1)
        for each in (0, *kept):
            served.post("/open")
            assert take(socket, 1)[0]["y"] == each
    wait_for(served, 0, *kept)


def take_opening(served: Any, socket: ClientConnection, count: int) -> list[Any]:
    """Return the next messages, opening the gate for the handlers until they have come."""
    found: list[Any] = []
    until = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < until, found
        served.post("/open")
        with contextlib.suppress(TimeoutError):
            frame = socket.recv(timeout=0.05)
            found.append(
                json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame)
            )
    return found


def test_batches_are_across_sessions_and_answers_in_order(served, dial) -> None:
    """A batch has inputs of several sessions; each session gets its own outputs in order."""
    with dial("/batch") as one, dial("/batch") as other:
        send(one, {"x": 1})
        send(one, {"x": 2}, {"x": 3})
        send(other, {"x": 4}, {"x": 5})
        for socket in (one, other):
            assert socket.ping().wait(60)
        # The sessions take them out of their connections' queues one by one.
        time.sleep(0.1)
        found = [
            take_opening(served, socket, 2 * count) for socket, count in ((one, 3), (other, 2))
        ]
        timings = [each["action"] for each in (*found[0][1::2], *found[1][1::2])]
    assert timings == ["timings"] * 5
    outputs = [[each["y"] % 100 for each in part[::2]] for part in found]
    assert outputs == [[1, 2, 3], [4, 5]]
    assert max(each["y"] // 100 for part in found for each in part[::2]) > 1


def test_error_of_an_item_ends_its_session_alone(served, dial) -> None:
    """The other sessions of the batch get their outputs."""
    with dial("/batch") as one, dial("/batch") as other:
        send(one, {"x": 13})
        send(other, {"x": 1}, {"x": 2})
        until = time.monotonic() + 60
        while one.close_code is None and time.monotonic() < until:
            served.post("/open")
            # Batches go on coming, until one has ended the session.
            time.sleep(0.01)
        assert take_all(one, 1008) == [error("IM_A_TEAPOT", "thirteen")]
        found = take_opening(served, other, 4)
        assert [each["y"] % 100 for each in found[::2]] == [1, 2]


def test_many_batches_of_many_sessions_are_answered_in_order(dial) -> None:
    """Outputs keep their order while every session sends as fast as it can."""
    numbers = [{"x": each} for each in range(300)]
    with dial("/threads") as one, dial("/threads") as other:
        for socket in (one, other):
            send(socket, *numbers)
        for socket in (one, other):
            assert [each["y"] for each in take(socket, 300)] == list(range(300))


def test_inputs_say_what_they_go_with(dial) -> None:
    """``can_batch`` of the first input of a batch decides."""
    with dial("/pairs") as socket:
        send(socket, *({"number": each} for each in (1, 3, 4, 6)))
        assert [each["y"] for each in take(socket, 4)] == [[1, 3], [1, 3], [4, 6], [4, 6]]


def test_inputs_of_one_session_are_a_batch_with_one_output(serve) -> None:
    """A handler with ``input, *inputs`` takes what waits, and gives one output for it."""
    served = serve(Realtime)
    with connect(served.url.replace("http", "ws") + "/leading") as socket:
        send(socket, {"x": 0})
        wait_for(served, [0])
        send(socket, *({"x": each} for each in range(1, 7)))
        assert take_opening(served, socket, 1) == [{"taken": [0]}]
        taken = []
        while len(taken) < 6:
            (message,) = take_opening(served, socket, 1)
            assert len(message["taken"]) <= 4
            taken += message["taken"]
    assert taken == [1, 2, 3, 4, 5, 6]


def test_first_input_of_a_batch_says_which_may_follow(serve) -> None:
    """Nothing is lost without a buffer, and ``can_batch`` of the first input is asked."""
    numbers = [0, 2, 1, 3, 5, 7, 4] * 20
    served = serve(Realtime)
    with connect(served.url.replace("http", "ws") + "/leading-all") as socket:
        send(socket, {"number": -1})
        wait_for(served, -1)
        send(socket, *({"number": each} for each in numbers))
        # Many have come by the pong, so that some go together.
        assert socket.ping().wait(60)
        served.post("/open")
        assert take(socket, 2)[0] == {"taken": [-1]}
        taken, timings = [], 0
        while len(taken) < len(numbers):
            message, timing = take(socket, 2)
            batch = message["taken"]
            assert len({each % 2 for each in batch}) == 1
            assert 1 <= len(batch) <= 3
            taken += batch
            timings += timing["action"] == "timings"
    assert taken == numbers
    assert len(numbers) / 3 <= timings < len(numbers)
