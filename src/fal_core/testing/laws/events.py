"""
Laws of events: what a host reports of a call, and in which order.
"""

from __future__ import annotations

import time

from fal_core.events import Exited, Outcome, State
from fal_core.testing.harness.marks import Isolated
from fal_core.testing.harness.recorders import Follow

#: Seconds to wait for what must not come.
QUIET = 0.3


def test_nothing_follows_the_end(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    ``Exited`` comes once, and is the last event.
    """

    @isolated()
    def speak() -> str:
        print("before the end")
        return "done"

    recorder = follow(speak)
    recorder.wait(law_timeout)
    time.sleep(QUIET)  # No event must come meanwhile.
    ends = [index for index, event in enumerate(recorder.events) if isinstance(event, Exited)]
    assert ends == [len(recorder.events) - 1]


def test_there_is_one_outcome(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """
    A call that ends well has one outcome, before its end, and no reason there.
    """

    @isolated()
    def give() -> int:
        return 1

    recorder = follow(give)
    exited = recorder.wait(law_timeout)
    kinds = [type(event) for event in recorder.events]
    assert kinds.count(Outcome) == 1
    assert kinds.index(Outcome) < kinds.index(Exited)
    assert exited.reason is None


def test_an_error_is_an_outcome(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """
    A function that raises has an outcome that says so; its host has not failed.
    """

    @isolated()
    def fail() -> None:
        raise LookupError("gone")

    recorder = follow(fail)
    exited = recorder.wait(law_timeout)
    assert recorder.outcome is not None
    assert recorder.outcome.raised
    assert exited.reason is None


def test_events_come_one_at_a_time(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    No event is delivered before the sink has returned from the one before.
    """

    @isolated()
    def speak() -> None:
        for number in range(30):
            print(number)

    recorder = follow(speak)
    recorder.wait(law_timeout)
    assert not recorder.overlapped


def test_a_call_says_when_it_runs(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    The phases come in order, none twice in a row, and ``running`` before the outcome.
    """

    @isolated()
    def step() -> int:
        return 1

    recorder = follow(step)
    recorder.wait(law_timeout)
    phases = recorder.phases
    order = ["queued", "building", "starting", "running"]
    assert phases == sorted(set(phases), key=order.index)
    kinds = [event for event in recorder.events if isinstance(event, State | Outcome)]
    assert State("running") in kinds[:-1]
    assert isinstance(kinds[-1], Outcome)


def test_launching_does_not_wait(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    ``launch`` returns while the function runs.
    """

    @isolated()
    def wait(seconds: float) -> str:
        import time

        time.sleep(seconds)
        return "done"

    follow(wait, 0.0).wait(law_timeout)
    recorder = follow(wait, min(3.0, law_timeout / 4))
    assert not recorder.ended
    assert recorder.result(law_timeout) == "done"


def test_executions_have_names_of_their_own(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Each execution has a reference of its own.
    """

    @isolated()
    def give() -> int:
        return 1

    recorders = [follow(give) for _ in range(3)]
    for recorder in recorders:
        recorder.wait(law_timeout)
    references = {recorder.execution and recorder.execution.reference for recorder in recorders}
    assert len(references) == 3
    assert all(isinstance(reference, str) and reference for reference in references)
