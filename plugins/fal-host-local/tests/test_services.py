"""
Functions that bring their own server, on this machine.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core import Cancelled, OptionError, PortTaken, StartupTimeout, WorkerLost, function
from fal_core.environments import Command
from fal_core.testing.processes import is_alive, wait_until
from fal_core_worker.serving import networks, ports
from fal_host_local import LocalHost, namespaces

PATIENCE = 60.0


@pytest.fixture
def host() -> Iterator[LocalHost]:
    """
    A host of this test alone.
    """
    host = LocalHost()
    yield host
    host.close()


@pytest.fixture
def port() -> int:
    """
    A port that nobody has.
    """
    return ports.free_port()


def make_server(host: LocalHost, port: int, **options: Any) -> Any:
    """
    Return a function that answers requests on *port* with what it was called with.
    """

    @function("current", host=host, exposed_port=port, **options)
    def serve(name: str, statuses: list[int] | None = None, child: bool = False) -> None:
        import http.server
        import os
        import socketserver
        import subprocess
        import sys

        statuses = list(statuses or [])
        if child:
            subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status = 200
                if self.path == "/health":
                    status = statuses.pop(0) if statuses else 200
                    print(self.command, self.path, status)
                self.send_response(status)
                self.end_headers()
                self.wfile.write(f"{name} {os.getpid()}".encode())

            def log_message(self, *args: object) -> None:
                pass

        class Server(socketserver.ThreadingTCPServer):
            allow_reuse_address = daemon_threads = True

        with Server(("127.0.0.1", port), Handler) as server:
            server.serve_forever()

    return serve


def ask(url: str) -> list[str]:
    """
    Return the name of the service at *url*, and its process.
    """
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        return answer.read().decode().split()


def wait_for_end(info: Any) -> None:
    info.cancel()
    with pytest.raises(Cancelled):
        info.future.result(PATIENCE)


def test_a_server_is_ready_when_its_port_answers(host: LocalHost, port: int):
    """
    The url is told once the port answers, and leads to the function's own server.
    """
    info = make_server(host, port).spawn("one")

    assert info.url == f"http://127.0.0.1:{port}"
    assert ask(info.url)[0] == "one"


def test_a_server_is_ready_when_its_health_check_passes(host: LocalHost, port: int):
    """
    With ``health_check_config`` the url is told after the first answer of 2xx.
    """
    check = {"path": "/health", "timeout_seconds": 5}
    info = make_server(host, port, health_check_config=check).spawn("one", [503, 404, 204])

    assert info.url == f"http://127.0.0.1:{port}"
    lines = [info.logs.get(timeout=PATIENCE).message for _ in range(3)]
    assert lines == ["GET /health 503", "GET /health 404", "GET /health 204"]


def test_a_check_that_is_written_wrongly_is_refused(host: LocalHost, port: int):
    """
    A health check has a path, and no entry that means nothing.
    """
    for check in ({"path": "/health", "pth": 1}, {"method": "GET"}):
        with pytest.raises(OptionError, match="health_check_config"):
            make_server(host, port, health_check_config=check).spawn("one")
    assert not host.worker_count


def test_a_cancelled_server_frees_its_port(host: LocalHost, port: int):
    """
    Cancelling a service ends its process, with its children, and frees the port.
    """
    info = make_server(host, port).spawn("one", child=True)
    pid = int(ask(info.url)[1])
    (child,) = _children(pid)

    wait_for_end(info)

    assert ports.is_free(port)
    assert not is_alive(pid)
    assert not is_alive(child)
    assert host.worker_count == 0


def test_a_host_that_is_closed_while_a_service_ends(port: int):
    """
    A service whose host is closed before it has ended ends all the same, and is told.
    """

    def ignore() -> None:
        import atexit
        import http.server
        import time

        # Its worker is slow to end.
        atexit.register(time.sleep, 600)
        http.server.ThreadingHTTPServer(
            ("127.0.0.1", port), http.server.BaseHTTPRequestHandler
        ).serve_forever()

    host = LocalHost()
    # Services of other tests may still be ending.
    before = _ending()
    info = function("current", host=host, exposed_port=port)(ignore).spawn()
    assert info.url is not None
    info.cancel()

    assert wait_until(lambda: bool(_ending() - before), PATIENCE)
    host.close()

    assert info.future is not None
    with pytest.raises(Cancelled):
        info.future.result(PATIENCE)
    assert ports.is_free(port)


def _ending() -> set[threading.Thread]:
    """
    Return the threads that end services of this process.
    """
    return {each for each in threading.enumerate() if each.name == "fal-core service"}


def test_a_server_that_is_drained_has_no_error(host: LocalHost, port: int):
    """
    What ends because it was drained has ended well.
    """
    info = make_server(host, port).spawn("one")
    assert info.url is not None

    info.stream.drain()

    assert info.future.result(PATIENCE) is None
    assert ports.is_free(port)


def test_a_server_that_fails_before_it_is_ready_raises_its_own_error(
    host: LocalHost, port: int
):
    """
    Whoever waits for the url gets the function's own error, or is told that it ended.
    """

    @function("current", host=host, exposed_port=port)
    def fail(how: str) -> None:
        if how == "raise":
            raise LookupError("no model")

    with pytest.raises(LookupError, match="no model"):
        assert fail.spawn("raise").url
    with pytest.raises(ValueError, match="never reachable"):
        assert fail.spawn("return").url


def test_a_server_that_is_killed_is_told(host: LocalHost, port: int):
    """
    A service that is killed ends as lost, and its port can be had again.
    """
    serve = make_server(host, port)
    info = serve.spawn("one")
    os.kill(int(ask(info.url)[1]), signal.SIGKILL)

    with pytest.raises(WorkerLost, match="SIGKILL"):
        info.future.result(PATIENCE)
    assert ask(serve.spawn("two").url)[0] == "two"


def test_a_server_that_never_opens_its_port_is_ended(host: LocalHost, port: int):
    """
    ``startup_timeout`` ends it, also where it blocks, after what it has printed.
    """

    def wait() -> None:
        import signal

        print("loading")
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        signal.sigwait({signal.SIGINT, signal.SIGUSR1})
        signal.sigwait({signal.SIGUSR1})

    # A busy machine may not come as far as the line in the shorter time.
    for seconds in (2, 20):
        options = {"exposed_port": port, "startup_timeout": seconds}
        info = function("current", host=host, **options)(wait).spawn()
        with pytest.raises(StartupTimeout, match=f"startup_timeout of {seconds} s") as caught:
            assert info.url
        assert caught.value.seconds == seconds
        assert isinstance(caught.value, TimeoutError)
        lines = [line.message for line in list(info.logs.queue)]
        if lines:
            break
    assert lines == ["loading"]


def test_a_server_that_fails_its_regular_check_is_ended(
    host: LocalHost, port: int, monkeypatch: pytest.MonkeyPatch
):
    """
    With ``call_regularly`` a service that answers wrongly too often in a row is lost.
    """
    monkeypatch.setattr("fal_host_local.readiness._REGULARLY", 0.05)
    # A busy machine may not come as far as its last lines in the time there is for them.
    monkeypatch.setattr("fal_host_local.services._LAST_WORDS", PATIENCE)
    check = {"path": "/health", "call_regularly": True, "failure_threshold": 2}
    serve = make_server(host, port, health_check_config=check)
    info = serve.spawn("one", [200, 500, 200, 500, 500])

    assert info.url is not None
    with pytest.raises(WorkerLost, match="health check"):
        info.future.result(PATIENCE)
    lines = [line.message.split()[2] for line in list(info.logs.queue)]
    assert lines == ["200", "500", "200", "500", "500"]


def test_a_called_server_blocks_until_it_ends(host: LocalHost, port: int):
    """
    Calling such a function waits for its end, as for any other.
    """
    serve = make_server(host, port)

    def call() -> None:
        with pytest.raises(WorkerLost):
            serve("one")

    thread = threading.Thread(target=call)
    thread.start()
    assert wait_until(lambda: not ports.is_free(port), PATIENCE)
    assert wait_until(lambda: _answers(port), PATIENCE)
    assert thread.is_alive()
    host.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert ports.is_free(port)


def _answers(port: int) -> bool:
    try:
        return ask(f"http://127.0.0.1:{port}")[0] == "one"
    except OSError:
        return False


CLIENT = """
import os, sys, time
from fal_core import function

port = int(sys.argv[1])

@function("current", exposed_port=port)
def serve():
    import http.server
    http.server.ThreadingHTTPServer(("127.0.0.1", port), http.server.BaseHTTPRequestHandler)\\
        .serve_forever()

if sys.argv[2] == "call":
    serve()
info = serve.spawn()
print(info.url, flush=True)
if sys.argv[2] == "fork":
    child = os.fork()
    if not child:
        # What a fork inherits of its parent's services it leaves alone.
        os._exit(0)
    os.waitpid(child, 0)
    print("forked", flush=True)
time.sleep(600)
"""


@pytest.fixture
def start_client(port: int) -> Iterator[Callable[[str], Any]]:
    """
    Start a program that serves on the port.
    """
    started: list[subprocess.Popen[str]] = []

    def start(what: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, str(port), what],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_with_its_client(start_client: Any, port: int, number: int):
    """
    However the client ends, the service ends with it and frees the port.
    """
    client = start_client("spawn")
    assert client.stdout.readline() == f"http://127.0.0.1:{port}\n"

    client.send_signal(number)

    client.wait(PATIENCE)
    assert wait_until(lambda: ports.is_free(port), 30)


def test_an_interrupt_of_a_called_server_ends_it(start_client: Any, port: int):
    """
    Ctrl-C where a service is called and waited for ends it.
    """
    client = start_client("call")
    assert wait_until(lambda: not ports.is_free(port), PATIENCE)

    client.send_signal(signal.SIGINT)

    assert "KeyboardInterrupt" in client.communicate(timeout=PATIENCE)[1]
    assert wait_until(lambda: ports.is_free(port), PATIENCE)


def test_a_fork_leaves_the_services_of_its_parent_alone(start_client: Any, port: int):
    """
    A service goes on when a forked child of its client ends.
    """
    client = start_client("fork")
    client.stdout.readline()

    assert client.stdout.readline() == "forked\n"
    with socket.create_connection(("127.0.0.1", port), PATIENCE):
        pass


# -- a port that somebody has --------------------------------------------------------


@pytest.fixture
def without_namespaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    A machine where ``pasta`` is not installed.
    """
    monkeypatch.setenv("PATH", "/nowhere")
    networks.missing.cache_clear()


@pytest.fixture(autouse=True)
def _forget_what_is_missing() -> Iterator[None]:
    yield
    networks.missing.cache_clear()


@pytest.mark.usefixtures("without_namespaces")
def test_a_port_that_a_function_has_is_told_with_its_name(host: LocalHost, port: int):
    """
    The error names the function that has the port, and its reference.
    """
    serve = make_server(host, port)
    first = serve.spawn("one")

    with pytest.raises(PortTaken, match=rf"'serve' \({first.reference}\)") as caught:
        serve.spawn("two")
    assert caught.value.port == port
    assert "pasta" in str(caught.value)
    wait_for_end(first)
    assert ask(serve.spawn("three").url)[0] == "three"


@pytest.mark.usefixtures("without_namespaces")
def test_a_port_that_another_process_has_is_told_with_its_command(host: LocalHost):
    """
    The error names the process that has the port, and its command line.
    """
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
def test_two_servers_of_one_port_run_at_once(host: LocalHost, port: int):
    """
    The second of two services with one port has a network of its own.
    """
    serve = make_server(host, port)
    first, second = serve.spawn("one"), serve.spawn("two")

    assert {first.url, second.url} > {f"http://127.0.0.1:{port}"}
    assert ask(first.url)[0] == "one"
    assert ask(second.url)[0] == "two"
    apart = second if second.url != f"http://127.0.0.1:{port}" else first
    pid = int(ask(apart.url)[1])
    (pasta,) = [child for child in _children(pid) if "pasta" in _command(child)]
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
def test_the_command_of_a_network_becomes_the_one_it_is_given(port: int):
    """
    A network is put around a command by another command, and becomes it: its exit
    code is the command's own, and nothing else is left.
    """
    source = "import os, sys; print(os.readlink('/proc/self/ns/net')); sys.exit(7)"
    inner = Command(
        argv=(sys.executable, "-c", source), variables={"A": "1"}, stop_argv=("stop", "it")
    )

    command = namespaces.isolated(inner, outer=port, inner=8080)

    assert (command.variables, command.stop_argv) == ({"A": "1"}, ("stop", "it"))
    assert command.argv[-3:] == inner.argv
    done = subprocess.run(command.argv, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 7, done.stderr
    assert done.stdout.strip() not in ("", os.readlink("/proc/self/ns/net"))
    assert wait_until(lambda: ports.is_free(port), 30)


def _children(pid: int) -> list[int]:
    from fal_core_worker.running.trees import children

    return children(pid)


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()
