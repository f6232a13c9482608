"""
Relays: ports of this machine that lead to a service on another one.

They need nothing there but a Python, which a host of another machine can start.
"""

from __future__ import annotations

import socketserver
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlsplit

from fal_core.errors import HostError
from fal_core.workers import Worker, given_to_children

#: Connects its standard input and output with a port, or waits until the port is open.
_PROGRAM = """\
import os, socket, sys, threading, time
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
        if not waits:
            sys.exit(1)
        time.sleep(0.05)
if not waits:
    threading.Thread(target=send, daemon=True).start()
    while data := service.recv(65536):
        os.write(1, data)
"""

#: Seconds between two looks whether the worker is gone.
_LOOK = 1.0


def relay(
    worker: Worker,
    urls: Mapping[str, str],
    command: Callable[[Sequence[str]], Sequence[str]],
) -> dict[str, str]:
    """
    Return the URLs of this machine that lead to *urls* on the machine of *worker*.

    It waits until the service accepts connections. Each connection has a process of its own
    here and one there. The relays end with the worker.

    Arguments:
        urls: Those of a service, as its worker sees them, on its loopback address.

        command: Returns the command that runs a Python with these arguments there.

    Raises:
        HostError: The command has failed.
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
    program = given_to_children(command(("-c", _PROGRAM, str(port))))
    waits = subprocess.run(
        [*program, "wait"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if waits.returncode and not worker.gone:
        said = waits.stderr.decode(errors="replace").strip()
        raise HostError(f"Port {port} of the worker's machine cannot be reached: {said}")

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            subprocess.run(
                program,
                stdin=self.request,
                stdout=self.request,
                stderr=subprocess.DEVNULL,
                check=False,
            )

    server = _Server(("127.0.0.1", 0), Connection)
    server.timeout = _LOOK
    threading.Thread(
        target=_serve, args=(server, worker), name="fal-core relay", daemon=True
    ).start()
    return int(server.server_address[1])


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


def _serve(server: _Server, worker: Worker) -> None:
    with server:
        while not worker.gone:
            server.handle_request()
