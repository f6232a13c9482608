"""Work that outlives the process that launched it."""

from __future__ import annotations

import errno
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from fal_core import Cancelled, HostError, WorkerLost, attach
from fal_core.detached import followers
from fal_core.events import Exited, Log
from fal_core.sinks import Journal
from fal_core_worker.stream.frames import DRAIN, HEADER, VERSION
from fal_host_local import LocalHost
from fal_host_local.detached import executions, records
from fal_host_local.detached.records import connect
from fal_testing.harness.processes import is_alive, wait_until


def test_detached_work_survives_its_client(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """Another process gets the logs from the first line on, and the result."""
    reference, _ = launch(5)

    info = attach("local", reference)

    assert info.return_value == {"steps": 5}
    lines = [info.logs.get().message for _ in range(info.logs.qsize())]
    assert lines == [f"step {step}" for step in range(5)]
    supervisor = supervisor_of(reference)
    assert wait_until(lambda: not is_alive(supervisor), 30)


def test_work_that_has_ended_can_be_attached_to(launch):
    """The journal outlives the work: its result can be had again."""
    reference, _ = launch(1)

    assert attach("local", reference).return_value == {"steps": 1}
    assert attach("local", reference).return_value == {"steps": 1}


def test_work_that_ends_as_it_is_attached_to(launch, monkeypatch: pytest.MonkeyPatch):
    """If the supervisor ends after it was found, the result is read from the journal."""
    reference, _ = launch(1)
    assert attach("local", reference).return_value == {"steps": 1}

    def connect_to_what_is_gone(directory: Path) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours

    monkeypatch.setattr("fal_host_local.detached.executions.connect", connect_to_what_is_gone)
    assert attach("local", reference).return_value == {"steps": 1}


def test_events_that_were_seen_can_be_left_out(launch):
    """``after`` leaves out that many events."""
    reference, _ = launch(2)
    assert attach("local", reference).return_value == {"steps": 2}

    info = attach("local", reference, after=4)

    assert info.return_value == {"steps": 2}
    assert info.logs.qsize() < 2


def test_detached_work_is_listed_and_cancelled(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """Another process lists the work, and ends it by its reference."""
    reference, pid = launch(600)
    (status,) = LocalHost().executions()
    assert (status.reference, status.name, status.ended) == (reference, "work", False)

    info = attach("local", reference)
    info.cancel(grace=1)

    assert info.future is not None
    with pytest.raises(Cancelled):
        info.future.result(timeout=60)
    supervisor = supervisor_of(reference)
    assert wait_until(lambda: not (is_alive(pid) or is_alive(supervisor)), 30)
    (status,) = LocalHost().executions()
    assert (status.ended, status.end, status.error) == (True, "cancelled", "")


RUBBISH = b"\xff" * 64


@pytest.mark.faults
def test_work_whose_journal_cannot_be_read_is_ended(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """Whoever attaches to it is told so, once the work and its supervisor have ended."""
    reference, pid = launch(600)
    supervisor = supervisor_of(reference)
    path = tmp_path / "cache" / "executions" / reference / "journal"
    with open(path, "r+b") as journal:
        journal.write(RUBBISH)

    info = attach("local", reference)
    assert info.future is not None
    with pytest.raises(WorkerLost, match="its journal cannot be read: a record"):
        info.future.result(timeout=60)
    assert wait_until(lambda: not (is_alive(pid) or is_alive(supervisor)), 60)
    # There is no supervisor any more.
    with pytest.raises(WorkerLost, match="its journal cannot be read: a record"):
        attach("local", reference).return_value  # noqa: B018  # it raises


@pytest.mark.faults
def test_a_supervisor_that_does_not_end_is_killed(
    launch, supervisor_of: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
):
    """Whatever listens in place of a supervisor, and sends rubbish, is ended with the work."""
    monkeypatch.setattr(executions, "_PATIENCE_AT_END", 0.1)
    reference, pid = launch(600)
    supervisor = supervisor_of(reference)
    os.kill(supervisor, signal.SIGSTOP)
    monkeypatch.setattr(followers, "_receive", lambda _: RUBBISH)

    info = attach("local", reference)
    assert info.future is not None
    with pytest.raises(WorkerLost, match="its journal cannot be read"):
        info.future.result(timeout=60)
    assert wait_until(lambda: not (is_alive(pid) or is_alive(supervisor)), 60)


def test_a_follower_that_was_cut_off_comes_again(launch, monkeypatch: pytest.MonkeyPatch):
    """One whose connection ends early gets every event once, and the result."""
    reference, _ = launch(10)
    receive = followers._receive
    received: list[int] = []

    def receive_some(connection: socket.socket) -> bytes:
        received.append(1)
        # It ends in the middle of an event, as one does that is too slow.
        return b"" if len(received) % 10 == 0 else receive(connection)

    monkeypatch.setattr(followers, "_receive", receive_some)
    monkeypatch.setattr(followers, "_PART", 50)
    info = attach("local", reference)
    assert info.return_value == {"steps": 10}
    lines = [info.logs.get().message for _ in range(info.logs.qsize())]
    assert lines == [f"step {step}" for step in range(10)]
    assert len(received) > 10


@pytest.fixture
def listen_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Stands in for the supervisor of a record: drops so many followers, and serves the others."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    directory = tmp_path / "cache" / "executions" / "work"
    directory.mkdir(parents=True)
    (directory / "status.json").write_text('{"pid": 1}')
    journal = Journal(directory / "journal")
    line = journal.append(Log("a line"))
    journal.close()
    # It is sent, and not kept.
    journal = Journal(tmp_path / "end")
    end = journal.append(Exited(reason=WorkerLost(detail="On purpose.")))
    journal.close()
    with ExitStack() as stack, socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(directory)
        server.bind("socket")
        server.listen()

        def serve(drops: int, followers: list[bool]) -> None:
            while True:
                connection, _ = server.accept()
                with connection:
                    # Whoever only looks whether there is a supervisor sends nothing.
                    if len(connection.recv(8)) == 8:
                        followers.append(True)
                        if len(followers) > drops:
                            connection.sendall(line + end)
                            return

        def start(drops: int) -> list[bool]:
            followers: list[bool] = []
            thread = threading.Thread(target=serve, args=(drops, followers), daemon=True)
            thread.start()
            stack.callback(thread.join, 60)
            return followers

        yield start


def test_a_follower_that_was_dropped_before_its_first_byte_comes_again(listen_for):
    """Work is not lost while its supervisor runs, which may have no file left for a moment."""
    followers = listen_for(4)
    info = attach("local", "work")
    assert info.future is not None
    with pytest.raises(WorkerLost, match="On purpose"):
        info.future.result(timeout=60)
    assert len(followers) == 5
    assert info.logs.get().message == "a line"


def test_a_supervisor_that_drops_every_follower_is_told(
    listen_for, monkeypatch: pytest.MonkeyPatch
):
    """Who cannot follow work that goes on gets what is in the journal, and the truth."""
    monkeypatch.setattr(executions, "_TRIES", 3)
    followers = listen_for(3)
    info = attach("local", "work")
    assert info.future is not None
    with pytest.raises(HostError, match="'work' cannot be followed") as caught:
        info.future.result(timeout=60)
    assert not isinstance(caught.value, WorkerLost)
    assert info.logs.get().message == "a line"
    assert len(followers) == 3
    # It goes on, and can be followed later.
    info = attach("local", "work")
    assert info.future is not None
    with pytest.raises(WorkerLost, match="On purpose"):
        info.future.result(timeout=60)


def test_a_supervisor_that_nobody_can_follow_is_ended_for_a_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A program replaces work that it cannot follow, which then does not go on beside that."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(executions, "_TRIES", 3)
    directory = tmp_path / "cache" / "executions" / "work"
    directory.mkdir(parents=True)
    (directory / "journal").touch()
    (directory / "status.json").write_text('{"pid": 1, "owner": "A program"}')
    source = """
import socket
server = socket.socket(socket.AF_UNIX)
server.bind("socket")
server.listen()
print(flush=True)
while True:
    server.accept()[0].close()
"""
    with subprocess.Popen(
        [sys.executable, "-c", source], cwd=directory, stdout=subprocess.PIPE
    ) as supervisor:
        try:
            assert supervisor.stdout is not None
            assert supervisor.stdout.readline()
            info = attach("local", "work")
            assert info.future is not None
            with pytest.raises(WorkerLost, match="every connection to its supervisor broke"):
                info.future.result(timeout=60)
            assert supervisor.wait(60) == -signal.SIGKILL
        finally:
            supervisor.kill()


def test_a_follower_without_files_comes_again(listen_for, monkeypatch: pytest.MonkeyPatch):
    """Work is not lost because the process that attaches has too many open files."""
    listen_for(0)
    tries: list[bool] = []

    def connect_later(directory: Path) -> socket.socket:
        tries.append(True)
        if len(tries) <= 2:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return connect(directory)

    monkeypatch.setattr(executions, "connect", connect_later)
    monkeypatch.setattr(records, "connect", connect_later)
    info = attach("local", "work")
    assert info.future is not None
    with pytest.raises(WorkerLost, match="On purpose"):
        info.future.result(timeout=60)


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="Linux sets limits of others")
def test_a_supervisor_without_files_serves_whoever_attaches_later(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """A supervisor that had no file for a follower accepts it once it has."""
    reference, _ = launch(20)
    supervisor = supervisor_of(reference)
    directory = tmp_path / "cache" / "executions" / reference
    limits = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
    resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (0, limits[1]))
    info = attach("local", reference)
    try:
        errors = directory / "errors"
        assert wait_until(lambda: "open files" in errors.read_text(), 60)
    finally:
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, limits)
    assert info.future is not None
    assert info.future.result(timeout=60) == {"steps": 20}


@pytest.mark.faults
def test_requests_that_cannot_be_read_are_no_requests(launch, tmp_path: Path):
    """A follower that sends something else is cut off; the work goes on, for others to see."""
    reference, _ = launch(5)
    directory = tmp_path / "cache" / "executions" / reference
    for request in (HEADER.pack(DRAIN, VERSION, 0, 0, 0, 0, 1 << 62), b"\xff" * 24):
        with connect(directory) as connection:
            connection.sendall(bytes(8) + request)
            connection.settimeout(60)
            while connection.recv(1 << 16):
                pass
    assert attach("local", reference).return_value == {"steps": 5}
