"""How processes of one machine reach each other without its network."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator

import pytest

from fal_core.nodes import local_sockets
from fal_core.nodes.agent_addresses import AgentAddress

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="Linux alone has local sockets without a path."
)


@pytest.fixture
def service() -> Iterator[tuple[str, socket.socket]]:
    """The name of a service at port 7, and what it is given connections by."""
    name = local_sockets.make_name()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as taking:
        taking.bind(f"\0{name}-7")
        taking.settimeout(60)
        yield name, taking


def test_connection_that_is_handed_over_is_the_services(
    service: tuple[str, socket.socket],
) -> None:
    """What the other end sends reaches the service itself, also what came before."""
    name, taking = service
    client, accepted = socket.socketpair()
    client.sendall(b"before ")
    assert local_sockets.hand_over(accepted, name, 7)
    assert accepted.fileno() == -1
    _, given, _, _ = socket.recv_fds(taking, 1, 1)
    with client, socket.socket(fileno=given[0]) as own:
        client.sendall(b"after")
        client.shutdown(socket.SHUT_WR)
        assert own.makefile("rb").read() == b"before after"


def test_service_that_takes_none_is_left_to_a_splice() -> None:
    client, accepted = socket.socketpair()
    with client, accepted:
        assert not local_sockets.hand_over(accepted, local_sockets.make_name(), 7)
        assert not local_sockets.hand_over(accepted, "", 7)
        assert accepted.fileno() >= 0


def test_service_that_stands_still_holds_nothing_up(
    service: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it has no room for more connections, these are not handed over, but kept."""
    monkeypatch.setattr(local_sockets, "_PATIENCE", 0.05)
    pairs = []
    until = time.monotonic() + 60
    while time.monotonic() < until:
        pairs.append(socket.socketpair())
        if not local_sockets.hand_over(pairs[-1][1], service[0], 7):
            break
    assert pairs[-1][1].fileno() >= 0
    for pair in pairs:
        for each in pair:
            each.close()


def test_agent_of_another_machine_is_reached_at_its_port() -> None:
    """A name that nobody has here is that of a socket elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = AgentAddress(*server.getsockname(), "token", local_sockets.make_name())
        with address.connect("control") as connection:
            assert connection.family == socket.AF_INET
            accepted, _ = server.accept()
            with accepted:
                assert accepted.recv(64) == b"token control\n"


def test_listener_that_stands_still_is_left_for_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that accepts nothing is given up after a while."""
    monkeypatch.setattr(local_sockets, "_PATIENCE", 0.1)
    name = local_sockets.make_name()
    listener = local_sockets.listen_locally(name, 1)
    assert listener is not None
    opened = []
    with listener:
        for _ in range(16):
            opened.append(local_sockets.connect_locally(name))
            if opened[-1] is None:
                break
        assert opened[-1] is None
    for each in opened:
        if each is not None:
            each.close()


def test_sockets_of_other_programs_are_left_alone() -> None:
    """
    An agent of another machine may tell any name: that of a program of this user which is no
    agent leads nowhere.
    """
    name = f"someone-else-{local_sockets.make_name()}"
    listener = local_sockets.listen_locally(name, 1)
    assert listener is not None
    with listener:
        assert local_sockets.connect_locally(name) is None


@pytest.mark.parametrize("port", [0, 70_000, 1 << 40])
def test_number_that_no_port_has_is_an_error_of_the_connection(port: int) -> None:
    with pytest.raises(OSError):  # noqa: PT011
        AgentAddress("127.0.0.1", port, "token").connect("control")
