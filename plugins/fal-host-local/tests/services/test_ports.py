"""A port that somebody has, and services with networks of their own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.environments import Command, CurrentEnvironment
from fal_core.events import Exited, Sealed
from fal_core.options import Gateway
from fal_core.sealing import seal_function
from fal_core_worker.serving import networks, ports
from fal_core_worker.serving.services import Server
from fal_core_worker.trees import children
from fal_host_local import LocalHost, PortTaken
from fal_host_local.services.ports import ServicePort
from fal_testing.harness.processes import is_alive, wait_until

PATIENCE = 60.0


@pytest.fixture
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where ``pasta`` is not installed."""
    monkeypatch.setenv("PATH", "/nowhere")
    networks.missing.cache_clear()


@pytest.mark.usefixtures("without_namespaces")
def test_error_for_a_taken_port_names_the_function(
    host: LocalHost,
    port: int,
    make_server: Callable[..., Any],
    ask: Callable[[str], list[str]],
    wait_for_end: Callable[[Any], None],
):
    """The error names the function that has the port, and its reference."""
    serve = make_server(host, port)
    first = serve.spawn("one")

    with pytest.raises(PortTaken, match=rf"'serve' \({first.reference}\)") as caught:
        serve.spawn("two")
    assert caught.value.port == port
    assert "pasta" in str(caught.value)
    wait_for_end(first)
    assert ask(serve.spawn("three").url)[0] == "three"


@pytest.mark.usefixtures("without_namespaces")
def test_error_for_a_taken_port_names_the_process(
    host: LocalHost, make_server: Callable[..., Any]
):
    """The error names the process that has the port, and its command line."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"process {os.getpid()} \(\S+"):
            make_server(host, port).spawn("one")
    assert host.worker_count == 0


needs_namespaces = pytest.mark.skipif(
    networks.missing() != "", reason="pasta or user namespaces are missing"
)
networks.missing.cache_clear()


@needs_namespaces
def test_two_servers_of_one_port_run_at_once(
    host: LocalHost,
    port: int,
    make_server: Callable[..., Any],
    ask: Callable[[str], list[str]],
    wait_for_end: Callable[[Any], None],
):
    """The second of two services with one port has a network of its own."""
    serve = make_server(host, port)
    first, second = serve.spawn("one"), serve.spawn("two")

    assert {first.url, second.url} > {f"http://127.0.0.1:{port}"}
    assert ask(first.url)[0] == "one"
    assert ask(second.url)[0] == "two"
    apart = second if second.url != f"http://127.0.0.1:{port}" else first
    pid = int(ask(apart.url)[1])
    (pasta,) = [child for child in children(pid) if "pasta" in _command(child)]
    wait_for_end(apart)
    assert not is_alive(pid)
    assert wait_until(lambda: not is_alive(pasta), 30)
    wait_for_end(second if apart is first else first)


@needs_namespaces
def test_a_network_of_its_own_reaches_the_outside(host: LocalHost):
    """
    A service in a network of its own reaches what is outside: here this machine, at
    the address of the gateway.
    """

    @function("current", host=host, exposed_port=1)
    def reach(port: int) -> str:
        import socket

        with open("/proc/net/route") as file:
            routes = [line.split() for line in file]
        (gateway,) = {route[2] for route in routes if route[1] == "00000000"}
        address = socket.inet_ntoa(bytes.fromhex(gateway)[::-1])
        with socket.create_connection((address, port), 20) as connection:
            return connection.recv(100).decode()

    def greet() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"hello")

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        reach.options.gateway["exposed_port"] = port
        threading.Thread(target=greet, daemon=True).start()
        assert reach.spawn(port).future.result(PATIENCE) == "hello"


@needs_namespaces
def test_a_service_that_asks_for_a_network_of_its_own(host: LocalHost, port: int):
    """
    No port of this machine leads into the network of a call with ``own_network``, whose
    port is its own; other services of this machine are reached from there.
    """

    def serve(own: int, other: int) -> None:
        import os
        import socket

        socket.create_server(("127.0.0.1", own))
        with socket.create_connection(("127.0.0.1", other), 60) as connection:
            connection.sendall(os.readlink("/proc/self/ns/net").encode())
        # Until it is cancelled.
        socket.create_server(("127.0.0.1", 0)).accept()

    class Serving(Server):
        def __init__(self, own: int, other: int) -> None:
            self.func, self.ports, self.__name__ = serve, (own, other), "serving"
            self.__module__ = __name__

        def __call__(self, **_: Any) -> None:
            self.func(*self.ports)

    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        seal = seal_function(Serving(port, server.getsockname()[1]))
        call = Call(
            id="own-network",
            name="serving",
            function=seal.sealed,
            arguments=Sealed(b""),
            environment=CurrentEnvironment(),
            host_options=host.options(),
            gateway=Gateway(serve=True),
            own_network=(port,),
        )
        events: Queue[Any] = Queue()
        assert host.network_problem() == ""
        execution = host.launch(call, events.put)
        connection, _ = server.accept()
        with connection:
            network = connection.recv(100).decode()
        assert network.startswith("net:")
        assert network != os.readlink("/proc/self/ns/net")
        execution.cancel(0.0)
        while not isinstance(events.get(timeout=PATIENCE), Exited):
            pass


@needs_namespaces
def test_the_command_of_a_network_becomes_the_one_it_is_given(port: int):
    """
    A network is put around a command by another command, and becomes it: its exit
    code is the command's own, and nothing else is left.
    """
    source = "import os, sys; print(os.readlink('/proc/self/ns/net')); sys.exit(7)"
    inner = Command(
        argv=(sys.executable, "-c", source), variables={"A": "1"}, stop_argv=("stop", "it")
    )

    command = ServicePort(8080, port, None).enter_network(inner)

    assert (command.variables, command.stop_argv) == ({"A": "1"}, ("stop", "it"))
    assert command.argv[-3:] == inner.argv
    done = subprocess.run(command.argv, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 7, done.stderr
    assert done.stdout.strip() not in ("", os.readlink("/proc/self/ns/net"))
    assert wait_until(lambda: ports.is_free(port), 30)


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
