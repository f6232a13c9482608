"""Relays to services on nodes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from fal_core.errors import HostError
from fal_core.nodes import AgentAddress, Relays


@pytest.fixture
def silent_agent() -> Iterator[AgentAddress]:
    """An agent that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield AgentAddress(*listener.getsockname(), "token")


def test_a_service_that_ends_is_not_awaited(silent_agent: AgentAddress) -> None:
    """Whether its agent says so or not, nobody waits for a port once the service has ended."""
    relays, ended = Relays(), threading.Event()
    timer = threading.Timer(0.2, ended.set)
    timer.start()
    with pytest.raises(HostError, match="its worker has ended"):
        relays.open(silent_agent, {"run": "http://127.0.0.1:9"}, ended.is_set, is_awaited=True)
    timer.join()
    relays.close()
