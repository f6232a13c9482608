"""
Relays: ports of this machine that lead to a service beside a worker.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

import pytest

from fal_core.errors import HostError
from fal_core.pools import relay
from fal_core.testing.harness.processes import wait_until
from fal_core.workers import ARGUMENTS, Worker
from fal_core_worker.serving.ports import free_port

PATIENCE = 60


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker.start((sys.executable, *ARGUMENTS))
    yield worker
    worker.kill()
    worker.close()


def beside(arguments: Sequence[str]) -> Sequence[str]:
    return (sys.executable, *arguments)


def answer(server: socket.socket, size: int) -> None:
    """
    Read each connection to its end, and answer with *size* bytes and what was read.
    """
    while True:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection, suppress(OSError):
            got = b""
            while part := connection.recv(65536):
                got += part
            connection.sendall(bytes(size) + got)


def ask(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        got = b""
        while part := client.recv(65536):
            got += part
    return got


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2].partition("/")[0])


def test_bytes_go_both_ways(worker: Worker):
    """
    What a client sends arrives, its end too, and so does the answer; each URL has its path.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        threading.Thread(target=answer, args=(server, 1 << 20), daemon=True).start()
        urls = relay(
            worker,
            {"run": f"http://127.0.0.1:{port}", "page": f"http://127.0.0.1:{port}/page"},
            beside,
        )
        assert urls["page"] == urls["run"] + "/page"
        assert port_of(urls["run"]) != port
        data = bytes(range(256)) * 4096
        assert ask(port_of(urls["run"]), data) == bytes(1 << 20) + data
        assert ask(port_of(urls["run"]), b"") == bytes(1 << 20)
        server.shutdown(socket.SHUT_RDWR)


def test_relay_waits_for_the_service(worker: Worker):
    """
    There is no relay before the service accepts connections: a client would be turned away.
    """
    port, relayed = free_port(), threading.Event()

    def find() -> None:
        relay(worker, {"run": f"http://127.0.0.1:{port}"}, beside)
        relayed.set()

    thread = threading.Thread(target=find, daemon=True)
    thread.start()
    # Nothing is to happen.
    assert not relayed.wait(0.5)
    with socket.create_server(("127.0.0.1", port)):
        assert relayed.wait(PATIENCE)
    thread.join()


def test_relay_ends_with_its_worker(worker: Worker):
    """
    Once the worker is gone, nothing listens any more.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        urls = relay(worker, {"run": f"http://127.0.0.1:{port}"}, beside)
    worker.kill()

    def is_closed() -> bool:
        with socket.socket() as client:
            return bool(client.connect_ex(("127.0.0.1", port_of(urls["run"]))))

    assert wait_until(is_closed, PATIENCE)


def test_command_that_fails_is_an_error(worker: Worker):
    """
    Where nothing can be started beside the worker, the error has what the command said.
    """
    failing = (sys.executable, "-c", "import sys; sys.exit('no such job')")
    with pytest.raises(HostError, match=r"cannot be reached: no such job"):
        relay(worker, {"run": "http://127.0.0.1:1"}, lambda _: failing)
