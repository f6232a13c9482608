"""Laws of crashes: a worker that is lost is noticed, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fal_core.errors import HostError, WorkerLost
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_error, expect_printed, wait_for_all
from fal_testing.harness.identities import (
    make_identify,
    make_start_children,
    number_of,
    still_living,
)
from fal_testing.harness.marks import Isolated, Marks
from fal_testing.harness.recorders import Follow, Recorder

LOOK = (
    "Where the stream of a worker ends unasked, end its calls with Exited and a WorkerLost "
    "that has the exit code or the signal, as `lost` of a Worker returns it."
)
#: What to look at where a whole place is lost.
LOOK_AT_PLACES = (
    "Of a machine that is gone comes no word, not even the end of a stream: ask now and then "
    "whether it is there, or ask what manages it, and end its calls with Exited and a "
    "WorkerLost."
)
#: Why the laws of lost places are not checked.
NOT_LOST = (
    "Only the tests of a host can take the place of a call away, and these define no fixture "
    "lose_place: a function of a pid and a hostname, as the call sees its own."
)

#: Takes a place away: it is given the pid and the hostname of a function that runs there.
Lose = Callable[[int, str], object]


@requires("crash")
def test_a_worker_that_exits_is_lost(isolated: Isolated) -> None:
    """A function that ends its process is a ``WorkerLost``, with the code where it is known."""

    @isolated()
    def leave_by_itself() -> None:
        import os

        os._exit(3)

    with expect_error(WorkerLost, LOOK) as caught:
        leave_by_itself()
    code = caught.value.code
    assert code in (3, None), f"The exit code: expected 3 or None, found {code}. {LOOK}"


@requires("crash")
def test_a_worker_that_is_killed_is_lost(isolated: Isolated) -> None:
    """A worker ended by a signal is a ``WorkerLost``, with the signal where it is known."""

    @isolated()
    def die() -> None:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    with expect_error(WorkerLost, LOOK) as caught:
        die()
    signal = caught.value.signal
    assert signal in (9, None), f"The signal: expected 9 or None, found {signal}. {LOOK}"


@requires("crash")
def test_a_crash_is_the_reason_of_the_end(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A call whose worker is lost has no outcome, and an error of the host as its reason."""

    @isolated()
    def vanish() -> None:
        import os

        os._exit(3)

    recorder = follow(vanish)
    exited = recorder.wait(law_timeout)
    expect(recorder.outcome, None, "The outcome of a call whose worker is lost", LOOK)
    assert isinstance(exited.reason, HostError), (
        "The end of a call whose worker is lost: expected Exited with a HostError as its "
        f"reason. These events came: {recorder.told}. {LOOK}"
    )


@requires("crash")
def test_lines_before_a_crash_arrive(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A line that was sent before the worker was lost arrives before the end.

    The function waits until the line must have been sent: many short waits, as a machine
    that stands still for long uses up only one of them.
    """

    @isolated()
    def speak_and_leave() -> None:
        import os
        import time

        print("before")
        for _ in range(50):
            time.sleep(0.01)
        os._exit(3)

    recorder = follow(speak_and_leave)
    recorder.wait(law_timeout)
    look = "Read the stream of a worker to its end before you send Exited."
    expect_printed(recorder, ["before"], look)


@requires("crash")
def test_a_call_after_a_crash_works(isolated: Isolated) -> None:
    """A host takes calls after a worker was lost."""

    @isolated()
    def leave_or_stay(now: bool) -> str:
        import os

        if now:
            os._exit(3)
        return "here"

    with expect_error(WorkerLost, LOOK):
        leave_or_stay(True)
    look = "Start a worker in place of the lost one."
    expect(leave_or_stay(False), "here", "The result of a call after a crash", look)


@requires("crash")
def test_children_of_a_lost_worker_end(
    isolated: Isolated, marks: Marks, law_timeout: float
) -> None:
    """Child processes of a lost worker end too, also in sessions of their own, and orphans."""
    add, identify, start = marks.add, make_identify(), make_start_children()

    @isolated()
    def leave_children(seconds: float) -> None:
        import os

        start(lambda: add(identify()), seconds)
        os._exit(3)

    with expect_error(WorkerLost, LOOK):
        leave_children(3 * law_timeout)
    children = marks.read()
    living = still_living(isolated, children, law_timeout / 4)
    assert not living, (
        f"Of the children {list(map(number_of, children))} of a lost worker these still live: "
        f"{living}. Start workers with ARGUMENTS: their guard ends what they have started, "
        "unless it is killed with them."
    )


@requires("crash")
def test_a_lost_call_is_not_run_again_unasked(isolated: Isolated, marks: Marks) -> None:
    """A call that may have run is run again only where ``retries`` says so."""
    add = marks.add

    @isolated()
    def leave_once() -> None:
        import os

        add("ran")
        os._exit(3)

    with expect_error(WorkerLost, LOOK):
        leave_once()
    runs = len(marks.read())
    assert runs <= 1, (
        f"A call whose worker was lost ran {runs} times; expected once. Leave it to `retries` "
        "to run a call again."
    )


@requires("crash")
def test_a_lost_call_is_run_again_where_it_is_asked_for(
    isolated: Isolated, marks: Marks
) -> None:
    """With ``retries`` a call, spawned or not, is made again after its worker was lost."""
    add = marks.add

    @isolated(retries=2)
    def leave_always() -> None:
        import os

        add("ran")
        os._exit(3)

    look = "Take a call again after its worker was lost, and report each loss as WorkerLost."
    with expect_error(WorkerLost, look):
        leave_always()
    # Where marks cannot be read, at least the error arrives.
    runs = len(marks.read())
    assert runs in (0, 3), f"With retries=2 a call ran {runs} times; expected 3. {look}"
    with expect_error(WorkerLost, look):
        _ = leave_always.spawn().return_value
    runs = len(marks.read()) - runs
    assert runs in (0, 3), f"With retries=2 a spawned call ran {runs} times; expected 3. {look}"


@pytest.fixture
def taking_away(request: pytest.FixtureRequest) -> Lose:
    """The fixture ``lose_place`` of the host's tests, wherever they define it."""
    try:
        lose: Lose = request.getfixturevalue("lose_place")
    except pytest.FixtureLookupError as error:
        if error.argname != "lose_place":
            raise
        pytest.skip(NOT_LOST)
    return lose


@requires("crash")
def test_a_call_whose_place_is_lost_ends(
    isolated: Isolated, follow: Follow, taking_away: Lose, law_timeout: float
) -> None:
    """A call whose place is lost, its machine or its node, ends with an error of the host."""

    @isolated()
    def stay_there(seconds: float) -> None:
        import os
        import socket
        import time

        print(f"at {os.getpid()} {socket.gethostname()}")
        time.sleep(seconds)

    recorder = follow(stay_there, 3 * law_timeout)
    taking_away(*_where(recorder, law_timeout))
    exited = recorder.wait(law_timeout)
    expect(recorder.outcome, None, "The outcome of a call whose place is lost", LOOK_AT_PLACES)
    assert isinstance(exited.reason, HostError), (
        "The end of a call whose place is lost: expected Exited with a HostError as its "
        f"reason. These events came: {recorder.told}. {LOOK_AT_PLACES}"
    )


@requires("crash")
def test_a_call_after_a_lost_place_works(
    isolated: Isolated, follow: Follow, taking_away: Lose, law_timeout: float
) -> None:
    """A host takes calls after a place was lost, at another one or at the one that is back."""

    @isolated()
    def stay_or_leave(seconds: float) -> str:
        import os
        import socket
        import time

        if seconds:
            print(f"at {os.getpid()} {socket.gethostname()}")
        time.sleep(seconds)
        return "here"

    recorder = follow(stay_or_leave, 3 * law_timeout)
    taking_away(*_where(recorder, law_timeout))
    recorder.wait(law_timeout)
    look = "Forget what is known of a place that was lost, and start a worker at another."
    found = follow(stay_or_leave, 0).result(law_timeout)
    expect(found, "here", "The result of a call after a lost place", look)


def _where(recorder: Recorder, seconds: float) -> tuple[int, str]:
    """Return the pid and the hostname that the function of a call prints."""
    line = recorder.wait_for_line_like("at ", seconds).message
    _, pid, hostname = line.split()
    return int(pid), hostname


@requires("crash", "batch")
def test_no_item_of_a_lost_batch_runs_twice(
    isolated: Isolated, marks: Marks, law_timeout: float
) -> None:
    """
    After the worker of a batch was lost, no item that may have run is run again.

    Items before the lost one have their results, or are reported lost with it.
    """
    add = marks.add

    @isolated()
    def leave_at(number: int) -> int:
        import os

        add(number)
        if number == 77:
            os._exit(3)
        return number

    futures = [leave_at.submit(number) for number in range(120)]
    wait_for_all(futures, law_timeout)
    look = "Send Started, as the worker does, before Exited: it tells which items may have run."
    for number, future in enumerate(futures):
        error = future.exception(0)
        if error is None:
            expect(future.result(0), number, f"The result of item {number}", look)
        else:
            expect(type(error), WorkerLost, f"The error of item {number}, {error!r}", look)
    error = futures[77].exception(0)
    expect(type(error), WorkerLost, "The error of the item that ended the worker", look)
    ran = marks.read()
    twice = sorted({line for line in ran if ran.count(line) > 1})
    expect(twice, [], "The items of a lost batch that ran more than once", look)
