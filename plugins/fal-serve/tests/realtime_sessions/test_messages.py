"""Messages: from frames to inputs, and from outputs to frames."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy
import pytest
from realtime_examples import ask, send, take_all
from websockets.exceptions import ConnectionClosed


def test_codec_of_the_users_is_used(dial) -> None:
    """
    A custom codec is used in both directions. It gets text frames as bytes, and may return
    text.
    """
    with dial("/json") as socket:
        for sent in (b'{"x": 1}', '{"x": 1}'):
            socket.send(sent)
            assert socket.recv(timeout=60) == b'{"x": 1}'
        socket.send(b"{")
        (last,) = take_all(socket, 1007)
        assert last["error"] == "INVALID_MESSAGE"
    with dial("/text") as socket:
        socket.send('{"x": "ü"}')
        assert socket.recv(timeout=60) == '{"x": "\\u00fc"}'


def test_arrays_are_messages(dial) -> None:
    """An array is a map that any client can read and write."""
    sent = {"__ndarray__": "<i2", "shape": [2, 3], "data": bytes(range(12))}
    with dial("/array") as socket:
        found = ask(socket, sent)
    assert (found["__ndarray__"], found["shape"]) == ("<i2", [3, 2])
    shown = numpy.frombuffer(found["data"], "<i2").reshape(3, 2)
    assert shown.T.tobytes() == sent["data"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "x: Field required"),
        ({"x": "no"}, "x: Input should be a valid integer"),
        (7, "Input should be a valid dictionary"),
    ],
)
def test_wrong_field_is_named(dial, message: Any, reason: str) -> None:
    """An invalid message ends the session, after the messages before it are answered."""
    with dial("/model") as socket:
        send(socket, {"x": 1}, message)
        # The session may have ended by now, and the last message finds it so.
        with contextlib.suppress(ConnectionClosed):
            send(socket, {"x": 3})
        answer, last = take_all(socket, 1008)
    assert answer["y"] == 2
    assert last["error"] == "VALIDATION_ERROR"
    assert last["reason"].startswith(reason)


@pytest.mark.parametrize("path", ["/model", "/newest", "/batch", "/count", "/total"])
@pytest.mark.parametrize("frame", [b"\xc1", "text", b"", b"\x81"])
def test_frame_that_is_no_message_is_refused(dial, path: str, frame: bytes | str) -> None:
    """In every mode, an invalid frame is reported, and ends the session."""
    with dial(path) as socket:
        socket.send(frame)
        (last,) = take_all(socket, 1007)
    assert last["error"] == "INVALID_MESSAGE"
