"""Services: each contestant's, started and reached at a url."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from benchmarks.peers.bodies import BODY

#: Seconds that a service has until it answers.
_PATIENCE = 90.0


@attrs.frozen(kw_only=True)
class Served:
    """
    A service that answers.

    Attributes:
        pid: The process that runs the handlers.

        check: Called after a load, with the number of its requests at least.
    """

    url: str
    pid: int
    check: Callable[[int], None] = lambda count: None


@contextmanager
def serve_fal_core(*, access_log: bool = True, kind: str = "current") -> Iterator[Served]:
    """Serve with this project; what it logs arrives in this process."""
    from benchmarks.painters import Painter

    if not access_log:
        _silence()
    service = Painter.spawn(kind=kind)
    try:
        url = service.url
        assert url is not None
        pid = int(post(f"{url}/pid", None))
        lines = service.logs

        def check(count: int) -> None:
            came = lines.qsize()
            while not lines.empty():
                lines.get()
            if access_log:
                # The last block may be under way.
                assert came > 0.9 * count, f"{came} lines of {count} requests came"
            else:
                assert came == 0, f"{came} lines came of a service that logs nothing"

        yield Served(url=url, pid=pid, check=check)
    finally:
        service.cancel()


def _silence() -> None:
    """Leave out the access log, for which there is no option."""
    from dataclasses import replace

    from fal_serve.launching import functions as launching

    read = launching.settings_of
    launching.settings_of = lambda options: replace(read(options), access_log=False)


@contextmanager
def serve_peer(module: str, *options: str, path: str = "/sync") -> Iterator[Served]:
    """Serve with a program of ``benchmarks.peers``, whose output nobody reads."""
    port, other = free_ports(2)
    argv = [sys.executable, "-m", f"benchmarks.peers.{module}", "--port", str(port), *options]
    if module == "fal_app":
        argv += ["--metrics-port", str(other)]
    process = subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        await_answer(f"{url}{path}", process)
        yield Served(url=url, pid=process.pid)
    finally:
        end_session(process)


def end_session(process: subprocess.Popen[Any]) -> None:
    """End *process*, which leads a session, and all that it has started there."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens at."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def await_answer(url: str, process: subprocess.Popen[Any]) -> None:
    """
    Wait until *url* answers, looking often.

    Raises:
        RuntimeError: The process has ended, or took too long.
    """
    until = time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        try:
            post(url, BODY)
            return
        except OSError:
            if process.poll() is not None:
                raise RuntimeError(f"The service ended with {process.returncode}.") from None
            time.sleep(0.002)
    raise RuntimeError(f"{url} did not answer within {_PATIENCE:g} s.")


def post(url: str, body: Any) -> str:
    """Post *body* as JSON and return the answer."""
    request = urllib.request.Request(
        url,
        data=b"" if body is None else json.dumps(body).encode(),
        headers={"content-type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return str(answer.read().decode())
