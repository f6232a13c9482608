"""Relays: ports of this machine that lead to a service beside a worker."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.errors import HostError
from fal_core.hosts import Capabilities
from fal_core.pools import Start, WorkerHost, relay, relays
from fal_core.workers import ARGUMENTS, Worker
from fal_core_worker.serving.ports import free_port
from fal_testing.harness.processes import wait_until

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
    """Read each connection to its end, and answer with *size* bytes and what was read."""
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
    """What a client sends arrives, its end too, and so does the answer; each URL has its path."""
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
    """There is no relay before the service accepts connections: a client would be turned away."""
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
    """Once the worker is gone, nothing listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        urls = relay(worker, {"run": f"http://127.0.0.1:{port}"}, beside)
    worker.kill()

    def is_closed() -> bool:
        with socket.socket() as client:
            return bool(client.connect_ex(("127.0.0.1", port_of(urls["run"]))))

    assert wait_until(is_closed, PATIENCE)


def test_command_that_fails_is_an_error(worker: Worker):
    """Where nothing can be started beside the worker, the error has what the command said."""
    failing = (sys.executable, "-c", "import sys; sys.exit('no such job')")
    with pytest.raises(HostError, match=r"cannot be reached: no such job"):
        relay(worker, {"run": "http://127.0.0.1:1"}, lambda _: failing)


# -- the end -----------------------------------------------------------------------------


class Noted:
    """Starts a Python with a variable by which its processes are found."""

    def __init__(self, *prefix: str) -> None:
        self.mark = f"fal-core-relay-{uuid.uuid4().hex}"
        self.prefix = prefix

    def __call__(self, arguments: Sequence[str]) -> Sequence[str]:
        return (*self.prefix, "env", f"MARK={self.mark}", sys.executable, *arguments)

    def running(self) -> list[int]:
        """Return the processes that still run."""
        found = []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if f"MARK={self.mark}".encode() in path.read_bytes():
                    found.append(int(path.parent.name))
        return found


#: A program before the Python that passes no signal on.
DEAF = (
    sys.executable,
    "-c",
    "import subprocess, sys; sys.exit(subprocess.run(sys.argv[1:]).returncode)",
)


@pytest.mark.parametrize("prefix", [(), DEAF], ids=["bare", "deaf"])
def test_relay_waits_no_longer_than_its_worker_lives(worker: Worker, prefix: tuple[str, ...]):
    """A service that has never opened its port keeps nothing waiting once its worker is gone."""
    command, errors = Noted(*prefix), []

    def find() -> None:
        with pytest.raises(HostError, match="its worker has ended") as caught:
            relay(worker, {"run": f"http://127.0.0.1:{free_port()}"}, command)
        errors.append(caught)

    thread = threading.Thread(target=find, daemon=True)
    thread.start()
    assert wait_until(lambda: bool(command.running()), PATIENCE)
    worker.kill()
    thread.join(PATIENCE)
    assert errors
    assert wait_until(lambda: not command.running(), PATIENCE)


def test_relay_beside_a_worker_that_is_gone_is_an_error(worker: Worker):
    """It is said at once, and nothing waits for the port."""
    worker.kill()
    assert wait_until(lambda: worker.gone, PATIENCE)
    command = Noted()
    with pytest.raises(HostError, match="its worker has ended"):
        relay(worker, {"run": f"http://127.0.0.1:{free_port()}"}, command)
    assert not command.running()


def test_nothing_waits_for_a_port_after_the_program_has_ended():
    """Also if the program was killed: what waits reads the end of its standard input."""
    command = Noted()
    waits = f"""
from fal_core.pools import relay
from fal_core.workers import ARGUMENTS, Worker
import sys
worker = Worker.start((sys.executable, *ARGUMENTS))
prefix = {tuple(command(()))!r}
relay(worker, {{"run": "http://127.0.0.1:{free_port()}"}}, lambda rest: (*prefix, *rest))
"""
    with subprocess.Popen([sys.executable, "-c", waits]) as program:
        assert wait_until(lambda: bool(command.running()), PATIENCE)
        program.kill()
    assert wait_until(lambda: not command.running(), PATIENCE)


def test_connections_end_with_the_worker(worker: Worker):
    """A client whose service goes on beside a worker that is gone reads the end."""
    command = Noted()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        urls = relay(worker, {"run": f"http://127.0.0.1:{port}"}, command)
        address = ("127.0.0.1", port_of(urls["run"]))
        with socket.create_connection(address, timeout=PATIENCE) as client:
            client.sendall(b"hello")
            # The one that waited was the first.
            server.accept()[0].close()
            with server.accept()[0] as service:
                assert service.recv(5) == b"hello"
                worker.kill()
                assert client.recv(1) == b""
        assert wait_until(lambda: not command.running(), PATIENCE)


def test_connections_beyond_the_most_wait(worker: Worker, monkeypatch: pytest.MonkeyPatch):
    """Only so many connections have processes at once; the next one is served once one ends."""
    monkeypatch.setattr(relays, "MOST_CONNECTIONS", 2)
    command = Noted()
    with socket.create_server(("127.0.0.1", 0)) as server, ExitStack() as clients:
        port = server.getsockname()[1]
        urls = relay(worker, {"run": f"http://127.0.0.1:{port}"}, command)
        address = ("127.0.0.1", port_of(urls["run"]))
        # The one that waited was the first.
        server.accept()[0].close()
        for _ in range(3):
            clients.enter_context(socket.create_connection(address, timeout=PATIENCE))
        first, second = server.accept()[0], server.accept()[0]
        # Nothing is to happen.
        server.settimeout(0.5)
        with pytest.raises(TimeoutError):
            server.accept()
        with first:
            first.shutdown(socket.SHUT_RDWR)
        server.settimeout(PATIENCE)
        server.accept()[0].close()
        second.close()
    worker.kill()
    assert wait_until(lambda: not command.running(), PATIENCE)


@attrs.define(eq=False, slots=False)
class RelayingHost(WorkerHost[..., Any]):
    """A host of this machine that reaches its services as one of another machine does."""

    name: ClassVar[str] = "relaying"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=frozenset({"current"}), inherits=True, serve=True
    )

    command: Noted = attrs.field(factory=Noted)

    def begin(self, start: Start) -> Worker:
        return Worker.start(start.build().command(ARGUMENTS))

    def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
        return relay(worker, urls, self.command)


@pytest.mark.faults
def test_service_that_raises_before_it_is_reached_leaves_nothing():
    """Its own error arrives, and nothing waits for its port any more."""
    host, port = RelayingHost(), free_port()

    @function("current", host=host, exposed_port=port)
    def fail() -> None:
        raise LookupError("no model")

    try:
        with pytest.raises(LookupError, match="no model"):
            fail.spawn().future.result(PATIENCE)
    finally:
        host.close()
    assert wait_until(lambda: not host.command.running(), PATIENCE)
