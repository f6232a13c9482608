"""Environments from an index that is served over HTTP and does not allow caching itself."""

from __future__ import annotations

import base64
import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

from fal_core.environments import LocalInterpreter
from fal_core.errors import EnvironmentBuildError
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.store.environments import read_record

if TYPE_CHECKING:
    from conftest import Builder, Project


@attrs.define
class Index:
    """
    A package index on loopback. Below ``/refused`` it answers 403.

    Attributes:
        requests: The paths that were requested.

        password: The password that clients must send. Empty for a public index.

        hashes: Whether it states the hashes of its files.
    """

    directory: Path
    requests: list[str] = attrs.field(factory=list)
    password: str = ""
    hashes: bool = False
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/simple"

    def answer(self, path: str) -> bytes | None:
        _, kind, name, *_ = [*path.split("/"), ""]
        if kind == "files":
            return (self.directory / name).read_bytes()
        names = sorted(self.directory.glob(f"{name.replace('-', '_')}-*.whl"))
        if not names:
            return None
        links = (self.link(wheel) for wheel in names)
        return f"<html><body>{''.join(links)}</body></html>".encode()

    def link(self, wheel: Path) -> str:
        fragment = f"#sha256={digest(wheel)}" if self.hashes else ""
        return f'<a href="/files/{wheel.name}{fragment}">{wheel.name}</a>'


def digest(wheel: Path) -> str:
    """Return the hash of a file as an index states it."""
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def index(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    served = Index(tmp_path / "served")
    served.directory.mkdir()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append(self.path)
            known = base64.b64encode(f"me:{served.password}".encode()).decode()
            if served.password and self.headers.get("Authorization") != f"Basic {known}":
                status, body = 401, b""
            elif self.path.startswith("/refused/"):
                status, body = 403, b""
            else:
                found = served.answer(self.path)
                status, body = (404, b"") if found is None else (200, found)
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", "Basic")
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *arguments: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    served.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    for name in ("UV_NO_INDEX", "UV_FIND_LINKS"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    monkeypatch.setenv("UV_DEFAULT_INDEX", served.url)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    yield served
    server.shutdown()
    thread.join()
    server.server_close()


Evaluate = Callable[[LocalInterpreter, str, str], str]


def test_index_is_asked_once(
    build: Builder, index: Index, make_wheel: Callable[..., Path]
) -> None:
    """The next environment does not repeat requests to the index."""
    make_wheel(index.directory, "delta", "1.0")
    build(Virtualenv(requirements=["delta"]))
    asked = list(index.requests)
    assert asked
    build(Virtualenv(requirements=["delta"], tags=["another"]))
    assert index.requests == asked


def test_no_index_is_asked_where_none_may_be(
    build: Builder,
    index: Index,
    make_wheel: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With ``UV_NO_INDEX`` packages come from directories alone, and what is missing is named."""
    make_wheel(index.directory, "delta", "1.0")
    monkeypatch.setenv("UV_NO_INDEX", "1")
    with pytest.raises(EnvironmentBuildError, match="delta"):
        build(Virtualenv(requirements=["delta"]))
    monkeypatch.setenv("UV_FIND_LINKS", str(index.directory))
    build(Virtualenv(requirements=["delta"]))
    assert index.requests == []


def test_newly_published_versions_are_found(
    build: Builder, index: Index, make_wheel: Callable[..., Path], evaluate: Evaluate
) -> None:
    """If no version fits, and only then, the index is asked for newer ones."""
    make_wheel(index.directory, "delta", "1.0")
    build(Virtualenv(requirements=["delta"]))
    make_wheel(index.directory, "delta", "2.0")
    interpreter = build(Virtualenv(requirements=["delta==2.0"]))
    assert evaluate(interpreter, "delta.version", "delta") == "2.0"
    assert "Trying once more with what the index has now" in build.messages


def test_force_asks_for_the_newest_versions(
    build: Builder, index: Index, make_wheel: Callable[..., Path], evaluate: Evaluate
) -> None:
    """A forced build does not rely on earlier answers of the index."""
    make_wheel(index.directory, "delta", "1.0")
    build(Virtualenv(requirements=["delta"]))
    make_wheel(index.directory, "delta", "2.0")
    interpreter = build(Virtualenv(requirements=["delta"], force=True))
    assert evaluate(interpreter, "delta.version", "delta") == "2.0"


def test_lost_environment_is_built_without_the_index(
    build: Builder, index: Index, make_wheel: Callable[..., Path]
) -> None:
    """A lost environment is built again from uv's cache alone."""
    make_wheel(index.directory, "delta", "1.0")
    environment = Virtualenv(requirements=["delta"])
    interpreter = build(environment)
    index.requests.clear()
    Path(interpreter.executable).unlink()
    assert build(environment) == interpreter
    assert index.requests == []


def test_password_of_the_index_reaches_only_the_index(
    build: Builder,
    index: Index,
    cache: Path,
    make_wheel: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An index with a password works, and the password is in no file, log or error."""
    index.password = "hunter2"
    make_wheel(index.directory, "delta", "1.0")
    with pytest.raises(EnvironmentBuildError):
        build(Virtualenv(requirements=["delta"]))
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url.replace("//", "//me:hunter2@"))
    build(Virtualenv(requirements=["delta"]))
    with pytest.raises(EnvironmentBuildError, match="absent-thing") as caught:
        build(Virtualenv(requirements=["absent-thing"]))
    assert "hunter2" not in "\n".join((str(caught.value), *build.messages))
    for path in cache.rglob("*"):
        assert not path.is_file() or b"hunter2" not in path.read_bytes(), path


def test_index_that_refuses_is_said_beside_the_reason(
    build: Builder, index: Index, make_wheel: Callable[..., Path]
) -> None:
    """Some indexes answer 403 for what they do not have, so the package is named too."""
    make_wheel(index.directory, "delta", "1.0")
    refused = index.url.replace("/simple", "/refused/simple")
    with pytest.raises(EnvironmentBuildError) as caught:
        build(Virtualenv(requirements=["delta==9.0"], extra_index_urls=[refused]))
    assert caught.value.requirement == "delta==9.0"
    assert caught.value.reason == (
        f"Package 'delta' was not found, and index {refused} answers 403 Forbidden. Check the "
        "name, and the credentials of the index."
    )


def test_configuration_of_a_project_does_not_count(
    build: Builder,
    index: Index,
    tmp_path: Path,
    make_wheel: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A ``uv.toml`` beside a requirements file changes nothing, for any index."""
    make_wheel(index.directory, "delta", "1.0")
    (tmp_path / "uv.toml").write_text('no-build = "not a truth value"\n')
    (tmp_path / "requirements.txt").write_text("delta\n")
    environment = Virtualenv(requirements=[str(tmp_path / "requirements.txt")])
    build(environment)
    index.password = "hunter2"
    monkeypatch.setenv("UV_DEFAULT_INDEX", index.url.replace("//", "//me:hunter2@"))
    build(attrs.evolve(environment, tags=("another",)))


def pins_of(environment: Virtualenv) -> tuple[str, ...]:
    """Return the pins in the build record of *environment*."""
    record = read_record(environment.key)
    assert record is not None
    return record.pins


@pytest.mark.parametrize("hashes", [True, False])
def test_pins_have_the_hashes_that_the_index_states(
    build: Builder, index: Index, make_wheel: Callable[..., Path], hashes: bool
) -> None:
    """Hashes are recorded if the index states them, without another request."""
    index.hashes = hashes
    wheel = make_wheel(index.directory, "delta-four", "1.0")
    environment = Virtualenv(requirements=["delta-four"])
    build(environment)
    hashed = f" --hash=sha256:{digest(wheel)}" if hashes else ""
    assert pins_of(environment) == (f"delta-four==1.0{hashed}",)
    assert index.requests.count("/simple/delta-four/") == 1


@pytest.mark.faults
def test_another_file_of_a_version_is_refused(
    build: Builder,
    index: Index,
    tmp_path: Path,
    make_wheel: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A lost environment is not built again from other files than the first time, unless forced."""
    index.hashes = True
    make_wheel(index.directory, "delta", "1.0")
    make_wheel(index.directory, "gamma", "1.0")
    environment = Virtualenv(requirements=["delta", "gamma"])
    Path(build(environment).executable).unlink()
    make_wheel(index.directory, "delta", "1.0", data=b"changed since")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "another"))
    with pytest.raises(EnvironmentBuildError, match="Hash mismatch") as caught:
        build(environment)
    assert caught.value.requirement == "delta==1.0"
    assert "force=True" in caught.value.reason
    build(attrs.evolve(environment, force=True))


def test_projects_beside_pins_with_hashes(
    build: Builder,
    index: Index,
    tmp_path: Path,
    project: Project,
    make_wheel: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Local projects have no hashes, and are built again beside packages that have."""
    index.hashes = True
    other = make_wheel(tmp_path, "epsilon", "1.0")
    make_wheel(index.directory, "gamma", "1.0")
    for requirement in (f"-e {project.path}", str(project.path)):
        environment = Virtualenv(requirements=[requirement, str(other)])
        interpreter = build(environment)
        hashed = [" --hash=" in pin for pin in pins_of(environment)]
        assert hashed == [False, False, True]
        Path(interpreter.executable).unlink()
        shutil.rmtree(tmp_path / "uv")
        assert build(environment) == interpreter
