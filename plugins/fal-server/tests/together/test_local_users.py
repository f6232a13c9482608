"""Other users of the machine: they reach no application that they may not use."""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from polling import settle

from fal_core_worker import trees
from fal_core_worker.archives import cache_root
from fal_core_worker.serving import networks
from fal_core_worker.serving.ports import free_port
from fal_server.state.data_directories import DataDirectory

pytest.importorskip("fal_host_serverless")
pytest.importorskip("fal_serve")

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can become another user, as which the test attacks"
)

NOBODY = 65534

SECRET = "nobody may read this"

#: An application of fal_serve.
CLASS = f"""
    from fal_serve import App, endpoint


    class Served(App, keep_alive=300, max_concurrency=1):
        @endpoint("/")
        def look(self) -> str:
            return {SECRET!r}
"""


def make_answering(port: int | None, bind: str) -> Callable[..., None]:
    """Return a function that answers with the secret at *port*, or at the port that it gets."""
    secret = SECRET

    def serve_at(at: int) -> None:
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(secret)))
                self.end_headers()
                self.wfile.write(secret.encode())

            do_POST = do_GET

        ThreadingHTTPServer((bind, at), Handler).serve_forever()

    def serve(*, exposed_port: int) -> None:
        serve_at(exposed_port)

    def serve_own() -> None:
        serve_at(port or 0)

    return serve if port is None else serve_own


def as_nobody(work: Callable[[], Any]) -> Any:
    """Return what *work* returns to another user, as JSON carries it."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.write(writer, json.dumps(work()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as told:
        found = told.read()
    os.waitpid(pid, 0)
    return json.loads(found)


def processes_of(runner_id: str) -> set[int]:
    """Return the processes of a runner, among them the one that relays to its network."""
    status = Path(cache_root(), "executions", f"runner-{runner_id}", "status.json")
    supervisor = json.loads(status.read_text())["pid"]
    found = {supervisor, *trees.descendants(supervisor)}
    return found | {each for pid in found for each in trees.children(pid)}


def doors_of(pids: set[int]) -> list[tuple[str, Any]]:
    """Return the TCP ports and Unix sockets of this network that *pids* listen on."""
    own = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                own.add(target[8:-1])
    doors: list[tuple[str, Any]] = []
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in own:
                doors.append(("tcp", int(fields[1].rpartition(":")[2], 16)))
    for line in Path("/proc/net/unix").read_text().splitlines()[1:]:
        fields = line.split(maxsplit=7)
        if len(fields) > 7 and fields[6] in own:
            doors.append(("unix", fields[7]))
    return doors


def visit(door: tuple[str, Any]) -> str:
    """Return what is behind a door, or the error of whoever knocks."""
    kind, address = door
    try:
        if kind == "tcp":
            connection = socket.create_connection(("127.0.0.1", address), 20)
        else:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(20)
            connection.connect(address.replace("@", "\0", 1))
        with connection:
            connection.sendall(b"GET / HTTP/1.0\r\nConnection: close\r\n\r\n")
            with connection.makefile("rb") as answer:
                return answer.read().decode()
    except OSError as error:
        return type(error).__name__


def paths_of(root: Path) -> list[str]:
    """Return the sockets below *root*."""
    return [str(path) for path in root.rglob("*") if path.is_socket()]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory that every user can read."""
    made = Path(tempfile.mkdtemp(prefix="fal-core-tests-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def place(folder: Path, served: Any, programs: Any, request: Any) -> Iterator[Any]:
    """A server whose directory is in one that every user can read."""
    from planes import Plane

    settings = dict(getattr(request, "param", {}))
    (folder / "files").mkdir()
    data = folder / settings.pop("name", "data")
    standing = served.ServedPlane(folder / "files", lambda: Plane(data, **settings))
    yield standing
    standing.plane.close()
    programs.end_runners(data)
    # Nothing is left of the runners.
    assert paths_of(data) == paths_of(DataDirectory(data).sockets) == []
    assert not (data / "sockets").is_symlink()


def ask(place: Any, name: str) -> Any:
    with place.client("run") as client:
        return client.post(f"/owner/{name}", json={})


def runner_of(place: Any, name: str) -> Any:
    (runner,) = place.plane.here(lambda: place.plane.plane.catalog.find("owner", name).runners)
    return runner


@pytest.mark.skipif(networks.missing() != "", reason="there are no network namespaces")
@pytest.mark.parametrize("kind", ["class", "fixed", "given"])
def test_private_application_is_reached_through_the_gateway_alone(place, kind):
    """
    Another local user finds no port and no socket of a private application, its agent and
    its metrics that lets them in; whoever has the key is answered.
    """
    if kind == "class":
        place.deploy_class("hidden", CLASS)
    else:
        port = free_port() if kind == "fixed" else None
        machine = {} if port is None else {"exposed_port": port}
        place.deploy("hidden", function=make_answering(port, "0.0.0.0"), **machine)
    answer = ask(place, "hidden")
    assert answer.status_code == 200, answer.text
    assert SECRET in answer.text

    runner = runner_of(place, "hidden")
    assert runner.url.startswith("unix:")
    assert runner.agent.url.startswith("unix:")
    doors = doors_of(processes_of(runner.id))
    sockets = paths_of(place.plane.settings.data)
    assert {Path(each).name for each in sockets} == {"control", "run", "metrics"}
    assert [door for kind, door in doors if kind == "tcp"] == []
    tried = [*doors, *(("unix", each) for each in sockets)]
    answers = as_nobody(lambda: [visit(door) for door in tried])
    assert set(answers) <= {"PermissionError", "FileNotFoundError", "ConnectionRefusedError"}, (
        list(zip(tried, answers, strict=True))
    )
    # The way in is there, for the user of the server.
    assert "HTTP/1." in visit(("unix", runner.url.removeprefix("unix:")))
    assert as_nobody(lambda: os.access(place.plane.settings.data, os.X_OK)) is False


@pytest.mark.skipif(networks.missing() != "", reason="there are no network namespaces")
@pytest.mark.parametrize(
    "place", [{}, {"name": "d" * 120}], ids=["short", "long"], indirect=True
)
def test_sockets_are_removed_with_their_runner(place):
    """
    A runner takes its sockets with it, also if the server is not there when it ends, and
    however long the path of the data directory is.
    """
    place.deploy("short", function=make_answering(None, "127.0.0.1"))
    assert ask(place, "short").status_code == 200
    data = DataDirectory(place.plane.settings.data).sockets
    runner = runner_of(place, "short")
    assert paths_of(data)
    place.restart()
    # It is found again by its sockets.
    assert ask(place, "short").text == SECRET
    assert runner_of(place, "short").id == runner.id
    place.plane.here(runner_of(place, "short").kill)
    settle(lambda: not any(runner.id in each for each in paths_of(data)))


@pytest.mark.parametrize("place", [{"allow_open_runners": True}], indirect=True)
def test_open_runner_is_what_it_is_called(place, without_networks):
    """
    Where there are no network namespaces, whoever deploys is told that local users reach the
    port, and they do.
    """
    place.deploy("open", function=make_answering(None, "127.0.0.1"))
    assert ask(place, "open").text == SECRET
    runner = runner_of(place, "open")
    doors = doors_of(processes_of(runner.id))
    assert [kind for kind, _ in doors].count("tcp") == 1
    (port,) = [door for door in doors if door[0] == "tcp"]
    assert SECRET in as_nobody(lambda: visit(port))
