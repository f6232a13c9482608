"""Laws of workers that run several calls at once."""

from __future__ import annotations

from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_cancelled, expect_printed
from fal_testing.harness.identities import make_identify
from fal_testing.harness.marks import Isolated
from fal_testing.harness.recorders import Follow

LOOK = (
    "With max_multiplexing=2 give a second call to the worker that runs the first, whose "
    "Worker.launch takes several; without that, do not claim `multiplex`."
)

SHARED = {"max_multiplexing": 2, "max_concurrency": 1}


@requires("multiplex", at_once=2)
def test_calls_of_one_worker_run_at_once(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """With ``max_multiplexing`` two calls meet in one worker."""

    identify = make_identify()

    @isolated(**SHARED)
    def meet_in_threads(timeout: float) -> str:
        import sys
        import threading

        # Setting a default is atomic: both get one barrier.
        module = sys.modules.setdefault("meeting", type(sys)("meeting"))
        barrier = module.__dict__.setdefault("barrier", threading.Barrier(2))
        try:
            barrier.wait(timeout)
        except threading.BrokenBarrierError:
            return ""
        return identify()

    recorders = [follow(meet_in_threads, law_timeout / 2) for _ in range(2)]
    _expect_met(*(recorder.result(law_timeout) for recorder in recorders))


@requires("multiplex", at_once=2)
def test_async_calls_of_one_worker_run_at_once(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """With ``max_multiplexing`` two ``async def`` calls are tasks of one worker."""

    identify = make_identify()

    @isolated(**SHARED)
    async def meet_in_tasks(name: str, timeout: float) -> str:
        import asyncio
        import sys
        import time

        module = sys.modules.setdefault("meeting", type(sys)("meeting"))
        here = module.__dict__.setdefault("here", set())
        here.add(name)
        until = time.monotonic() + timeout
        while len(here) < 2 and time.monotonic() < until:
            await asyncio.sleep(0.01)
        return identify() if len(here) == 2 else ""

    recorders = [follow(meet_in_tasks, name, law_timeout / 2) for name in ("first", "second")]
    _expect_met(*(recorder.result(law_timeout) for recorder in recorders))


@requires("multiplex", at_once=2)
def test_lines_of_calls_at_once_do_not_mix(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A line that one call of a worker prints belongs to that call."""

    @isolated(**SHARED)
    def chant(name: str) -> None:
        import time

        for number in range(20):
            print(name, number)
            time.sleep(0.002)

    recorders = {name: follow(chant, name) for name in ("first", "second")}
    for name, recorder in recorders.items():
        recorder.result(law_timeout)
        expect_printed(
            recorder,
            [f"{name} {number}" for number in range(20)],
            "Give each line to the call that its call_id names.",
        )


@requires("multiplex", "cancel", at_once=2)
def test_cancelling_one_leaves_its_neighbour_alone(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Cancelling one call of a worker does not touch the others."""

    @isolated(**SHARED)
    async def wait(seconds: float) -> str:
        import asyncio

        print("waiting")
        await asyncio.sleep(seconds)
        return "done"

    first, second = follow(wait, 10 * law_timeout), follow(wait, 1.5)
    first.wait_for_line("waiting", law_timeout)
    second.wait_for_line("waiting", law_timeout)
    # Once the grace is over the worker may end: a slow machine needs the time.
    first.cancel(law_timeout)
    look = "Cancel the call in its worker, and end the worker only if the grace is over."
    expect_cancelled(first, law_timeout, "a cancelled call", look)
    expect(
        second.result(law_timeout),
        "done",
        "The result of a call whose neighbour was cancelled",
        look,
    )


def _expect_met(first: str, second: str) -> None:
    """Raise an AssertionError if two calls have not met in one process, which each has named."""
    have_met = bool(first and second)
    assert have_met, f"Two calls waited for each other in one worker, and did not meet. {LOOK}"
    expect(first, second, "The processes of two calls that may share a worker", LOOK)
