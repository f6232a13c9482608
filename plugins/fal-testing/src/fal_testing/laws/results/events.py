"""Laws of events: what a host reports of a call, and in which order."""

from __future__ import annotations

import time

from fal_core.events import Exited, Outcome, State
from fal_testing.harness.expectations import expect
from fal_testing.harness.marks import Isolated
from fal_testing.harness.recorders import Follow

#: Seconds to wait for what must not come.
QUIET = 0.3


def test_nothing_follows_the_end(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """``Exited`` comes once, and is the last event."""

    @isolated()
    def speak() -> str:
        print("before the end")
        return "done"

    recorder = follow(speak)
    recorder.wait(law_timeout)
    time.sleep(QUIET)  # No event must come meanwhile.
    ends = [index for index, event in enumerate(recorder.events) if isinstance(event, Exited)]
    assert ends == [len(recorder.events) - 1], (
        "Exited is the last event and comes once; these events came: "
        f"{recorder.told}. After Exited send nothing to the sink, no line either."
    )


def test_there_is_one_outcome(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """A call that ends well has one outcome, before its end, and no reason there."""

    @isolated()
    def give() -> int:
        return 1

    recorder = follow(give)
    exited = recorder.wait(law_timeout)
    kinds = [type(event) for event in recorder.events]
    came = f"These events came: {recorder.told}."
    look = f"Send the outcome of the worker once, before Exited. {came}"
    expect(kinds.count(Outcome), 1, "The number of outcomes of a call that ended well", look)
    assert kinds.index(Outcome) < kinds.index(Exited), f"Exited came before Outcome. {came}"
    expect(
        exited.reason,
        None,
        "The reason in Exited of a call that ended well",
        f"Give a reason only where there is no outcome. {came}",
    )


def test_an_error_is_an_outcome(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """A function that raises has an outcome that says so; its host has not failed."""

    @isolated()
    def fail() -> None:
        raise LookupError("gone")

    recorder = follow(fail)
    exited = recorder.wait(law_timeout)
    came = f"These events came: {recorder.told}."
    outcome = recorder.outcome
    assert outcome is not None, f"The function raised, and there was no Outcome. {came}"
    assert outcome.raised, f"The function raised, and Outcome.raised is False. {came}"
    expect(
        exited.reason,
        None,
        "The reason in Exited where the function raised",
        f"The host has not failed: leave the reason None. {came}",
    )


def test_events_come_one_at_a_time(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """No event is delivered before the sink has returned from the one before."""

    @isolated()
    def speak() -> None:
        for number in range(30):
            print(number)

    recorder = follow(speak)
    recorder.wait(law_timeout)
    assert not recorder.overlapped, (
        "The sink was called while it handled another event; expected one event at a time. "
        "Where several threads send events, have them take a lock."
    )


def test_a_call_says_when_it_runs(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """The phases come in order, none twice in a row, and ``running`` before the outcome."""

    @isolated()
    def step() -> int:
        return 1

    recorder = follow(step)
    recorder.wait(law_timeout)
    order = ["queued", "building", "starting", "running"]
    phases = recorder.phases
    expect(
        phases,
        [phase for phase in order if phase in phases],
        "The phases of a call",
        f"Send each State once, in the order {', '.join(order)}; those that do not apply are "
        "left out.",
    )
    kinds = [type(event) for event in recorder.events if isinstance(event, State | Outcome)]
    runs_before = kinds[-1:] == [Outcome] and "running" in phases
    assert runs_before, (
        "Expected State('running') before Outcome, and no State after it. These events came: "
        f"{recorder.told}. Send it when the worker has taken the call."
    )


def test_launching_does_not_wait(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """``launch`` returns while the function runs."""

    @isolated()
    def wait(seconds: float) -> str:
        import time

        time.sleep(seconds)
        return "done"

    follow(wait, 0.0).wait(law_timeout)
    recorder = follow(wait, min(3.0, law_timeout / 4))
    assert not recorder.ended, (
        "launch returned when the call had ended; expected it while the function runs. Start "
        "the call, and leave its events to another thread."
    )
    result = recorder.result(law_timeout)
    expect(result, "done", "What the function returned", f"Events: {recorder.told}.")


def test_executions_have_names_of_their_own(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Each execution has a reference of its own."""

    @isolated()
    def give() -> int:
        return 1

    recorders = [follow(give) for _ in range(3)]
    for recorder in recorders:
        recorder.wait(law_timeout)
    found = [recorder.execution and recorder.execution.reference for recorder in recorders]
    names = {reference for reference in found if isinstance(reference, str) and reference}
    assert len(names) == 3, (
        f"The references of three executions: expected three different texts, found {found}. "
        "Name each execution anew; the id of its call will do."
    )
