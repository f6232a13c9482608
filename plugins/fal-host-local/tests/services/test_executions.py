"""Functions that bring their own server, on this machine."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import attrs
import pytest

from fal_core import Cancelled, StartupTimeout, WorkerLost, function
from fal_core.abilities import LimitedSink
from fal_core.events import Exited, Log
from fal_core.options import Gateway
from fal_core_worker.serving import ports
from fal_core_worker.trees import children
from fal_host_local import LocalHost
from fal_testing.harness.processes import is_alive, python_programs, wait_until

PATIENCE = 60.0


def test_a_cancelled_server_frees_its_port(
    host: LocalHost,
    port: int,
    make_server: Callable[..., Any],
    ask: Callable[[str], list[str]],
    wait_for_end: Callable[[Any], None],
):
    """Cancelling a service ends its process, with its children, and frees the port."""
    info = make_server(host, port).spawn("one", child=True)
    pid = int(ask(info.url)[1])
    (child,) = children(pid)

    wait_for_end(info)

    assert ports.is_free(port)
    assert not is_alive(pid)
    assert not is_alive(child)
    assert host.worker_count == 0


def test_nothing_is_printed_for_who_trusts_no_function(
    host: LocalHost, capfd: pytest.CaptureFixture[str]
):
    """
    Lines that belong to no call are dropped where their launcher limits what it takes. Those
    of the call arrive.
    """

    def write(**ports: int) -> None:
        from fal_core_worker import current
        from fal_core_worker.stream.frames import HEADER, LOG, VERSION
        from fal_core_worker.stream.payloads import pack_lines

        runtime: Any = current.runtime
        for channel in (7, 1):
            lines = b"".join(pack_lines([(0, 1.0, channel, "", f"of {channel}")]))
            header = HEADER.pack(LOG, VERSION, 0, channel, 0, 0, len(lines))
            os.write(runtime.stream.writer, header + lines)

    call = function("current", host=host)(write).make_launcher().call(((), {}))
    events: Queue[Any] = Queue()
    served = attrs.evolve(call, gateway=Gateway(serve=True))
    host.launch(served, LimitedSink(events.put, 1 << 20))
    printed = []
    while not isinstance(event := events.get(timeout=PATIENCE), Exited):
        if isinstance(event, Log) and event.source == "USER":
            printed.append(event.message)
    assert printed == ["of 1"]
    assert capfd.readouterr() == ("", "")


def test_a_host_that_is_closed_while_a_service_ends(port: int):
    """A service whose host is closed before it has ended still ends, and its end is reported."""

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
    """Return the threads that end services of this process."""
    return {each for each in threading.enumerate() if each.name == "fal-core service"}


def test_a_server_that_is_drained_has_no_error(
    host: LocalHost, port: int, make_server: Callable[..., Any]
):
    """A service that ends because it was drained has no error."""
    info = make_server(host, port).spawn("one")
    assert info.url is not None

    info.stream.drain()

    assert info.future.result(PATIENCE) is None
    assert ports.is_free(port)


def test_a_server_that_fails_before_it_is_ready_raises_its_own_error(
    host: LocalHost, port: int
):
    """Waiting for the URL raises the function's own error, or says that the function ended."""

    @function("current", host=host, exposed_port=port)
    def fail(how: str) -> None:
        if how == "raise":
            raise LookupError("no model")

    with pytest.raises(LookupError, match="no model"):
        assert fail.spawn("raise").url
    with pytest.raises(ValueError, match="never reachable"):
        assert fail.spawn("return").url


def test_a_killed_server_is_reported(
    host: LocalHost, port: int, make_server: Callable[..., Any], ask: Callable[[str], list[str]]
):
    """A service that is killed ends as lost, and its port can be had again."""
    serve = make_server(host, port)
    info = serve.spawn("one")
    os.kill(int(ask(info.url)[1]), signal.SIGKILL)

    with pytest.raises(WorkerLost, match="SIGKILL"):
        info.future.result(PATIENCE)
    assert ask(serve.spawn("two").url)[0] == "two"


def test_a_server_that_never_opens_its_port_is_ended(host: LocalHost, port: int):
    """``startup_timeout`` ends a service, even if it blocks signals, after its output."""

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


def test_a_called_server_blocks_until_it_ends(
    host: LocalHost,
    port: int,
    make_server: Callable[..., Any],
    ask: Callable[[str], list[str]],
):
    """Calling such a function waits for its end, as for any other."""
    serve = make_server(host, port)

    def call() -> None:
        with pytest.raises(WorkerLost):
            serve("one")

    thread = threading.Thread(target=call)
    thread.start()
    assert wait_until(lambda: not ports.is_free(port), PATIENCE)
    assert wait_until(lambda: _answers(ask, port), PATIENCE)
    assert thread.is_alive()
    host.close()
    thread.join(PATIENCE)
    assert not thread.is_alive()
    assert ports.is_free(port)


def _answers(ask: Callable[[str], list[str]], port: int) -> bool:
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
# Ends by being killed.
time.sleep(600)
"""


@pytest.fixture
def start_client(port: int) -> Iterator[Callable[[str], Any]]:
    """Start a program that serves on the port."""
    with python_programs() as start_python:
        yield lambda what: start_python("-c", CLIENT, str(port), what)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_with_its_client(start_client: Any, port: int, number: int):
    """A service ends with its client, however that ends, and frees the port."""
    client = start_client("spawn")
    assert client.stdout.readline() == f"http://127.0.0.1:{port}\n"

    client.send_signal(number)

    client.wait(PATIENCE)
    assert wait_until(lambda: ports.is_free(port), 30)


def test_an_interrupt_of_a_called_server_ends_it(start_client: Any, port: int):
    """Ctrl-C where a service is called and waited for ends it."""
    client = start_client("call")
    # It is ready: the caller has been told where it serves.
    assert f"http://127.0.0.1:{port}" in client.stderr.readline()

    client.send_signal(signal.SIGINT)

    assert "KeyboardInterrupt" in client.communicate(timeout=PATIENCE)[1]
    assert wait_until(lambda: ports.is_free(port), PATIENCE)


def test_a_fork_leaves_the_services_of_its_parent_alone(start_client: Any, port: int):
    """A service goes on when a forked child of its client ends."""
    client = start_client("fork")
    client.stdout.readline()

    assert client.stdout.readline() == "forked\n"
    with socket.create_connection(("127.0.0.1", port), PATIENCE):
        pass
