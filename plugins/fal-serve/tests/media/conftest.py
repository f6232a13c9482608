"""Fixtures of the tests of media."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fal_serve.media.fetching import HOSTS_VARIABLE


class FileServer:
    """
    A server of files, whose answers a test chooses by their paths.

    Attributes:
        answers: The status, the headers and the body of each path.

        asked: The path and the headers of each request.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                outer.asked.append((path, {k.lower(): v for k, v in self.headers.items()}))
                status, headers, body = outer.answers.get(path, (404, {}, b""))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    if value:
                        self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        self.url = f"http://{self.host}"

    def give(self, path: str, body: bytes, status: int = 200, **headers: str) -> str:
        """Answer requests for *path*, and return its URL. An empty header is not sent."""
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        self.answers[path] = (status, told, body)
        return self.url + path

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server of files, from which this process may download."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    server = FileServer()
    monkeypatch.setenv(HOSTS_VARIABLE, server.host)
    yield server
    server.close()


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory that ``/data`` stands for."""
    folder = tmp_path / "data"
    monkeypatch.setenv("FAL_CORE_DATA", str(folder))
    return folder
