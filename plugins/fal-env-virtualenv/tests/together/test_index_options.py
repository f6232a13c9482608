"""Options that say from where packages come, and how new they may be."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from fal_core.errors import EnvironmentBuildError
from fal_env_virtualenv import Virtualenv

if TYPE_CHECKING:
    from conftest import Builder, Evaluate

LONG_AGO = "2020-02-02T00:00:00Z"
#: Later than any clock on which tests run.
LATER = "2999-01-01T00:00:00Z"


@attrs.define
class Index:
    """
    An index on loopback that says when each of its files was published.

    Attributes:
        published: The times of files that were not published long ago.
    """

    directory: Path
    published: dict[str, str] = attrs.field(factory=dict)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple"

    def answer(self, path: str) -> bytes | None:
        _, kind, name, *_ = [*path.split("/"), ""]
        if kind == "files":
            return (self.directory / name).read_bytes()
        wheels = sorted(self.directory.glob(f"{name.replace('-', '_')}-*.whl"))
        files = [
            {
                "filename": wheel.name,
                "url": f"/files/{wheel.name}",
                "hashes": {"sha256": hashlib.sha256(wheel.read_bytes()).hexdigest()},
                "upload-time": self.published.get(wheel.name, LONG_AGO),
            }
            for wheel in wheels
        ]
        found = {"meta": {"api-version": "1.1"}, "name": name, "files": files}
        return json.dumps(found).encode() if files else None


@pytest.fixture
def index(
    tmp_path: Path,
    cache: Path,
    make_wheel: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Index]:
    """An index with delta 1.0, and a 2.0 that was just published. Nothing names it."""
    served = Index(tmp_path / "served")
    served.directory.mkdir()
    make_wheel(served.directory, "delta", "1.0")
    newest = make_wheel(served.directory, "delta", "2.0")
    served.published[newest.name] = LATER

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = served.answer(self.path)
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
            self.send_header("Content-Length", str(len(found or b"")))
            self.end_headers()
            self.wfile.write(found or b"")

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    monkeypatch.delenv("UV_NO_INDEX")
    monkeypatch.delenv("UV_FIND_LINKS")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    # What is looked for elsewhere is not found.
    monkeypatch.setenv("UV_DEFAULT_INDEX", f"http://127.0.0.1:{served.port}/nowhere")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


def test_index_in_place_of_the_default(
    build: Builder, evaluate: Evaluate, index: Index
) -> None:
    """
    The declared index replaces the default one of this machine, and is used again for an
    environment that was lost.
    """
    environment = Virtualenv(requirements=["delta"], index_url=index.url, torch_backend="cpu")
    interpreter = build(environment)
    assert evaluate(interpreter, "delta.version", "delta") == "2.0"
    Path(interpreter.executable).unlink()
    assert build(environment) == interpreter


def test_what_is_too_new_is_not_taken(build: Builder, evaluate: Evaluate, index: Index) -> None:
    """A cooldown and a date leave out what was published later."""
    for newer in ("7 days", "2020-03-01"):
        environment = Virtualenv(
            requirements=["delta"], index_url=index.url, exclude_newer=newer
        )
        assert evaluate(build(environment), "delta.version", "delta") == "1.0"


def test_index_and_cooldown_of_a_program(
    build: Builder, evaluate: Evaluate, index: Index, tmp_path: Path
) -> None:
    """
    The indexes and the cooldown in the block of a program hold, also where a source names
    one of the indexes.
    """
    path = tmp_path / "script.py"
    path.write_text(
        '# /// script\n# dependencies = ["delta"]\n# [tool.uv]\n# exclude-newer = "7 days"\n'
        '# [[tool.uv.index]]\n# name = "ours"\n'
        f'# url = "{index.url}"\n# explicit = true\n'
        '# [tool.uv.sources]\n# delta = { index = "ours" }\n# ///\n'
    )
    environment = Virtualenv(requirements=[str(path)])
    assert evaluate(build(environment), "delta.version", "delta") == "1.0"


def test_what_an_index_does_not_have(build: Builder, index: Index) -> None:
    """The sentence says where a package was looked for, and which version is the newest."""
    with pytest.raises(EnvironmentBuildError) as caught:
        build(Virtualenv(requirements=["absent-thing"], index_url=index.url))
    assert caught.value.reason == (
        f"No package is called 'absent-thing' (looked on {index.url})."
    )
    for entry, version in (("delta==99.0", "99.0"), ("delta>99", ">99")):
        with pytest.raises(EnvironmentBuildError) as caught:
            build(Virtualenv(requirements=[entry], index_url=index.url))
        assert caught.value.reason == f"delta has no version {version}; the newest is 2.0."
        assert caught.value.requirement == entry
