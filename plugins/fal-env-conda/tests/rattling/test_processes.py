"""The process that rattler runs in."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Event

import pytest

from fal_core.errors import Cancelled
from fal_env_conda.rattling import processes
from fal_env_conda.rattling.processes import Rattler, RattlerError
from fal_testing.harness.processes import is_alive, wait_until


def test_one_process_answers_many_requests() -> None:
    """The first request starts it, and leaving the context ends it."""
    with Rattler() as rattler:
        first = rattler.ask("detect")
        process = rattler._process
        assert process is not None
        assert rattler.ask("detect") == first
        assert rattler._process is process
    assert process.returncode == -signal.SIGKILL
    assert any(each.startswith("__") for each in first)


def test_rattler_is_not_imported_here() -> None:
    """The program that calls functions never has rattler's threads."""
    with Rattler() as rattler:
        rattler.ask("detect")
    assert "rattler" not in sys.modules


def test_error_of_rattler_is_data() -> None:
    """It has the name of rattler's class and its message, and the process goes on."""
    with Rattler() as rattler:
        with pytest.raises(RattlerError) as caught:
            rattler.ask("index", channel="/nowhere/at/all")
        assert caught.value.name
        assert rattler.ask("detect")


def test_process_that_ends_is_an_error() -> None:
    """The error says by which signal it ended."""
    with Rattler() as rattler:
        rattler.ask("detect")
        process = rattler._process
        assert process is not None
        os.kill(process.pid, signal.SIGSEGV)
        # Waiting for it leaves it to be reaped, so that the request meets a closed pipe.
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(RattlerError, match="ended with signal 11"):
            rattler.ask("detect")


def test_what_was_printed_comes_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines that the process prints are told, though the answer is read first."""
    child, done = tmp_path / "child.py", tmp_path / "done"
    child.write_text(
        "import sys\n"
        'print(\'{"line": "begun"}\', flush=True)\n'
        "print('printed', file=sys.stderr, flush=True)\n"
        "print('{\"answer\": 1}', flush=True)\n"
        f"open({str(done)!r}, 'w').close()\n"
        "sys.stdin.read()\n"
    )
    monkeypatch.setattr(processes, "_CHILD", str(child))
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        assert wait_until(done.exists, 30)

    with Rattler(on_line=note) as rattler:
        assert rattler.ask("detect") == 1
    assert lines == ["begun", "printed"]


def test_process_that_cannot_be_started_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even its directory."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Rattler() as rattler, pytest.raises(FileNotFoundError):
        rattler.ask("detect")
    assert list(temporary.iterdir()) == []


def test_cancelled_request_ends_the_process() -> None:
    """An answer that nobody wants is not waited for."""
    cancelled = Event()
    with Rattler(cancelled) as rattler:
        rattler.ask("detect")
        process = rattler._process
        assert process is not None
        cancelled.set()
        with pytest.raises(Cancelled):
            rattler.ask("detect")
        assert process.returncode is not None


def test_process_ends_with_its_parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rattler does not outlive a program that is killed, and its files do not either."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    program = (
        "import os, signal\n"
        "from fal_env_conda.rattling.processes import Rattler\n"
        "rattler = Rattler()\n"
        "rattler.ask('detect')\n"
        "print(rattler._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.returncode == -signal.SIGKILL
    assert wait_until(lambda: not is_alive(int(parent.stdout)), 30)
    assert not list(tmp_path.glob("fal-core-rattler-*"))
