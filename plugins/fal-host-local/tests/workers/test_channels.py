"""Channels: a worker is spoken to alike, whatever stands between it and the keeper."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core import HostError, IsolatedFunction, WorkerLost, function
from fal_host_local import LocalHost
from fal_host_local.workers.sockets import Handover
from fal_testing.harness.processes import is_alive, wait_until
from fal_testing.launchers import Launched, launched_python

pytestmark = pytest.mark.faults

CHANNELS = ["passed", "socket", "streams"]


@pytest.fixture
def launched() -> Iterator[Launched]:
    with launched_python() as found:
        yield found


@pytest.fixture
def host() -> Iterator[LocalHost]:
    host = LocalHost()
    yield host
    host.close()


@pytest.fixture
def apart(host: LocalHost, launched: Launched) -> Any:
    """The decorator for functions whose worker another program starts."""

    def decorate(channel: str) -> Any:
        return function(
            "launched-python", host=host, law_folder=launched.folder, law_channel=channel
        )

    return decorate


def find_memory() -> list[str]:
    """Return the memory files that are mapped here, of those that arenas have."""
    with open("/proc/self/maps") as file:
        return [line for line in file if "memfd:fal-core" in line]


@pytest.mark.parametrize("channel", ["passed", "socket"])
def test_large_values_go_through_shared_memory(apart: Any, channel: str):
    """A worker that gets descriptors shares memory with its caller."""

    @apart(channel)
    def look(data: bytearray) -> tuple[int, list[str]]:
        return len(data), find_memory()

    size, mapped = look(bytearray(8 << 20))

    assert size == 8 << 20
    assert mapped


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_the_function_prints_has_its_stream(
    apart: Any, channel: str, capfd: pytest.CaptureFixture[str]
):
    """
    Lines of the function and of its children are printed, those of the program around the
    worker are not once it is up.
    """

    @apart(channel)
    def talk() -> None:
        os.write(1, b"from below\n")
        print("from Python")
        os.system("echo from a child >&2")

    talk()
    capfd.readouterr()
    talk()

    printed = capfd.readouterr()
    assert printed.out == "from below\nfrom Python\n"
    assert printed.err == "from a child\n"


@pytest.mark.parametrize("channel", CHANNELS)
def test_what_a_launcher_says_goes_to_calls_that_wait(
    apart: Any, channel: str, capfd: pytest.CaptureFixture[str]
):
    """While the worker starts, its calls get what is printed around it."""

    @apart(channel)
    def number() -> int:
        return 1

    assert number() == 1
    assert "the launcher is up" in capfd.readouterr().err


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_worker_that_is_lost_is_named(apart: Any, channel: str):
    """The signal that ends a worker is told, though another program waits for it."""

    @apart(channel)
    def vanish() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLost, match="SIGKILL") as caught:
        vanish()
    assert caught.value.signal == signal.SIGKILL


@pytest.mark.parametrize("channel", CHANNELS)
def test_nothing_is_left_of_a_worker_that_was_started_apart(
    apart: Any, host: LocalHost, channel: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A closed host has ended its workers and their launchers, and removed its sockets."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    @apart(channel)
    def find_pids() -> list[int]:
        pids = [os.getpid()]
        while pids[-1] > 1 and len(pids) < 4:
            with open(f"/proc/{pids[-1]}/stat") as file:
                pids.append(int(file.read().rpartition(")")[2].split()[1]))
        return pids

    call: IsolatedFunction[..., Any] = find_pids
    # The worker, its guard, and the launcher.
    pids = call()[:3]
    assert all(map(is_alive, pids))
    host.close()

    assert wait_until(lambda: not any(map(is_alive, pids)), 30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_process_that_never_becomes_a_worker_is_an_error(
    host: LocalHost, launched: Launched, channel: str, monkeypatch: pytest.MonkeyPatch
):
    """A call whose program ends before there is a worker tells what that program has said."""
    from fal_testing import launchers

    monkeypatch.setattr(launchers, "_LAUNCH", "import sys; sys.exit('the engine is down')")
    decorate = function(
        "launched-python", host=host, law_folder=launched.folder, law_channel=channel
    )

    @decorate
    def never() -> None: ...

    with pytest.raises(WorkerLost, match="the engine is down"):
        never()


def test_a_worker_that_cannot_be_given_its_stream_is_ended(
    apart: Any, host: LocalHost, monkeypatch: pytest.MonkeyPatch
):
    """Where too many files are open, the call fails, and no process is left that nobody knows of."""
    tried: list[Handover] = []

    def refuse(handover: Handover, *given: object) -> None:
        tried.append(handover)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Handover, "begin", refuse)
    error = apart("socket")(os.getpid).submit().exception(60)
    assert isinstance(error, HostError)
    assert "Too many open files" in str(error)
    assert len(tried) == 1
    assert host._keeper is not None
    children = Path(f"/proc/{host._keeper._pid}/task/{host._keeper._pid}/children")
    assert wait_until(lambda: not children.read_text(), 30)
