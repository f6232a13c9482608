"""The client's end of realtime endpoints."""

from __future__ import annotations

import numpy
import pytest
from client_examples import Answer, Prompt
from websockets.sync.client import connect

from fal_serve import AppClientError


def test_a_session_sends_and_receives(client):
    """A realtime endpoint opens a session, whose outputs have their type."""
    with client.talk() as session:
        assert session(Prompt(text="abc")) == Answer(text="cba")
        session.send(Prompt(text="de"))
        session.send({"text": "fg"})
        assert [session.receive().text, session.receive().text] == ["ed", "gf"]


def test_a_session_has_arrays(client):
    """A type that the service accepts is accepted by the client too."""
    with client.turn() as session:
        answer = session(numpy.arange(6).reshape(2, 3))
    assert answer.tolist() == [[0, 3], [1, 4], [2, 5]]


def test_a_session_may_be_json(client):
    """With the content type of JSON, both ends speak JSON."""
    with client.json() as session:
        assert session(Prompt(text="abc")) == Answer(text="cba")
    with connect(f"ws{client.url[4:]}/json") as socket:
        socket.send('{"text": "ab"}')
        assert socket.recv(60) == b'{"text":"ba","upper":false}'
        socket.send("[" * 100_000)
        assert "INVALID_MESSAGE" in socket.recv(60)


def test_a_session_may_be_text(client):
    """A codec that writes text is read like one that writes bytes, beside the session's errors."""
    with client.text() as session:
        for message in ({"a": [1]}, [], "word", {"type": "own"}):
            assert session(message, timeout=60) == message
        with pytest.raises(AppClientError, match="NOT_FOUND: no such word"):
            session(None, timeout=60)


def test_a_session_that_has_ended_says_so(client):
    """A refused message raises its error, and later calls raise EOFError."""
    with client.talk() as session:
        with pytest.raises(AppClientError, match="VALIDATION_ERROR: text: "):
            session({"text": ""})
        with pytest.raises(EOFError, match="1008"):
            session.receive()
        with pytest.raises(EOFError, match="The session has ended"):
            session.send({"text": "b"})
        with pytest.raises(EOFError):
            session({"text": "c"})
        assert list(session) == []
