"""Laws of cancelling: a call that is cancelled ends, with all that it started."""

from __future__ import annotations

import time

from fal_core.errors import Cancelled
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_cancelled, expect_error, result_of
from fal_testing.harness.identities import (
    make_identify,
    make_start_children,
    number_of,
    still_living,
)
from fal_testing.harness.marks import Isolated, Marks
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Follow

_END = (
    "Execution.cancel interrupts the function, ends its process after the grace, and is "
    "followed by Exited with the reason Cancelled."
)
_GONE = "Send Exited once the function can do nothing more: when its process has ended."

#: Seconds within which a function that runs on would leave a mark.
BEAT = 0.05


@requires("cancel")
def test_a_cancelled_call_ends(isolated: Isolated, follow: Follow, law_timeout: float) -> None:
    """Cancelling a call that runs ends it, with ``Cancelled`` as the reason."""

    @isolated()
    def linger(seconds: float) -> None:
        import time

        print("waiting")
        time.sleep(seconds)

    recorder = follow(linger, 10 * law_timeout)
    recorder.wait_for_line("waiting", law_timeout)
    recorder.cancel(1.0)
    expect_cancelled(recorder, law_timeout, "a cancelled call", _END)
    expect(recorder.outcome, None, "The outcome of a cancelled call", _END)


@requires("cancel")
def test_a_cancelled_function_runs_no_more(
    isolated: Isolated, follow: Follow, marks: Marks, law_timeout: float
) -> None:
    """Once ``Exited`` of a cancelled call has come, its function runs no more."""
    add = marks.add

    @isolated()
    def pulse(seconds: float, pause: float) -> None:
        import time

        until = time.monotonic() + seconds
        print("beating")
        while time.monotonic() < until:
            add("beat")
            time.sleep(pause)

    recorder = follow(pulse, law_timeout, BEAT)
    recorder.wait_for_line("beating", law_timeout)
    recorder.cancel(1.0)
    recorder.wait(law_timeout)
    assert marks.rest_for(10 * BEAT), f"A cancelled function runs on after Exited. {_GONE}"


@requires("cancel")
def test_a_function_that_will_not_end_is_ended(
    isolated: Isolated, follow: Follow, marks: Marks, law_timeout: float
) -> None:
    """A function that ignores the interrupt is ended after the grace."""
    add = marks.add

    @isolated()
    def resist(seconds: float, pause: float) -> None:
        import time

        until = time.monotonic() + seconds
        print("resisting")
        while time.monotonic() < until:
            try:
                add("beat")
                time.sleep(pause)
            except BaseException:
                pass

    recorder = follow(resist, law_timeout, BEAT)
    recorder.wait_for_line("resisting", law_timeout)
    recorder.cancel(0.3)
    expect_cancelled(recorder, law_timeout / 2, "a call that ignores the interrupt", _END)
    assert marks.rest_for(10 * BEAT), f"A cancelled function runs on after Exited. {_GONE}"


@requires("cancel", "crash")
def test_children_of_a_cancelled_call_end(
    isolated: Isolated, follow: Follow, marks: Marks, law_timeout: float
) -> None:
    """Child processes of the function end with it, also in sessions of their own, and orphans."""
    add, identify, start = marks.add, make_identify(), make_start_children()

    @isolated()
    def start_children(seconds: float) -> None:
        import time

        start(lambda: add(identify()), seconds)
        print("started")
        time.sleep(seconds)

    recorder = follow(start_children, 3 * law_timeout)
    recorder.wait_for_line("started", law_timeout)
    recorder.cancel(0.3)
    recorder.wait(law_timeout)
    children = marks.read()
    living = still_living(isolated, children, law_timeout / 4)
    assert not living, (
        f"Of the children {list(map(number_of, children))} of a cancelled call these still "
        f"live: {living}. Start workers with ARGUMENTS, and end one by SIGTERM or the end of "
        "its stream: its guard then ends what it has started. SIGKILL ends only the guard."
    )


@requires("cancel")
def test_a_call_after_a_cancelled_one_works(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A host takes calls after one was cancelled."""

    @isolated()
    def nap(seconds: float) -> str:
        import time

        print("waiting")
        time.sleep(seconds)
        return "done"

    recorder = follow(nap, 10 * law_timeout)
    recorder.wait_for_line("waiting", law_timeout)
    recorder.cancel(1.0)
    recorder.wait(law_timeout)
    look = "A cancelled call leaves the host ready: start a worker in place of the one it took."
    expect(nap(0), "done", "The result of a call after a cancelled one", look)


@requires("cancel")
def test_cancelling_what_has_ended_does_nothing(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Cancelling a call after its end, or twice, is no error and changes nothing."""

    @isolated()
    def give() -> int:
        return 1

    recorder = follow(give)
    recorder.wait(law_timeout)
    recorder.cancel(0.1)
    recorder.cancel(0.1)
    time.sleep(0.4)  # No other event must come meanwhile.
    look = f"Ignore cancel after the end. These events came: {recorder.told}."
    expect(recorder.result(law_timeout), 1, "The result of a call that had ended", look)
    kinds = [type(event).__name__ for event in recorder.events]
    expect(kinds.count("Exited"), 1, "The number of Exited after a late cancel", look)
    expect(give(), 1, "The result of the next call", look)


@requires("cancel", "option max_concurrency")
def test_a_call_that_waits_can_be_cancelled(
    isolated: Isolated, follow: Follow, marks: Marks, law_timeout: float
) -> None:
    """A call that is cancelled while it waits for its turn ends at once, and never runs."""
    add = marks.add

    @isolated(max_concurrency=1)
    def wait(name: str, seconds: float) -> None:
        import time

        add(name)
        print("waiting")
        time.sleep(seconds)

    first = follow(wait, "first", 10 * law_timeout)
    first.wait_for_line("waiting", law_timeout)
    second = follow(wait, "second", 0)
    second.cancel(1.0)
    expect_cancelled(second, law_timeout, "a call that was cancelled while it waited", _END)
    look = "Cancel a call that waits without touching the one that runs, and never start it."
    expect(first.ended, False, "Whether the call that runs has ended", look)
    # Marks are read by a call too, for which there may be no other place.
    first.cancel(1.0)
    first.wait(law_timeout)
    lines = marks.read()
    assert "second" not in lines, f"A call ran that was cancelled while it waited. {look}"


@requires("cancel", "concurrency 2")
def test_a_future_that_is_cancelled_ends_its_call(
    isolated: Isolated, marks: Marks, law_timeout: float
) -> None:
    """Cancelling the future of a submitted call ends the call, also while it runs."""
    add = marks.add

    @isolated()
    def throb(seconds: float, pause: float) -> None:
        import time

        until = time.monotonic() + seconds
        while time.monotonic() < until:
            add("beat")
            time.sleep(pause)

    future = throb.submit(law_timeout, BEAT)
    wait_until(lambda: bool(marks.read()), law_timeout / 4)
    cancelled = (future.cancel(), future.cancelled())
    expect(cancelled, (True, True), "What cancel and cancelled of a future returned", _END)

    assert wait_until(lambda: marks.rest_for(6 * BEAT), law_timeout / 4), (
        f"The future of a call was cancelled, and its function runs on. {_END}"
    )


@requires("cancel")
def test_an_async_function_is_cancelled_as_its_task(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Cancelling an ``async def`` function cancels its task: it can clean up."""

    @isolated()
    async def wait_and_clean_up(seconds: float) -> None:
        import asyncio

        print("waiting")
        try:
            await asyncio.sleep(seconds)
        finally:
            # To clean up takes a moment.
            await asyncio.sleep(0.2)
            print("cleaned up")

    recorder = follow(wait_and_clean_up, 10 * law_timeout)
    recorder.wait_for_line("waiting", law_timeout)
    recorder.cancel(law_timeout / 4)
    expect_cancelled(recorder, law_timeout, "a cancelled task", _END)
    printed = [log.message for log in recorder.printed]
    assert "cleaned up" in printed, (
        f"A cancelled task was given {law_timeout / 4:g} s to clean up: expected the line "
        f"'cleaned up' before Exited, found {printed}. Execution.cancel(grace) interrupts at "
        "first, and ends the process only once grace is over."
    )


@requires("cancel")
def test_a_cancelled_result_is_an_error(isolated: Isolated, law_timeout: float) -> None:
    """Waiting for a spawned call that is cancelled raises an error that says so."""
    from concurrent.futures import CancelledError

    @isolated()
    def idle(seconds: float) -> None:
        import time

        time.sleep(seconds)

    info = idle.spawn(10 * law_timeout)
    info.cancel(0.5)
    with expect_error((Cancelled, CancelledError), _END):
        result_of(info.future, law_timeout, "a spawned call that was cancelled")
