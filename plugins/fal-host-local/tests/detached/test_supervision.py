"""The processes that run detached work."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from fal_core import Call, WorkerLost, attach, function
from fal_core.detached import Supervisor
from fal_core.events import Event, Exited, Log, Sink
from fal_core.hosts import Execution
from fal_core.sinks import read_journal
from fal_core.wrappers import WrapperHost
from fal_host_local import LocalHost
from fal_testing.harness.processes import is_alive, wait_until


def test_a_killed_supervisor_is_reported(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """Work ends with its killed supervisor, and attaching to it raises an error that says so."""
    reference, pid = launch(600)
    os.kill(supervisor_of(reference), signal.SIGKILL)

    assert wait_until(lambda: not is_alive(pid), 30)
    info = attach("local", reference)
    assert info.future is not None
    with pytest.raises(WorkerLost, match="supervisor"):
        info.future.result(timeout=30)
    (status,) = LocalHost().executions()
    assert (status.ended, status.end) == (True, "failed")
    assert status.error.startswith("WorkerLost: ")
    assert "supervisor" in status.error


def test_a_journal_keeps_the_newest_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    The journal of a program's work stays small, however much that prints. Whoever follows
    from the beginning gets every line, and others the newest, and how many are missing.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))

    class OfAProgram(WrapperHost[..., Any]):
        def launch(self, call: Call, sink: Sink) -> Execution:
            return self.inner.launch(attrs.evolve(call, owner="A program"), sink)

    @function("current", host=OfAProgram(LocalHost()), lifetime="detached")
    def work(lines: int) -> str:
        for number in range(lines):
            print(number, "x" * 1000)
        return "done"

    count = 25_000
    info = work.spawn(count)
    assert info.return_value == "done"
    early = [info.logs.get().message for _ in range(info.logs.qsize())]
    assert [int(each.partition(" ")[0]) for each in early] == [*range(count)]
    late = attach("local", info.reference)
    assert late.return_value == "done"
    note, *lines = [late.logs.get().message for _ in range(late.logs.qsize())]
    first = int(lines[0].partition(" ")[0])
    assert f"{first:,} lines before this one were dropped" in note
    assert len(lines) == count - first > 3000
    journal = tmp_path / "cache" / "executions" / info.reference / "journal"
    assert journal.stat().st_size < 10 << 20


@pytest.mark.faults
def test_a_supervisor_ends_where_nothing_can_be_written(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """Work whose directory was removed ends as any other, and its supervisor with it."""
    reference, pid = launch(20)
    supervisor = supervisor_of(reference)
    directory = tmp_path / "cache" / "executions" / reference

    def is_removed() -> bool:
        # Its supervisor may write there meanwhile.
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    assert wait_until(is_removed, 30)
    assert wait_until(lambda: not is_alive(pid), 60)
    assert wait_until(lambda: not is_alive(supervisor), 60)


def test_the_end_is_written_after_lines_that_could_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Where the last lines of work cannot be written, as on a full disk, its end is, and says so."""
    (tmp_path / "status.json").write_text("{}")
    supervisor = Supervisor(tmp_path)
    failed = threading.Event()

    def fail(*events: Event) -> bytes:
        failed.set()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    threading.Thread(target=supervisor._write_lines, daemon=True).start()
    with monkeypatch.context() as full:
        full.setattr(supervisor._journal, "append", fail)
        supervisor(Log("a line"))
        assert failed.wait(60)
        assert wait_until(lambda: supervisor._failure is not None, 60)
    supervisor(Exited())
    (exited,) = read_journal(tmp_path / "journal")
    assert isinstance(exited, Exited)
    assert "No space left" in str(exited.reason)
