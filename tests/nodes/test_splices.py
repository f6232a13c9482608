"""Connections that are passed on to ports of a node."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from fal_core.nodes.splices import await_port, forward

#: More than sockets have room for.
SIZE = 2 << 20


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[socket.socket], object]], int]]:
    """Serve connections at a port, each in a thread, and return the port."""
    servers = []

    def start(use: Callable[[socket.socket], object]) -> int:
        server = socket.create_server(("127.0.0.1", 0), backlog=64)
        servers.append(server)

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=use, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        return int(server.getsockname()[1])

    yield start
    for server in servers:
        server.shutdown(socket.SHUT_RDWR)
        server.close()


def echo(connection: socket.socket) -> None:
    with connection:
        while part := connection.recv(1 << 16):
            connection.sendall(part)


def exchange(port: int) -> None:
    """Send more than there is room for, and read it back."""
    sent, received = os.urandom(SIZE), bytearray()
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:

        def send() -> None:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        while part := connection.recv(1 << 16):
            received += part
        sender.join()
    assert received == sent


def test_bytes_are_passed_on_both_ways_until_both_ends(serve):
    """
    Everything arrives, in order, however much waits, and for many at once; the end of one
    direction leaves the other open.
    """
    service = serve(echo)
    front = serve(lambda connection: forward(connection, "", service))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(exchange, [front] * 8))


def test_connection_ends_with_the_service(serve):
    """A connection is closed where nothing listens, and where the service closes it."""
    closing = serve(lambda connection: connection.close())
    for port in (closing, _free_port()):
        front = serve(lambda connection, port=port: forward(connection, "", port))
        with socket.create_connection(("127.0.0.1", front), timeout=60) as connection:
            assert connection.recv(1) == b""


def test_port_that_is_awaited(serve):
    """Whoever waits for a port is told once it is open."""
    port = _free_port()
    front = serve(lambda connection: await_port(connection, port))
    connection = socket.create_connection(("127.0.0.1", front), timeout=60)
    with connection, socket.create_server(("127.0.0.1", port)):
        assert connection.recv(1) == b"+"


def test_port_is_awaited_by_a_node_that_has_many_files_open(serve):
    """The number of a connection may be larger than what ``select`` takes."""
    port = serve(lambda connection: connection.close())
    one, other = socket.socketpair()
    with one, other:
        one.settimeout(60)
        try:
            number = fcntl.fcntl(other.fileno(), fcntl.F_DUPFD_CLOEXEC, 2000)
        except OSError:
            pytest.skip("This system lets a process have few open files.")
        await_port(socket.socket(fileno=number), port)
        assert one.recv(1) == b"+"


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
