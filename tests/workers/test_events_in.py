"""Events of calls: whom each frame of a worker concerns."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pipe_hosts import PATIENCE, Owner, PipeHost

from fal_core import function
from fal_core.errors import WorkerLost
from fal_core.events import Event, Item, Log, Ready, Returned, Sealed, Started
from fal_core.workers.events_in import RunningCalls
from fal_core.workers.execution import WorkerExecution
from fal_core_worker.stream import frames
from fal_core_worker.stream.payloads import pack_lines, pack_texts
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until


class Calls:
    """Calls that run in a worker, and the events that each has had."""

    def __init__(self, *batches: int) -> None:
        self.logs: list[Log] = []
        self.away: list[int] = []
        self.running = RunningCalls(log=self.logs.append)
        self.running.away = self.away.append
        self.events: list[list[Event]] = []
        self.ids: list[str] = []
        launcher = function("current", host=InProcessHost())(os.getpid).make_launcher()
        controls: Any = None
        for channel, batch in enumerate(batches, 1):
            arguments: Any = [((), {})] * batch if batch else ((), {})
            call = launcher.call(arguments, batch=batch)
            self.ids.append(call.id)
            self.events.append([])
            execution = WorkerExecution(controls, channel, call, self.events[-1].append)
            self.running.executions[channel] = execution

    def print(self, *lines: Any) -> None:
        """Deliver a frame with these lines."""
        for payload in pack_lines(lines):
            self.running.deliver((frames.LOG, 0, 0, 0, payload))


def test_each_line_goes_to_the_call_that_printed_it() -> None:
    """A line carries its call, and the item of a batch or the request that printed it."""
    calls = Calls(0, 3)
    calls.print((0, 1.5, 1, 0, "one\ntwo"), (1, 2.5, 2, 2, "item"), (5, 3.5, 1, "abc", "asked"))
    single, batch = calls.ids
    assert calls.events[0] == [
        Log("one", "STDOUT", "USER", 1.5, single),
        Log("two", "STDOUT", "USER", 1.5, single),
        Log("asked", "ERROR", "USER", 3.5, single, "abc"),
    ]
    assert calls.events[1] == [Log("item", "STDERR", "USER", 2.5, f"{batch}/2")]
    assert calls.logs == []


def test_an_incomplete_line_says_so() -> None:
    """The level of a line that has not ended is above all others."""
    calls = Calls(0)
    calls.print((frames.PARTIAL + 1, 1.5, 1, 0, "50 %"))
    assert calls.events == [[Log("50 %", "STDERR", "USER", 1.5, calls.ids[0], partial=True)]]


def test_lines_of_no_call_go_to_all_that_run_or_to_the_host() -> None:
    """What nobody knows to have printed is shown wherever it may belong to."""
    calls = Calls(0, 0)
    calls.print((0, 1.5, 0, 0, "native"))
    assert calls.events == [[Log("native", time=1.5)]] * 2
    assert calls.logs == []
    assert len(calls.running.take_all()) == 2
    # A call that has ended is none.
    calls.print((0, 2.5, 1, 0, "late"))
    assert calls.logs == [Log("late", time=2.5)]


def test_frames_of_calls_that_have_ended_are_dropped() -> None:
    """A frame of a call that no longer runs changes nothing."""
    calls = Calls(0)
    for kind in (frames.ITEM, frames.STARTED, frames.RETURNED, frames.HOME_CALL, frames.READY):
        calls.running.deliver((kind, 9, 1, 1, b""))
    assert calls.events == [[]]
    assert calls.away == []


def test_other_frames_are_the_events_of_their_calls() -> None:
    """Payloads are sealed objects, with their buffers where there are some."""
    calls = Calls(9)
    for frame in (
        (frames.STARTED, 1, 2, 0, b""),
        (frames.ITEM, 1, 4, 2, b"data"),
        (frames.ITEM, 1, 6, 1, (b"data", [b"buffer"])),
        (frames.RETURNED, 1, 7, 0, b""),
        (frames.READY, 1, 0, 0, pack_texts({"run": "http://here"})),
    ):
        calls.running.deliver(frame)
    assert calls.events == [
        [
            Started(2),
            Item(Sealed(b"data"), 4, 2),
            Item(Sealed(b"data", [b"buffer"]), 6, 1),
            Returned(7),
            Ready({"run": "http://here"}),
        ]
    ]


def test_calls_home_are_counted_until_they_are_answered() -> None:
    """Those that a lost worker leaves unanswered are no longer counted, nor is a late answer."""
    calls = Calls(0)
    for number in range(3):
        calls.running.deliver((frames.HOME_CALL, 1, number, 0, b"data"))
    calls.running.count_home(-1)
    assert calls.away == [1, 1, 1, -1]
    calls.running.forget_home()
    assert calls.away[4:] == [-2]
    calls.running.count_home(-1)
    assert sum(calls.away) == 0


def test_a_setup_that_has_run_is_noted(pipe_host: PipeHost) -> None:
    """A worker is prepared once it has run a setup function, and tells so."""
    worker = pipe_host.start()
    isolated = function("current", host=pipe_host)(len)
    assert isolated("four") == 4
    assert not worker.prepared
    assert isolated.on(setup_function=lambda: "ab")() == 2
    assert worker.prepared


@pytest.mark.faults
def test_a_worker_that_is_lost_while_it_calls_home_is_away_no_more(
    pipe_host: PipeHost, tmp_path: Path
) -> None:
    """The host hears that a call waits for home, and as soon as it is lost that it does not."""
    owner = Owner()
    pipe_host.owner = owner
    told = tmp_path / "told"

    @function("current", host=InProcessHost())
    def end(pid: int) -> None:
        import os
        import signal

        os.kill(pid, signal.SIGKILL)
        wait_until(told.exists, 60)

    @function("current", host=pipe_host)
    def call() -> None:
        import os

        end(os.getpid())

    try:
        with pytest.raises(WorkerLost):
            call.submit().result(PATIENCE)
        assert owner.away == [1, -1]
    finally:
        told.touch()
