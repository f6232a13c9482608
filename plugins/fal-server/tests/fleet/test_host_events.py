"""Tests of the events that a runner's host reports."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from polling import settle

from fal_core.errors import WorkerLost
from fal_core.events import Event, Exited, Log, Outcome, Ready, Sealed, Started, State
from fal_server.fleet import host_events
from fal_server.fleet.host_events import EventIntake, HostEvents
from fal_server.fleet.states import Lifecycle, RunnerPhase


class Lines:
    """Takes lines, or fails as where nothing can be written."""

    def __init__(self) -> None:
        self.taken: list[Log] = []
        self.error: Exception | None = None

    def take(self, log: Log) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(log)


class Kept:
    """A sink whose lines, URLs and end are kept."""

    def __init__(self) -> None:
        self.lines: Any = Lines()
        self.lifecycle = Lifecycle(lambda: None)
        self.urls: list[Mapping[str, str]] = []
        self.ends: list[Exited] = []
        self.events = HostEvents(self.lines, self.lifecycle, self.urls.append, self.ends.append)


def test_each_event_goes_to_its_part_of_the_runner() -> None:
    """Lines, states, URLs and the end each go to the part of the runner that keeps them."""
    kept = Kept()
    log, exited = Log("a line"), Exited(reason=WorkerLost())
    for event in [log, State("starting"), State("running"), Ready({"run": "http://a"}), exited]:
        kept.events(event)
    assert kept.lines.taken == [log]
    assert kept.lifecycle.state is RunnerPhase.SETUP
    assert kept.urls == [{"run": "http://a"}]
    assert kept.ends == [exited]


def test_only_what_was_raised_is_kept() -> None:
    """An outcome is read if the agent has raised it."""
    kept = Kept()
    kept.events(Outcome(Sealed(b"")))
    assert kept.events.raised is None
    kept.events(Outcome(Sealed(b"nothing that can be read"), True))
    assert kept.events.raised is not None


def test_events_are_handled_after_one_that_could_not_be() -> None:
    """What a handler raises is raised to the loop; the runner is not ended for it."""
    kept = Kept()
    kept.lines.error = OSError("The disk is full.")
    with pytest.raises(OSError, match="full"):
        kept.events(Log("a line"))
    kept.events(State("building"))
    kept.events(exited := Exited())
    assert kept.lifecycle.state is RunnerPhase.BUILDING
    assert kept.ends == [exited]


def one(event: Event) -> Iterable[Event]:
    """Admit each event."""
    return (event,)


def test_a_host_waits_while_many_events_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more than so many events wait for the loop, and all of them arrive in their order."""
    monkeypatch.setattr(host_events, "_MOST", 10)
    loop = asyncio.new_event_loop()
    taken: list[Event] = []
    given: list[int] = []
    intake = EventIntake(loop, taken.append, one)

    def give() -> None:
        for number in range(100):
            intake(Started(number))
            given.append(number)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=give)
    thread.start()
    # The loop does not run yet.
    settle(lambda: len(given) == 10)
    assert taken == []
    loop.run_forever()
    thread.join()
    loop.close()
    assert taken == [Started(number) for number in range(100)]


def test_a_host_does_not_wait_for_a_loop_that_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events that nobody will handle are dropped, whether they come before or after its end."""
    monkeypatch.setattr(host_events, "_MOST", 1)
    monkeypatch.setattr(host_events, "_LOOK", 0.01)
    loop = asyncio.new_event_loop()
    intake = EventIntake(loop, lambda _: None, one)
    intake(Started(1))
    waiting = threading.Thread(target=intake, args=(Started(2),))
    waiting.start()
    loop.close()
    waiting.join(60)
    assert not waiting.is_alive()
    intake(Started(3))


def test_the_loop_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server itself reports is handled, however many events wait."""
    monkeypatch.setattr(host_events, "_MOST", 0)
    taken: list[Event] = []

    async def main() -> None:
        intake = EventIntake(asyncio.get_running_loop(), taken.append, one)
        intake(Exited())
        await asyncio.sleep(0)

    asyncio.run(main())
    assert taken == [Exited()]


def test_many_events_leave_other_work_its_turn() -> None:
    """A burst of events keeps nothing else of the loop waiting until all of them are handled."""
    taken: list[Event] = []
    seen: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        intake = EventIntake(loop, taken.append, one)
        for number in range(900):
            intake(Started(number))
        while len(taken) < 900:
            seen.append(len(taken))
            await asyncio.sleep(0)

    asyncio.run(main())
    assert taken == [Started(number) for number in range(900)]
    assert len(seen) > 1


def test_an_event_that_fails_keeps_back_no_other() -> None:
    """The loop reports an event whose handling raises, and handles those that follow."""
    taken: list[Event] = []
    reported: list[BaseException | None] = []

    def handle(event: Event) -> None:
        taken.append(event)
        if event == Started(1):
            raise ValueError("it cannot be handled")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, about: reported.append(about.get("exception")))
        intake = EventIntake(loop, handle, one)
        await asyncio.to_thread(lambda: [intake(Started(number)) for number in range(4)])
        while len(taken) < 4:
            await asyncio.sleep(0)

    asyncio.run(main())
    assert taken == [Started(number) for number in range(4)]
    assert [str(error) for error in reported] == ["it cannot be handled"]
