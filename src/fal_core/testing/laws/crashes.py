"""
Laws of crashes: a worker that is lost is noticed, and leaves nothing behind.
"""

from __future__ import annotations

from concurrent.futures import wait

import pytest

from fal_core.errors import HostError, WorkerLost
from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.marks import Isolated, Marks, make_living
from fal_core.testing.harness.processes import wait_until
from fal_core.testing.harness.recorders import Follow


@requires("crash")
def test_a_worker_that_exits_is_lost(isolated: Isolated) -> None:
    """
    A function that ends its process is a ``WorkerLost``, with the code where it is known.
    """

    @isolated()
    def leave_by_itself() -> None:
        import os

        os._exit(3)

    with pytest.raises(WorkerLost) as caught:
        leave_by_itself()
    assert caught.value.code in (3, None)


@requires("crash")
def test_a_worker_that_is_killed_is_lost(isolated: Isolated) -> None:
    """
    A worker ended by a signal is a ``WorkerLost``, with the signal where it is known.
    """

    @isolated()
    def die() -> None:
        import os
        import signal

        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLost) as caught:
        die()
    assert caught.value.signal in (9, None)


@requires("crash")
def test_a_crash_is_the_reason_of_the_end(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    A call whose worker is lost has no outcome, and an error of the host as its reason.
    """

    @isolated()
    def vanish() -> None:
        import os

        os._exit(3)

    recorder = follow(vanish)
    exited = recorder.wait(law_timeout)
    assert recorder.outcome is None
    assert isinstance(exited.reason, HostError)


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
    assert [log.message for log in recorder.printed] == ["before"]


@requires("crash")
def test_a_call_after_a_crash_works(isolated: Isolated) -> None:
    """
    A host takes calls after a worker was lost.
    """

    @isolated()
    def leave_or_stay(now: bool) -> str:
        import os

        if now:
            os._exit(3)
        return "here"

    with pytest.raises(WorkerLost):
        leave_or_stay(True)
    assert leave_or_stay(False) == "here"


@requires("crash")
def test_children_of_a_lost_worker_end(
    isolated: Isolated, marks: Marks, law_timeout: float
) -> None:
    """
    Child processes of a lost worker end too, also in sessions of their own, and orphans.
    """
    add = marks.add

    @isolated()
    def leave_children(seconds: float) -> None:
        import os
        import time

        readers = []
        for session, twice in ((False, False), (True, False), (True, True)):
            reader, writer = os.pipe()
            readers.append(reader)
            if not os.fork():
                if session:
                    os.setsid()
                if twice and os.fork():
                    os._exit(0)
                add(os.getpid())
                os.write(writer, b"1")
                time.sleep(seconds)
                os._exit(0)
        for reader in readers:
            os.read(reader, 1)
        os._exit(3)

    with pytest.raises(WorkerLost):
        leave_children(3 * law_timeout)
    pids = [int(line) for line in marks.read()]
    living = isolated()(make_living())
    assert wait_until(lambda: not living(pids), law_timeout / 4), living(pids)


@requires("crash")
def test_a_lost_call_is_not_run_again_unasked(isolated: Isolated, marks: Marks) -> None:
    """
    A call that may have run is run again only where ``retries`` says so.
    """
    add = marks.add

    @isolated()
    def leave_once() -> None:
        import os

        add("ran")
        os._exit(3)

    with pytest.raises(WorkerLost):
        leave_once()
    assert len(marks.read()) <= 1


@requires("crash")
def test_a_lost_call_is_run_again_where_it_is_asked_for(
    isolated: Isolated, marks: Marks
) -> None:
    """
    With ``retries`` a call, spawned or not, is made again after its worker was lost.
    """
    add = marks.add

    @isolated(retries=2)
    def leave_always() -> None:
        import os

        add("ran")
        os._exit(3)

    with pytest.raises(WorkerLost):
        leave_always()
    # Where marks cannot be read, at least the error arrives.
    assert len(marks.read()) in (0, 3)
    with pytest.raises(WorkerLost):
        assert leave_always.spawn().return_value is None
    assert len(marks.read()) in (0, 6)


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
    wait(futures, law_timeout)
    for number, future in enumerate(futures):
        error = future.exception(0)
        if error is None:
            assert future.result(0) == number
        else:
            assert isinstance(error, WorkerLost)
    assert isinstance(futures[77].exception(0), WorkerLost)
    ran = marks.read()
    assert len(ran) == len(set(ran))
