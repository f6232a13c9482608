"""
Work that outlives the process that launched it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_core import Cancelled, attach
from fal_core.testing.harness.processes import is_alive, wait_until
from fal_host_local import LocalHost


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
