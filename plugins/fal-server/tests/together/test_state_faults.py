"""
The state is locked, gone or damaged: requests wait or fail with a reason, and nothing is
lost.

The database is locked for three seconds by default; FAL_CORE_FAULTS=all makes it thirty.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from fal_server.logs.log_lines import LogLine
from fal_server.state.databases import Database

SECONDS = 30.0 if os.environ.get("FAL_CORE_FAULTS") == "all" else 3.0

pytestmark = pytest.mark.faults

LOCK = """
import sqlite3, sys

connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute("BEGIN EXCLUSIVE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


@contextlib.contextmanager
def locked(data: Path) -> Iterator[None]:
    """Have another process hold the database."""
    command = [sys.executable, "-c", LOCK, str(data / "state.db")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        try:
            assert other.stdout.readline() == b"locked\n"
            yield
        finally:
            other.communicate(b"\n")
    assert other.returncode == 0


@contextlib.contextmanager
def impatient(served_plane: Any) -> Iterator[None]:
    """Shorten the time after which requests fail while the state is gone."""
    database = served_plane.plane.plane.database
    patience, database.patience = database.patience, 0.2
    try:
        yield
    finally:
        database.patience = patience


def data_of(served_plane: Any) -> Path:
    found: Path = served_plane.plane.settings.data
    return found


def pid_of(served_plane: Any, app: str) -> int:
    """Return the process of the runner."""
    return int(served_plane.finish(app, served_plane.submit(f"{app}/look")).json()["pid"])


def revisions(served_plane: Any, alias: str) -> set[str]:
    """
    Return the revisions of an alias: as the server knows them, and as the database has
    them.
    """
    known = served_plane.plane.here(
        served_plane.plane.plane.catalog.find, "owner", alias
    ).revision
    with sqlite3.connect(data_of(served_plane) / "state.db") as connection:
        query = "select revision from aliases where alias = ?"
        ((kept,),) = connection.execute(query, (alias,)).fetchall()
    connection.close()
    return {known, kept}


def test_locked_database(served_plane: Any, app: str):
    """
    While another process locks the database, requests and deployments wait, reads are
    answered, and all that was sent is done afterwards.
    """
    earlier = served_plane.submit(app, {"name": "earlier"})
    served_plane.finish(app, earlier)
    answers: list[str] = []

    def submit(number: int) -> None:
        answers.append(served_plane.submit(app, {"name": f"locked {number}"}))

    senders = [threading.Thread(target=submit, args=(number,)) for number in range(4)]
    deployment = threading.Thread(target=lambda: answers.append(served_plane.deploy("other")))
    with locked(data_of(served_plane)):
        for thread in (*senders, deployment):
            thread.start()
        assert served_plane.status(app, earlier).json()["status"] == "COMPLETED"
        threading.Event().wait(SECONDS)
        assert answers == []
    for thread in (*senders, deployment):
        thread.join()
    (revision,) = revisions(served_plane, "other")
    answers.remove(revision)
    for each in answers:
        assert served_plane.finish(app, each).status_code == 200
    assert served_plane.finish("other", served_plane.submit("other")).status_code == 200


def test_database_that_stays_locked(served_plane: Any, app: str):
    """
    If the database stays locked, requests fail with that reason, and nothing of them is
    kept.
    """
    with (
        impatient(served_plane),
        locked(data_of(served_plane)),
        served_plane.client() as client,
    ):
        answer = client.post(f"/owner/{app}", json={"name": "refused"})
        assert answer.status_code == 503
        assert answer.json()["detail"] == "The database cannot be read or written at present."
        with pytest.raises(grpc.RpcError) as caught:
            served_plane.deploy("refused")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert caught.value.details() == "The database cannot be read or written at present."
    assert (
        served_plane.finish(app, served_plane.submit(app, {"name": "next"})).status_code == 200
    )
    assert "echo refused" not in served_plane.order()


def test_runner_that_cannot_be_written_down(served_plane: Any, app: str):
    """
    While the state is locked and no runner can be started, waiting requests fail with that
    reason, and accepted queued requests are answered later, whatever ends meanwhile.
    """
    pid = pid_of(served_plane, app)
    held = served_plane.submit(f"{app}/hold", {"gate": "written down"})
    served_plane.begin(app, held)
    waiting = served_plane.submit(app, {"name": "waiting"})
    with (
        impatient(served_plane),
        locked(data_of(served_plane)),
        served_plane.client("run") as client,
    ):
        os.kill(pid, signal.SIGKILL)
        answer = client.post(f"/owner/{app}", json={})
        assert answer.status_code == 503
        assert "The database cannot be read or written at present." in answer.json()["detail"]
        served_plane.open("written down")
    assert served_plane.finish(app, held).status_code == 200
    assert served_plane.finish(app, waiting).json()["told"] == {"name": "waiting"}
    assert served_plane.status(app, held).json()["attempts"] == 2


def test_answer_that_cannot_be_kept_at_once(served_plane: Any, app: str):
    """
    A response that arrives while the state is locked is kept afterwards, and the
    application is not called again.
    """
    held = served_plane.submit(f"{app}/hold", {"gate": "kept", "name": "kept"})
    served_plane.begin(app, held)
    pool = served_plane.plane.plane.catalog.find("owner", app).pool
    with impatient(served_plane), locked(data_of(served_plane)):
        served_plane.open("kept")
        served_plane.settle(lambda: all(not each.in_flight for each in pool.runners))
        # It is tried in vain more than once.
        threading.Event().wait(1.5)
    assert served_plane.finish(app, held).json() == {"cancelled": False}
    assert served_plane.order().count("hold kept") == 1
    assert served_plane.status(app, held).json()["attempts"] == 1


def test_lines_that_cannot_be_kept_at_once(served_plane: Any, app: str):
    """
    Lines printed while the state is locked are kept afterwards, even if the runner prints
    nothing more.
    """
    logs = served_plane.plane.plane.logs
    account = served_plane.plane.plane.catalog.find("owner", app).owner
    line = LogLine(message="late", account_id=account, application=app, runner_id="one")
    with impatient(served_plane), locked(data_of(served_plane)):
        logs.add(line)
        threading.Event().wait(1.0)
        assert "late" not in served_plane.lines(app)
    served_plane.settle(lambda: "late" in served_plane.lines(app))


def test_sender_that_goes_while_its_request_is_written(served_plane: Any, app: str):
    """
    A request, or a deployment, is completed even if its client disconnects before the
    response.
    """
    served_plane.deploy("going")
    with locked(data_of(served_plane)):
        with served_plane.client() as client, pytest.raises(httpx.ReadTimeout):
            client.post(f"/owner/{app}", json={"name": "gone"}, timeout=3.0)
        request = served_plane.registration("going")
        with pytest.raises(grpc.RpcError):
            served_plane.plane.call_within(3.0, "RegisterApplication", request)
    served_plane.settle(lambda: "echo gone" in served_plane.order())
    served_plane.settle(lambda: len(revisions(served_plane, "going")) == 1)
    assert served_plane.finish("going", served_plane.submit("going")).status_code == 200


def test_database_that_is_gone(served_plane: Any, app: str):
    """
    While the file of the state is gone nothing is taken that would be lost with it; once
    it is back all goes on.
    """
    file = data_of(served_plane) / "state.db"
    away = file.with_name("away.db")
    file.rename(away)
    try:
        with impatient(served_plane), served_plane.client() as client:
            answer = client.post(f"/owner/{app}", json={"name": "lost"})
            assert answer.status_code == 503
            assert answer.json()["detail"] == "The file of the database is gone."
        assert not file.exists()
    finally:
        away.rename(file)
    assert (
        served_plane.finish(app, served_plane.submit(app, {"name": "found"})).status_code == 200
    )
    assert "echo lost" not in served_plane.order()


def test_start_on_a_locked_database(start_program: Any, tmp_path: Path):
    """A server that starts while another process locks the database waits for it."""
    (tmp_path / "data").mkdir()
    Database(f"sqlite:///{tmp_path / 'data' / 'state.db'}").close()
    with locked(tmp_path / "data"):
        program = start_program()
        with pytest.raises(subprocess.TimeoutExpired):
            program.process.wait(2.5)
    program.wait_until_ready()
    assert program.end() == 0


def spoil(kind: str, file: Path) -> None:
    """Have *file* be no database that can be used."""
    if kind == "a directory":
        file.mkdir()
    elif kind == "no database":
        file.write_bytes(b"words" * 4096)
    else:
        Database(f"sqlite:///{file}").close()
        content = bytearray(file.read_bytes())
        # The first page stays, which says that it is one.
        content[4096:] = b"\xff" * (len(content) - 4096)
        file.write_bytes(content)


@pytest.mark.parametrize("kind", ["a directory", "no database", "damaged"])
def test_start_on_a_broken_database(start_program: Any, tmp_path: Path, kind: str):
    """A server with an unusable database says so in one sentence, and ends."""
    (tmp_path / "data").mkdir()
    spoil(kind, tmp_path / "data" / "state.db")
    program = start_program()
    assert program.process.wait(60) == 1
    told = program.errors.read_text()
    assert "Traceback" not in told
    assert "The state" in told.splitlines()[-1]
