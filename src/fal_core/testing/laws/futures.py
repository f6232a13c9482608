"""
Laws of futures: submitted and spawned calls.
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, wait
from typing import Any

import pytest

from fal_core.errors import Cancelled
from fal_core.hosts import Host
from fal_core.testing.harness.expectations import expect, result_of
from fal_core.testing.harness.marks import Isolated


def test_every_future_has_its_own_result(isolated: Isolated, law_timeout: float) -> None:
    """
    Many submitted calls each give the result of their own arguments.
    """

    @isolated()
    def twice(number: int) -> int:
        return 2 * number

    futures = [twice.submit(number) for number in range(60)]
    wait(futures, law_timeout)
    assert [future.result(0) for future in futures] == [2 * number for number in range(60)]


def test_a_future_raises_what_its_call_raised(isolated: Isolated, law_timeout: float) -> None:
    """
    The error of one submitted call is raised by its future, and by no other.
    """

    @isolated()
    def pick(number: int) -> int:
        if number % 7 == 3:
            raise LookupError(number)
        return number

    futures = [pick.submit(number) for number in range(30)]
    wait(futures, law_timeout)
    for number, future in enumerate(futures):
        error = future.exception(0)
        if number % 7 == 3:
            assert type(error) is LookupError
            assert error.args == (number,)
        else:
            assert future.result(0) == number


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
    assert cancelled or not host.capabilities.cancel
    assert wait(cancelled, 0).done == {*cancelled}
    for future in cancelled:
        assert future.cancelled()
        assert future.cancel()
        with pytest.raises(Cancelled) as caught:
            future.result(0)
        assert isinstance(caught.value, CancelledError)
    for start in (ponder.submit, lambda seconds: ponder.spawn(seconds).future):
        future = start(0)
        assert future.result(law_timeout) == "done"
        assert not future.cancel()
        assert not future.cancelled()
        assert future.result(0) == "done"


def test_a_callback_may_make_calls(isolated: Isolated, law_timeout: float) -> None:
    """
    A callback of a submitted call may call another function, and wait for its result.
    """

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
    expect(
        result_of(answer, law_timeout, "a function that a callback has called"),
        20,
        "The result of a function that a callback has called",
        "launch may be called by any thread, also while events are delivered: hold no lock "
        "while the sink is called.",
    )


def test_a_spawned_call_can_be_followed(isolated: Isolated, law_timeout: float) -> None:
    """
    ``spawn`` gives the result as a future, and the lines in a queue.
    """

    @isolated()
    def converse() -> str:
        print("spawned")
        return "done"

    info = converse.spawn()
    assert info.future is not None
    assert info.future.result(law_timeout) == "done"
    lines = [info.logs.get_nowait() for _ in range(info.logs.qsize())]
    assert "spawned" in [line.message for line in lines]


def test_a_spawned_call_raises_what_it_raised(isolated: Isolated, law_timeout: float) -> None:
    """
    The future of a spawned call raises what the function raised.
    """

    @isolated()
    def collapse() -> None:
        raise LookupError("gone")

    info = collapse.spawn()
    assert info.future is not None
    with pytest.raises(LookupError, match="gone"):
        info.future.result(law_timeout)


def test_a_spawned_call_that_serves_nothing_has_no_url(isolated: Isolated) -> None:
    """
    Asking for the URL of a call that ends without one is an error.
    """

    @isolated()
    def rest() -> int:
        return 1

    info = rest.spawn()
    with pytest.raises(ValueError, match="url"):
        _ = info.url
