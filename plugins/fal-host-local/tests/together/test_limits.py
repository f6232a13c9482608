"""
Timeouts and retries of calls that nobody waits for.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import Timeout, WorkerLost, function
from fal_core.calls import Call
from fal_core.events import Event, Exited, Sink
from fal_core.hosts import Execution
from fal_core.testing import InProcessHost
from fal_core.testing.harness.processes import wait_until
from fal_core.wrappers import WrapperHost
from fal_host_local import LocalHost


@attrs.define(eq=False, slots=False)
class ElsewhereFirst(WrapperHost[..., Any]):
    """
    A host whose first attempt runs in this process, on another thread, and is lost.
    """

    name: ClassVar[str] = "elsewhere-first"

    launches: int = attrs.field(default=0, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.launches += 1
        if self.launches % 2 == 0:
            return self.inner.launch(call, sink)

        def lose(event: Event) -> None:
            if isinstance(event, Exited):
                sink(Exited(reason=WorkerLost()))

        return InProcessHost().launch(call, lose)


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


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


def test_an_item_of_a_map_has_its_time_from_when_it_runs(host: LocalHost):
    """
    Items that wait for a worker do not wait on their own time.
    """
    isolated = function("current", host=host, max_concurrency=1, timeout=5)(wait)

    assert list(isolated.map([0.4] * 14)) == [0.4] * 14


def test_submitted_calls_wait_on_their_own_time(host: LocalHost):
    """
    A submitted call has its time from its submission, also while others run.
    """
    isolated = function("current", host=host, max_concurrency=1, timeout=1)(wait)
    in_time = isolated.with_policy(timeout=None)
    assert in_time(0) == 0

    futures = [isolated.submit(60) for _ in range(5)]

    assert [type(future.exception(30)) for future in futures] == [Timeout] * 5
    assert in_time(0) == 0


def test_attempts_share_the_time_of_the_call(host: LocalHost, tmp_path: Path):
    """
    Retries do not give a call more time than it may take.
    """

    def wait_and_fail(path: str) -> None:
        with open(path, "a") as file:
            file.write("x")
        # Each attempt takes up a part of the time.
        time.sleep(0.3)
        raise LookupError

    options = {"retries": 1000, "retry_on": LookupError}
    # A busy machine may not come as far as the second attempt in the shorter time.
    for seconds in (3, 20):
        isolated = function("current", host=host, timeout=seconds, **options)(wait_and_fail)
        paths = [tmp_path / f"{way} {seconds}" for way in ("called", "spawned")]
        with pytest.raises((Timeout, LookupError)):
            isolated(str(paths[0]))
        with pytest.raises((Timeout, LookupError)):
            assert isolated.spawn(str(paths[1])).return_value is None
        counts = [len(path.read_text()) if path.exists() else 0 for path in paths]
        assert max(counts) < seconds / 0.3 + 2
        if min(counts) > 1:
            break
    assert min(counts) > 1


@pytest.mark.timeout(120)
def test_an_attempt_is_waited_for_wherever_it_runs(host: LocalHost):
    """
    The thread that waits drives an attempt whose events it delivers itself, also where it
    could not drive the one before.
    """
    isolated = function("current", host=ElsewhereFirst(host), retries=1)(wait)

    assert [isolated(number / 1000) for number in range(20)] == [
        number / 1000 for number in range(20)
    ]


@pytest.mark.parametrize("lifetime", ["attached", "detached"])
def test_a_spawned_call_is_made_again(host: LocalHost, lifetime: str, tmp_path: Path):
    """
    A spawned call is made again as often as ``retries`` says, detached or not.
    """
    isolated = function("current", host=host, retries=3, lifetime=lifetime)(fail_twice)

    assert isolated.spawn(str(tmp_path / "first")).return_value == 2
    with pytest.raises(WorkerLost):
        assert isolated.with_policy(retries=1).spawn(str(tmp_path / "other")).return_value


def test_a_spawned_call_is_made_again_on_exceptions_that_are_named(
    host: LocalHost, tmp_path: Path
):
    """
    What the function raised is retried where ``retry_on`` names it, and not elsewhere.
    """
    isolated = function("current", host=host, retries=3, retry_on=LookupError)(refuse_twice)

    assert isolated.spawn(str(tmp_path / "first")).return_value == 2
    other = isolated.with_policy(retry_on=KeyError).spawn(str(tmp_path / "other"))
    with pytest.raises(LookupError):
        assert other.return_value


def test_a_spawned_call_that_was_cancelled_is_not_made_again(host: LocalHost, tmp_path: Path):
    """
    Cancelling ends all attempts.
    """

    def beat(path: str) -> None:
        with open(path, "a") as file:
            file.write("x")
        # Until it is cancelled.
        time.sleep(60)

    isolated = function("current", host=host, retries=3)(beat)
    info = isolated.spawn(str(tmp_path / "beats"))
    beats = tmp_path / "beats"
    assert wait_until(lambda: beats.exists() and beats.read_text() == "x", 30)

    info.cancel(0.5)

    assert info.future is not None
    assert type(info.future.exception(30)).__name__ == "Cancelled"
    assert beats.read_text() == "x"


def test_a_timeout_of_years_is_waited_for(host: LocalHost):
    """
    A call may have more time than the system waits at once.
    """
    isolated = function("current", host=host, timeout=20 * 365 * 86400)(wait)

    assert isolated(0.1) == 0.1
    assert isolated.spawn(0.1).return_value == 0.1
