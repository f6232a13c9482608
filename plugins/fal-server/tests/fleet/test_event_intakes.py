"""
Event intakes: hosts wait for the loop of the server, and not the other way round.
"""

from __future__ import annotations

import asyncio
import threading

import pytest
from polling import settle

from fal_core.events import Event, Exited, Started
from fal_server.fleet import event_intakes
from fal_server.fleet.event_intakes import EventIntake


def test_a_host_waits_while_many_events_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    No more than so many events wait for the loop, and all of them arrive in their order.
    """
    monkeypatch.setattr(event_intakes, "_MOST", 10)
    loop = asyncio.new_event_loop()
    taken: list[Event] = []
    given: list[int] = []
    intake = EventIntake(loop, taken.append)

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
    """
    Events that nobody will handle are dropped, whether they come before or after its end.
    """
    monkeypatch.setattr(event_intakes, "_MOST", 1)
    monkeypatch.setattr(event_intakes, "_LOOK", 0.01)
    loop = asyncio.new_event_loop()
    intake = EventIntake(loop, lambda _: None)
    intake(Started(1))
    waiting = threading.Thread(target=intake, args=(Started(2),))
    waiting.start()
    loop.close()
    waiting.join(60)
    assert not waiting.is_alive()
    intake(Started(3))


def test_the_loop_does_not_wait_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    What the server itself reports is handled, however many events wait.
    """
    monkeypatch.setattr(event_intakes, "_MOST", 0)
    taken: list[Event] = []

    async def main() -> None:
        intake = EventIntake(asyncio.get_running_loop(), taken.append)
        intake(Exited())
        await asyncio.sleep(0)

    asyncio.run(main())
    assert taken == [Exited()]
