"""Sockets over which workers are given descriptors, and what is left of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fal_host_local.workers.sockets import Handover

pytestmark = pytest.mark.faults

PROGRAM = """
import sys
from fal_host_local.workers.sockets import Handover
handover = Handover()
print(handover.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of temporary files, whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setenv("TMPDIR", directory)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(directory)


def names(place: Path) -> list[str]:
    return [each.name for each in place.iterdir()]


def test_a_socket_that_nobody_waits_for_is_removed(place: Path):
    """
    What a killed process has left goes with the next socket of whatever process, and that of
    a process that runs stays.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdin, process.stdout:
        path = Path(process.stdout.readline().strip())
        left = path.parents[1]
        assert left.parent == place
        os.utime(left, (1, 1))
        Handover().close()
        assert names(place) == [left.name]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    assert path.is_socket()
    Handover().close()
    assert names(place) == []


def test_what_others_have_made_is_not_removed(place: Path):
    """A directory with another name stays, and so does one that has just been made."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in ("fal-core-socket-mine", f"fal-core-{ended.pid}-a"):
        (place / name).mkdir()
        os.utime(place / name, (1, 1))
    (place / f"fal-core-socket-{ended.pid}-new").mkdir()
    Handover().close()
    assert len(names(place)) == 3


def test_a_long_path_is_not_taken(place: Path, monkeypatch: pytest.MonkeyPatch):
    """The system takes no long path of a socket, so it is made elsewhere then."""
    deep = place / ("a" * 60) / ("b" * 60)
    deep.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(deep))
    monkeypatch.setattr(tempfile, "tempdir", None)
    handover = Handover()
    assert handover.path.startswith("/tmp/")
    handover.close()
