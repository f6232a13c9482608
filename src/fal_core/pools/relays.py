"""
Relays: ports of this machine that lead to a service on another one.

They need nothing there but a Python, which a host of another machine can start.
"""

from __future__ import annotations

import os
import signal
import socketserver
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from fal_core.errors import HostError
from fal_core.workers import Worker, given_to_children

#: Connects its standard input and output with a port, or waits until the port is open; it
#: waits no longer than its standard input is open.
_PROGRAM = """\
import os, select, socket, sys, threading
def send():
    while data := os.read(0, 65536):
        service.sendall(data)
    service.shutdown(socket.SHUT_WR)
waits = sys.argv[2:] == ["wait"]
while True:
    try:
        service = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        break
    except OSError:
        if not waits or (select.select([0], [], [], 0.05)[0] and not os.read(0, 1)):
            sys.exit(1)
if not waits:
    threading.Thread(target=send, daemon=True).start()
    while data := service.recv(65536):
        os.write(1, data)
"""

#: The arguments of such a Python, before the number of the port.
CONNECT = ("-c", _PROGRAM)

#: The connections of one port that are open at once: each has processes here and there.
MOST_CONNECTIONS = 256
#: Seconds between two looks whether the worker is gone.
_LOOK = 1.0
#: Seconds that a process may take to end once it was told to.
_PATIENCE = 10.0


def relay(
    worker: Worker,
    urls: Mapping[str, str],
    command: Callable[[Sequence[str]], Sequence[str]],
) -> dict[str, str]:
    """
    Return the URLs of this machine that lead to *urls* on the machine of *worker*.

    It waits until the service accepts connections, as long as the worker is there. Each
    connection has a process of its own here and one there; of one port, 256 are open at once,
    and further ones wait. The relays end with the worker, their connections too.

    The ports are on the loopback address, where every user of this machine reaches them.

    Arguments:
        urls: Those of a service, as its worker sees them, on its loopback address.

        command: Returns the command that runs a Python with these arguments there.

    Raises:
        HostError: The command has failed, or the worker has ended.
    """
    ports: dict[int, int] = {}
    relayed = {}
    for name, url in urls.items():
        parts = urlsplit(url)
        port = parts.port or 80
        if port not in ports:
            ports[port] = _listen(worker, port, command)
        relayed[name] = parts._replace(netloc=f"127.0.0.1:{ports[port]}").geturl()
    return relayed


def _listen(
    worker: Worker, port: int, command: Callable[[Sequence[str]], Sequence[str]]
) -> int:
    program = given_to_children(command((*CONNECT, str(port))))
    _wait_for_port(worker, port, [*program, "wait"])

    server = _Server(("127.0.0.1", 0), _Connection)
    server.program = program
    server.timeout = _LOOK
    threading.Thread(
        target=_serve, args=(server, worker), name="fal-core relay", daemon=True
    ).start()
    return int(server.server_address[1])


def _wait_for_port(worker: Worker, port: int, program: Sequence[str]) -> None:
    """Run *program*, which waits for *port*, until the port is open or the worker is gone."""
    # The program reads the end of this pipe once this process has ended, however that was.
    there, here = os.pipe()
    with open(here, "wb") as pipe:
        with open(there, "rb") as end:
            process = _open_process(
                program, stdin=end, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
        with process, pipe:
            said = _attend(worker, process)
    if worker.gone:
        raise HostError(f"Port {port} of the worker's machine is closed: its worker has ended.")
    if process.returncode:
        reason = said.decode(errors="replace").strip()
        raise HostError(f"Port {port} of the worker's machine cannot be reached: {reason}")


def _attend(worker: Worker, process: subprocess.Popen[bytes]) -> bytes:
    """Wait until *process* has ended, and return its errors; end it once *worker* is gone."""
    while not worker.gone:
        with suppress(subprocess.TimeoutExpired):
            return process.communicate(timeout=_LOOK)[1]
    _end([process])
    return b""


def _open_process(program: Sequence[str], **streams: Any) -> subprocess.Popen[bytes]:
    try:
        # Ctrl-C is for the caller, who cancels what it wants to end.
        return subprocess.Popen(program, start_new_session=True, **streams)
    except OSError as error:
        raise HostError(f"{program[0]!r} cannot be started: {error}.") from error


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End *processes* and what they have started, at the latest after some seconds."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        running = [process for process in processes if process.poll() is None]
        for process in running:
            # A program before the Python may pass no signal on.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        until = monotonic() + _PATIENCE
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - monotonic()))


class _Server(socketserver.ThreadingTCPServer):
    """
    The port of this machine.

    Attributes:
        program: Connects its standard input and output with the service.

        count: How many connections are open.

        processes: Those of the connections that are open.

        ended: Whether no connection is wanted any more.
    """

    daemon_threads = True
    request_queue_size = 128
    program: Sequence[str] = ()

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.processes: set[subprocess.Popen[bytes]] = set()
        self.count = 0
        self.ended = False
        self.lock = threading.Lock()
        self._room = threading.Condition(self.lock)

    def has_room(self) -> bool:
        """Wait a moment until one more connection may be open, and return whether it may."""
        with self._room:
            return self._room.wait_for(lambda: self.count < MOST_CONNECTIONS, _LOOK)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.lock:
            self.count += 1
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        with self._room:
            self.count -= 1
            self._room.notify()


class _Connection(socketserver.BaseRequestHandler):
    server: _Server

    def handle(self) -> None:
        server = self.server
        with server.lock:
            if server.ended:
                return
            process = _open_process(
                server.program,
                stdin=self.request,
                stdout=self.request,
                stderr=subprocess.DEVNULL,
            )
            server.processes.add(process)
        process.wait()
        with server.lock:
            server.processes.discard(process)


def _serve(server: _Server, worker: Worker) -> None:
    with server:
        while not worker.gone:
            if server.has_room():
                server.handle_request()
        with server.lock:
            server.ended = True
            left = list(server.processes)
        _end(left)
