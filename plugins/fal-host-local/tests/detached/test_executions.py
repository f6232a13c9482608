"""
Work that outlives the process that launched it.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_core import Cancelled, WorkerLost, attach
from fal_core.testing.harness.processes import is_alive, wait_until
from fal_core_worker.stream.frames import DRAIN, HEADER, VERSION
from fal_host_local import LocalHost
from fal_host_local.detached import executions
from fal_host_local.detached.records import connect


def test_detached_work_survives_its_client(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """
    Another process gets the logs from the first line on, and the result.
    """
    reference, _ = launch(5)

    info = attach("local", reference)

    assert info.return_value == {"steps": 5}
    lines = [info.logs.get().message for _ in range(info.logs.qsize())]
    assert lines == [f"step {step}" for step in range(5)]
    supervisor = supervisor_of(reference)
    assert wait_until(lambda: not is_alive(supervisor), 30)


def test_work_that_has_ended_can_be_attached_to(launch):
    """
    The journal outlives the work: its result can be had again.
    """
    reference, _ = launch(1)

    assert attach("local", reference).return_value == {"steps": 1}
    assert attach("local", reference).return_value == {"steps": 1}


def test_work_that_ends_as_it_is_attached_to(launch, monkeypatch: pytest.MonkeyPatch):
    """
    If the supervisor ends after it was found, the result is read from the journal.
    """
    reference, _ = launch(1)
    assert attach("local", reference).return_value == {"steps": 1}

    def connect_to_what_is_gone(directory: Path) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours

    monkeypatch.setattr("fal_host_local.detached.executions.connect", connect_to_what_is_gone)
    assert attach("local", reference).return_value == {"steps": 1}


def test_events_that_were_seen_can_be_left_out(launch):
    """
    ``after`` leaves out that many events.
    """
    reference, _ = launch(2)
    assert attach("local", reference).return_value == {"steps": 2}

    info = attach("local", reference, after=4)

    assert info.return_value == {"steps": 2}
    assert info.logs.qsize() < 2


def test_detached_work_is_listed_and_cancelled(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """
    Another process lists the work, and ends it by its reference.
    """
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
    """
    Whoever attaches to it is told so, once the work and its supervisor have ended.
    """
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
    """
    Whatever listens in place of a supervisor, and sends rubbish, is ended with the work.
    """
    monkeypatch.setattr(executions, "_PATIENCE_AT_END", 0.1)
    reference, pid = launch(600)
    supervisor = supervisor_of(reference)
    os.kill(supervisor, signal.SIGSTOP)
    monkeypatch.setattr(executions, "_receive", lambda _: RUBBISH)

    info = attach("local", reference)
    assert info.future is not None
    with pytest.raises(WorkerLost, match="its journal cannot be read"):
        info.future.result(timeout=60)
    assert wait_until(lambda: not (is_alive(pid) or is_alive(supervisor)), 60)


def test_a_follower_that_was_cut_off_comes_again(launch, monkeypatch: pytest.MonkeyPatch):
    """
    One whose connection ends early gets every event once, and the result.
    """
    reference, _ = launch(10)
    receive = executions._receive
    received: list[int] = []

    def receive_some(connection: socket.socket) -> bytes:
        received.append(1)
        # It ends in the middle of an event, as one does that is too slow.
        return b"" if len(received) % 10 == 0 else receive(connection)

    monkeypatch.setattr(executions, "_receive", receive_some)
    monkeypatch.setattr(executions, "_PART", 50)
    info = attach("local", reference)
    assert info.return_value == {"steps": 10}
    lines = [info.logs.get().message for _ in range(info.logs.qsize())]
    assert lines == [f"step {step}" for step in range(10)]
    assert len(received) > 10


@pytest.mark.faults
def test_requests_that_cannot_be_read_are_no_requests(launch, tmp_path: Path):
    """
    A follower that sends something else is cut off; the work goes on, for others to see.
    """
    reference, _ = launch(5)
    directory = tmp_path / "cache" / "executions" / reference
    for request in (HEADER.pack(DRAIN, VERSION, 0, 0, 0, 0, 1 << 62), b"\xff" * 24):
        with connect(directory) as connection:
            connection.sendall(bytes(8) + request)
            connection.settimeout(60)
            while connection.recv(1 << 16):
                pass
    assert attach("local", reference).return_value == {"steps": 5}
