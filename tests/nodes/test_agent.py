"""What strangers may send to the agent of a node."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

from fal_core.nodes import greetings
from fal_core.nodes.agent import Agent


@pytest.fixture(params=["port", "local"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    """Where an agent listens that has room for two strangers."""
    agent = Agent("127.0.0.1")
    agent.strangers = threading.BoundedSemaphore(2)
    found = agent.listener if request.param == "port" else agent.local_listener
    if found is None:
        pytest.skip("This system has no local sockets without a path.")
    threading.Thread(target=agent.listen, args=(found,), daemon=True).start()
    yield found
    agent.listener.close()
    if agent.local_listener is not None:
        agent.local_listener.close()


def send(listener: socket.socket, text: bytes) -> socket.socket:
    connection = socket.socket(listener.family)
    connection.settimeout(60)
    try:
        connection.connect(listener.getsockname())
        # One that is refused may be closed before it has said a word.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(text)
    except BaseException:
        connection.close()
        raise
    return connection


def is_refused(connection: socket.socket) -> bool:
    """Return whether the agent ends a connection."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_unknown_tokens_take_the_room_of_strangers(listener: socket.socket) -> None:
    """
    Whoever shows a token that the agent does not know yet is a stranger for as long as it is
    looked for, and of those there are few.
    """
    first = [send(listener, b"no-such-token stream\n") for _ in range(2)]
    try:
        with send(listener, b"no-such-token stream\n") as further:
            assert is_refused(further)
        for each in first:
            each.setblocking(False)
            with pytest.raises(BlockingIOError):
                each.recv(1)
    finally:
        for each in first:
            each.close()


def test_line_that_comes_too_slowly_ends(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time for a line is that of the whole line, and not of each byte."""
    monkeypatch.setattr(greetings, "GREETING", 0.5)
    connection = send(listener, b"a")
    stop = threading.Event()

    def dribble() -> None:
        while not stop.wait(0.05):
            try:
                connection.sendall(b"a")
            except OSError:
                return

    dribbling = threading.Thread(target=dribble)
    dribbling.start()
    try:
        assert is_refused(connection)
    finally:
        stop.set()
        dribbling.join()
        connection.close()
