"""
Loads: many requests at once, by wrk or by a client of our own.

wrk is a program of its own, in Debian ``apt-get install wrk``. Where it is missing
a client in Python takes its place; it is slower, and all services are asked by the
same one.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any
from urllib.parse import urlsplit

import attrs

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [==[{body}]==]
done = function(summary, latency, requests)
  local wrong = summary.errors
  local failed = wrong.connect + wrong.read + wrong.write + wrong.status + wrong.timeout
  io.write(string.format("result %d %d %f %f %d\\n", summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99), failed))
end
"""

_RESULT = re.compile(r"^result (\d+) (\d+) ([\d.]+) ([\d.]+) (\d+)$", re.MULTILINE)


@attrs.frozen(kw_only=True)
class Shown:
    """
    What a service showed under load.

    Attributes:
        rate: Requests that were answered in a second.

        p50: Seconds within which half were answered.

        p99: Seconds within which 99 of 100 were answered.
    """

    rate: float
    p50: float
    p99: float


def describe_client() -> str:
    """Say who asks."""
    if shutil.which("wrk") is not None:
        return "wrk with one thread"
    return "a client in Python, as wrk is missing (apt-get install wrk)"


def ask(url: str, body: Any, *, connections: int, seconds: float) -> Shown:
    """
    Post *body* as JSON over *connections* at once, each waiting for its answer.

    Raises:
        RuntimeError: A request failed.
    """
    text = json.dumps(body)
    ask = _ask_with_wrk if shutil.which("wrk") is not None else _ask_with_python
    return ask(url, text, connections, seconds)


def _ask_with_wrk(url: str, body: str, connections: int, seconds: float) -> Shown:
    with _script(body) as path:
        run = subprocess.run(
            ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "-s", path, url],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
    found = _RESULT.search(run.stdout)
    assert found is not None, run.stdout
    requests, duration, p50, p99, errors = map(float, found.groups())
    if errors:
        raise RuntimeError(f"{errors:g} of {requests:g} requests to {url} failed.")
    return Shown(rate=requests / (duration / 1e6), p50=p50 / 1e6, p99=p99 / 1e6)


@contextmanager
def _script(body: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="fal-core-benchmarks-") as directory:
        path = Path(directory) / "post.lua"
        path.write_text(_SCRIPT.replace("{body}", body), encoding="utf-8")
        yield str(path)


def _ask_with_python(url: str, body: str, connections: int, seconds: float) -> Shown:
    return asyncio.run(_ask(url, body.encode(), connections, seconds))


async def _ask(url: str, body: bytes, connections: int, seconds: float) -> Shown:
    parts = urlsplit(url)
    head = (
        f"POST {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    began = perf_counter()
    clients = [Client(head.encode() + body, began + seconds) for _ in range(connections)]
    for client in clients:
        await loop.create_connection(lambda c=client: c, parts.hostname, parts.port)
    await asyncio.gather(*(client.ended for client in clients))
    taken = sorted(each for client in clients for each in client.taken)
    return Shown(
        rate=len(taken) / (perf_counter() - began),
        p50=taken[len(taken) // 2],
        p99=taken[len(taken) * 99 // 100],
    )


class Client(asyncio.Protocol):
    """One connection, which asks again once it has its answer."""

    def __init__(self, request: bytes, until: float) -> None:
        import httptools

        self._request = request
        self._until = until
        self._parser = httptools.HttpResponseParser(self)
        self.taken: list[float] = []
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_exception(RuntimeError("The service has closed a connection."))

    def on_message_complete(self) -> None:
        now = perf_counter()
        status = self._parser.get_status_code()
        if status != 200:
            self.ended.set_exception(RuntimeError(f"The service answered {status}."))
            self._transport.close()
            return
        self.taken.append(now - self._sent)
        if now < self._until:
            self._send()
        else:
            self.ended.set_result(None)
            self._transport.close()

    def _send(self) -> None:
        self._sent = perf_counter()
        self._transport.write(self._request)
