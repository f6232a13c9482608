"""How workers end whose host fails to say why, to end them or to wait for them."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pipe_hosts import PATIENCE, PipeHost

from fal_core import function
from fal_core.errors import Cancelled, HostError, OutOfMemory, WorkerLost
from fal_core.machines import Machine
from fal_core.workers import reason_of_exit
from fal_core_worker.running.guards import OUT_OF_MEMORY
from fal_testing.harness.processes import wait_until


@pytest.fixture
def start_host() -> Iterator[Callable[..., PipeHost]]:
    """Makes hosts whose workers have other callbacks, and ends their workers."""
    hosts: list[PipeHost] = []

    def start_host(**callbacks: Any) -> PipeHost:
        hosts.append(PipeHost(callbacks=callbacks))
        return hosts[-1]

    yield start_host
    for host in hosts:
        host.end()


def fail(*_: object) -> Any:
    """Fail as a host does whose scheduler is not reached."""
    raise LookupError("no such job")


@pytest.mark.parametrize(
    ("lost", "sentence"),
    [(fail, "LookupError: no such job"), (lambda: "it is full", "returned 'it is full'")],
    ids=["raises", "returns a text"],
)
def test_whatever_telling_why_does_ends_the_call(
    start_host: Callable[..., PipeHost], lost: Any, sentence: str
) -> None:
    """The error of the call says what the host did instead of telling why."""
    host = start_host(lost=lost)

    error = function("current", host=host)(os._exit).submit(3).exception(PATIENCE)

    assert isinstance(error, HostError)
    assert sentence in str(error)
    assert host.start().why() is error


def test_a_worker_that_its_host_cannot_kill_loses_its_stream(
    start_host: Callable[..., PipeHost], caplog: pytest.LogCaptureFixture
) -> None:
    """The worker ends by that, so does its call, and the failure is logged."""
    host = start_host(kill=fail)

    @function("current", host=host)
    def stay() -> None:
        import signal
        import time

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            time.sleep(1)

    spawned = stay.spawn()
    assert wait_until(lambda: host.start().hello is not None, PATIENCE)
    spawned.cancel(grace=0)

    assert isinstance(spawned.future.exception(PATIENCE), Cancelled)

    assert "LookupError: no such job" in caplog.text


def test_a_worker_that_its_host_cannot_wait_for_is_killed(
    start_host: Callable[..., PipeHost], caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody knows whether it is gone; it is ended, and what is open for it is closed."""
    host = start_host(wait=fail)
    assert function("current", host=host)(os.getppid)()

    host.start().stop_and_wait()

    assert host.start().gone
    assert host.process is not None
    assert host.process.wait(PATIENCE) in (0, 128 + signal.SIGTERM)
    assert "LookupError: no such job" in caplog.text


def test_what_a_guard_says_of_memory_is_a_reason() -> None:
    """
    The words of a guard become an ``OutOfMemory`` with the peak, where that is told, and with
    what the machine has that the worker was limited to.
    """
    said = f"before\n{OUT_OF_MEMORY} 4096\nafter"
    error = reason_of_exit(137, said)
    assert isinstance(error, OutOfMemory)
    assert (error.code, error.signal, error.peak) == (137, 9, 4096)
    assert error.detail == "before\nafter"
    unknown = reason_of_exit(137, f"{OUT_OF_MEMORY} 0\n")
    assert isinstance(unknown, OutOfMemory)
    assert (unknown.peak, unknown.detail) == (None, "")
    judged = reason_of_exit(137, said, Machine(name="tiny", memory=4096))
    assert "machine type 'tiny' has 4.1 kB." in str(judged)
    assert type(reason_of_exit(137, "before")) is WorkerLost
