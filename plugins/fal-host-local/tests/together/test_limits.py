"""Timeouts of calls, also of those that no caller waits for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import Timeout, WorkerLost, function
from fal_core.calls import Call
from fal_core.events import Event, Exited, Sink
from fal_core.hosts import Execution
from fal_core.wrappers import WrapperHost
from fal_host_local import LocalHost
from fal_testing import InProcessHost


@attrs.define(eq=False, slots=False)
class ElsewhereFirst(WrapperHost[..., Any]):
    """A host whose first attempt runs in this process, on another thread, and is lost."""

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


def test_attempts_share_the_time_of_the_call(host: LocalHost, tmp_path: Path):
    """Retries do not give a call more time than it may take."""

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


def test_a_timeout_of_years_is_waited_for(host: LocalHost):
    """A call may have more time than the system waits at once."""
    isolated = function("current", host=host, timeout=20 * 365 * 86400)(wait)

    assert isolated(0.1) == 0.1
    assert isolated.spawn(0.1).return_value == 0.1
