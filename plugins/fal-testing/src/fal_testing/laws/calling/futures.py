"""Laws of futures: submitted and spawned calls."""

from __future__ import annotations

from concurrent.futures import CancelledError, Future
from typing import Any

from fal_core.errors import Cancelled
from fal_core.hosts import Host
from fal_testing.harness.expectations import (
    error_of,
    expect,
    expect_error,
    expect_no_error,
    result_of,
    wait_for_all,
)
from fal_testing.harness.marks import Isolated


def test_every_future_has_its_own_result(isolated: Isolated, law_timeout: float) -> None:
    """Many submitted calls each give the result of their own arguments."""

    @isolated()
    def twice(number: int) -> int:
        return 2 * number

    futures = [twice.submit(number) for number in range(60)]
    wait_for_all(futures, law_timeout)
    expect(
        [future.result(0) for future in futures],
        [2 * number for number in range(60)],
        "The results of submitted calls",
        "Pass on the outcomes of a batch in the order of its items.",
    )


def test_a_future_raises_what_its_call_raised(isolated: Isolated, law_timeout: float) -> None:
    """The error of one submitted call is raised by its future, and by no other."""

    @isolated()
    def pick(number: int) -> int:
        if number % 7 == 3:
            raise LookupError(number)
        return number

    futures = [pick.submit(number) for number in range(30)]
    wait_for_all(futures, law_timeout)
    ends = []
    for future in futures:
        error = future.exception(0)
        ends.append(future.result(0) if error is None else (type(error), error.args))
    expect(
        ends,
        [(LookupError, (n,)) if n % 7 == 3 else n for n in range(30)],
        "The results and errors of submitted calls, every seventh of which raises",
        "Pass on each item of a batch as it came, with whether it raised.",
    )


def test_a_future_that_is_cancelled_is_settled(
    host: Host[..., Any], isolated: Isolated, law_timeout: float
) -> None:
    """
    Where ``cancel`` of a future returns True it is cancelled from then on, before its call
    has a worker too: nobody waits for it any longer, and what its call answers is dropped. It
    returns False for a future that has its result.
    """
    # A host that cannot end calls runs them to their end.
    seconds = 10 * law_timeout if host.capabilities.cancel else 2.0

    @isolated()
    def ponder(seconds: float) -> str:
        import time

        time.sleep(seconds)
        return "done"

    futures = [ponder.submit(seconds), ponder.spawn(seconds).future]
    cancelled = [future for future in futures if future.cancel()]
    look = "Execution.cancel returns at once, raises nothing, and may come at any time."
    assert cancelled or not host.capabilities.cancel, (
        f"No future could be cancelled, though the host claims cancel. {look}"
    )
    settled = [future.done() and future.cancelled() for future in cancelled]
    expect(settled, [True] * len(cancelled), "Whether cancelled futures are settled", look)
    for future in cancelled:
        expect(future.cancel(), True, "What cancel of a cancelled future returns", look)
        with expect_error(Cancelled, look) as caught:
            future.result(0)
        assert isinstance(caught.value, CancelledError), (
            "The error of a cancelled future is no concurrent.futures.CancelledError."
        )
    for start in (ponder.submit, lambda seconds: ponder.spawn(seconds).future):
        future = start(0)
        expect(result_of(future, law_timeout), "done", "The result of a later call", look)
        late = (future.cancel(), future.cancelled(), future.result(0))
        what = "What cancel, cancelled and result return once a future has its result"
        expect(late, (False, False, "done"), what, look)


def test_a_callback_may_make_calls(isolated: Isolated, law_timeout: float) -> None:
    """A callback of a submitted call may call another function, and wait for its result."""

    @isolated()
    def ask_first(number: int) -> int:
        return number + 1

    @isolated()
    def ask_next(number: int) -> int:
        return 10 * number

    answer: Future[int] = Future()

    def go_on(future: Future[int]) -> None:
        try:
            answer.set_result(ask_next(future.result(0)))
        except BaseException as error:
            answer.set_exception(error)

    ask_first.submit(1).add_done_callback(go_on)
    look = (
        "launch may be called by any thread, also while events are delivered: hold no lock "
        "while the sink is called."
    )
    with expect_no_error(look):
        result = result_of(answer, law_timeout, "a function that a callback has called")
    expect(result, 20, "The result of a function that a callback has called", look)


def test_a_spawned_call_can_be_followed(isolated: Isolated, law_timeout: float) -> None:
    """``spawn`` gives the result as a future, and the lines in a queue."""

    @isolated()
    def converse() -> str:
        print("spawned")
        return "done"

    info = converse.spawn()
    look = "Pass on the outcome and each Log, whether or not a caller waits."
    result = result_of(info.future, law_timeout, "a spawned call")
    expect(result, "done", "The result of a spawned call", look)
    lines = [info.logs.get_nowait().message for _ in range(info.logs.qsize())]
    assert "spawned" in lines, (
        f"The lines of a spawned call: expected 'spawned' among them, found {lines}. {look}"
    )


def test_a_spawned_call_raises_what_it_raised(isolated: Isolated, law_timeout: float) -> None:
    """The future of a spawned call raises what the function raised."""

    @isolated()
    def collapse() -> None:
        raise LookupError("gone")

    info = collapse.spawn()
    look = "Pass on an outcome that has raised, whether or not a caller waits."
    error = error_of(info.future, law_timeout, "a spawned call")
    expect(repr(error), "LookupError('gone')", "The error of a spawned call", look)


def test_a_spawned_call_that_serves_nothing_has_no_url(isolated: Isolated) -> None:
    """Asking for the URL of a call that ends without one is an error."""

    @isolated()
    def rest() -> int:
        return 1

    info = rest.spawn()
    look = "Send Ready for services alone, once they can be reached."
    with expect_error(ValueError, look, match="url"):
        _ = info.url
