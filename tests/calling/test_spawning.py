"""Spawned calls: their retries, and the queue of their log lines."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from fal_core import WorkerLost, function
from fal_host_local import LocalHost
from fal_testing.harness.processes import wait_until


def fail_twice(path: str) -> int:
    with open(path, "a+") as file:
        file.seek(0)
        before = len(file.read())
        file.write("x")
    if before < 2:
        os._exit(2)
    return before


def refuse_twice(path: str) -> int:
    with open(path, "a+") as file:
        file.seek(0)
        before = len(file.read())
        file.write("x")
    if before < 2:
        raise LookupError(before)
    return before


@pytest.mark.parametrize("lifetime", ["attached", "detached"])
def test_a_spawned_call_is_made_again(local_host: LocalHost, lifetime: str, tmp_path: Path):
    """A spawned call is made again as often as ``retries`` says, detached or not."""
    isolated = function("current", host=local_host, retries=3, lifetime=lifetime)(fail_twice)

    assert isolated.spawn(str(tmp_path / "first")).return_value == 2
    with pytest.raises(WorkerLost):
        assert isolated.with_policy(retries=1).spawn(str(tmp_path / "other")).return_value


def test_a_spawned_call_is_made_again_on_exceptions_that_are_named(
    local_host: LocalHost, tmp_path: Path
):
    """Only exceptions that ``retry_on`` names are retried."""
    isolated = function("current", host=local_host, retries=3, retry_on=LookupError)(
        refuse_twice
    )

    assert isolated.spawn(str(tmp_path / "first")).return_value == 2
    other = isolated.with_policy(retry_on=KeyError).spawn(str(tmp_path / "other"))
    with pytest.raises(LookupError):
        assert other.return_value


def test_a_spawned_call_that_was_cancelled_is_not_made_again(
    local_host: LocalHost, tmp_path: Path
):
    """Cancelling ends all attempts."""

    def beat(path: str) -> None:
        with open(path, "a") as file:
            file.write("x")
        # Until it is cancelled.
        time.sleep(60)

    isolated = function("current", host=local_host, retries=3)(beat)
    info = isolated.spawn(str(tmp_path / "beats"))
    beats = tmp_path / "beats"
    assert wait_until(lambda: beats.exists() and beats.read_text() == "x", 30)

    info.cancel(0.5)

    assert info.future is not None
    assert type(info.future.exception(30)).__name__ == "Cancelled"
    assert beats.read_text() == "x"


def test_the_queue_of_a_spawned_call_holds_whole_lines(local_host: LocalHost):
    """The queue holds no partial lines."""

    def move() -> None:
        import time

        for number in range(5):
            print(f"\rstep {number}", end="", flush=True)
            # Each state has time to be sent.
            time.sleep(0.1)
        print()

    info = function("current", host=local_host)(move).spawn()
    assert info.return_value is None
    assert [info.logs.get().message for _ in range(info.logs.qsize())] == ["step 4"]
