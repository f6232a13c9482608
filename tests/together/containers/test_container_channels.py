"""Workers in containers of engines that pass no descriptors: over a socket, or the streams."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from fal_host_local import LocalHost
from fal_testing import ProcessHost
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

PATIENCE = 60


@pytest.fixture(params=["socket", "streams"])
def channel(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the worker is spoken to, as a user can choose."""
    monkeypatch.setenv("FAL_CORE_CONTAINER_CHANNEL", request.param)
    return str(request.param)


@pytest.fixture
def host(channel: str) -> Iterator[LocalHost]:
    host = LocalHost()
    yield host
    host.close()


def test_a_worker_is_spoken_to_by_what_there_is(
    host: LocalHost, channel: str, contained: Any, capfd: pytest.CaptureFixture[str]
):
    """Values, lines and errors come back; a socket brings shared memory too."""

    @contained(host=host)
    def reverse(data: bytearray) -> tuple[bytearray, bool]:
        print("reversing")
        with open("/proc/self/maps") as file:
            shared = "memfd:fal-core" in file.read()
        return data[::-1], shared

    @contained(host=host)
    def fail() -> None:
        raise LookupError("gone")

    data = bytearray(os.urandom(4 << 20))
    assert reverse(data) == (data[::-1], channel == "socket")
    assert "reversing\n" in capfd.readouterr().out
    with pytest.raises(LookupError, match="gone"):
        fail()


def test_a_cancelled_call_leaves_no_container(
    host: LocalHost, cancel_hanging_call: Any, engine: Any
):
    """A call that will not end is ended with its container."""
    cancel_hanging_call(host)
    assert wait_until(lambda: not engine.containers(), PATIENCE)


def test_a_host_that_knows_nothing_of_containers_runs_them(contained: Any, engine: Any):
    """A worker that a third party starts is spoken to over the streams of the engine's command."""
    host = ProcessHost()

    @contained(host=host)
    def reverse(data: bytes) -> bytes:
        return data[::-1]

    data = os.urandom(1 << 20)
    assert reverse(data) == data[::-1]
    host.close()
    assert wait_until(lambda: not engine.containers(), PATIENCE)
