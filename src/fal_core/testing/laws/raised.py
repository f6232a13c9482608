"""
Laws of errors: what the function raises arrives as itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.errors import UserFunctionException
from fal_core.hosts import Host
from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.marks import Isolated
from fal_core.testing.harness.recorders import Follow


def test_an_error_arrives_as_itself(isolated: Isolated) -> None:
    """
    The caller sees the exception the function raised, not a wrapper.
    """

    @isolated()
    def fail() -> None:
        raise LookupError("gone", 3)

    with pytest.raises(LookupError) as caught:
        fail()
    assert type(caught.value) is LookupError
    assert caught.value.args == ("gone", 3)


def test_the_remote_traceback_is_the_cause(isolated: Isolated) -> None:
    """
    The cause of an error shows where the function raised it, and no frames of fal-core.
    """

    @isolated()
    def fail_in_here() -> None:
        raise LookupError("gone")

    with pytest.raises(LookupError) as caught:
        fail_in_here()
    cause = str(caught.value.__cause__)
    assert "in fail_in_here" in cause
    assert cause.count('  File "') == 1, cause


def test_an_error_of_the_callers_class_is_of_that_class(isolated: Isolated) -> None:
    """
    An exception of a class that travelled with the function is of that very class.

    That holds too where its ``__init__`` takes other arguments than ``Exception``.
    """

    class Odd(Exception):
        def __init__(self, *, code: int) -> None:
            super().__init__(f"code {code}")
            self.code = code

    @isolated()
    def fail() -> None:
        raise Odd(code=7)

    with pytest.raises(Odd, match="code 7") as caught:
        fail()
    assert caught.value.code == 7


def test_an_error_of_an_unknown_class_keeps_its_name_and_bases(isolated: Isolated) -> None:
    """
    Where the class of an error is missing, a class of the same name and bases replaces it.
    """

    @isolated()
    def fail() -> None:
        import sys
        import types

        module = types.ModuleType("only_there")
        sys.modules["only_there"] = module
        exec("class Unknown(LookupError): pass", module.__dict__)
        raise module.Unknown("gone")

    with pytest.raises(LookupError, match="gone") as caught:
        fail()
    assert type(caught.value).__name__ == "Unknown"


def test_what_caused_an_error_is_kept(isolated: Isolated) -> None:
    """
    An error that was raised from another still shows the other.
    """

    @isolated()
    def fail() -> None:
        try:
            raise KeyError("missing")
        except KeyError as error:
            raise RuntimeError("wrapped") from error

    with pytest.raises(RuntimeError, match="wrapped") as caught:
        fail()
    shown: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        shown.append(type(error).__name__)
        error = error.__cause__ or error.__context__
    assert "KeyError" in shown


def test_an_exit_of_the_function_is_an_error(isolated: Isolated) -> None:
    """
    ``SystemExit`` ends the call, not the caller, whatever its code: it is the cause of a
    ``UserFunctionException``.
    """

    @isolated()
    def leave(code: int) -> None:
        import sys

        sys.exit(code)

    for code in (4, 0):
        with pytest.raises(UserFunctionException, match=f"SystemExit: {code}") as caught:
            leave(code)
        assert type(caught.value.__cause__) is SystemExit
        assert caught.value.__cause__.code == code


def test_an_interrupt_of_the_function_is_an_error(isolated: Isolated) -> None:
    """
    ``KeyboardInterrupt`` raised by the function does not interrupt the caller.
    """

    @isolated()
    def interrupt() -> None:
        raise KeyboardInterrupt("own")

    with pytest.raises(UserFunctionException, match="own") as caught:
        interrupt()
    assert type(caught.value.__cause__) is KeyboardInterrupt


def test_an_exit_is_an_error_in_every_way_of_calling(
    host: Host[..., Any], isolated: Isolated, law_timeout: float
) -> None:
    """
    What is no ``Exception`` is the cause of the error of futures, spawned calls, items of
    maps, streams and asynchronous functions too, and the host goes on.
    """

    @isolated()
    def give_up(wanted: bool) -> bool:
        if wanted:
            raise SystemExit(5)
        return wanted

    @isolated()
    async def give_up_async() -> None:
        raise SystemExit(5)

    @isolated()
    def give_up_later() -> Iterator[int]:
        yield 1
        raise SystemExit(5)

    errors: list[Any] = [
        give_up.submit(True).exception(law_timeout),
        give_up.spawn(True).future.exception(law_timeout),
        *give_up.map([True, True], return_exceptions=True),
        give_up_async.submit().exception(law_timeout),
    ]
    if host.capabilities.stream:
        items = give_up_later()
        assert next(items) == 1
        with pytest.raises(UserFunctionException) as caught:
            next(items)
        errors.append(caught.value)
    for error in errors:
        assert type(error) is UserFunctionException
        assert type(error.__cause__) is SystemExit
        assert error.__cause__.code == 5
    assert give_up(False) is False


def test_an_exit_of_an_async_function_prints_nothing(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    The loop of an ``async def`` function that exits does not complain of it.
    """

    @isolated()
    async def leave_quietly() -> None:
        raise SystemExit(5)

    @isolated()
    def collect() -> None:
        import gc

        gc.collect()

    for each in (leave_quietly, collect):
        recorder = follow(each)
        recorder.wait(law_timeout)
        assert [log.message for log in recorder.printed] == []


@requires("option setup_function")
def test_an_exit_of_the_setup_is_an_error(isolated: Isolated) -> None:
    """
    A setup function that exits fails the call.
    """

    def load() -> None:
        raise SystemExit(6)

    @isolated(setup_function=load)
    def use_loaded(loaded: None) -> None:
        return loaded

    with pytest.raises(UserFunctionException) as caught:
        use_loaded()
    assert type(caught.value.__cause__) is SystemExit


def test_a_call_after_an_error_works(isolated: Isolated) -> None:
    """
    A function that raised can be called again.
    """

    @isolated()
    def divide(number: int) -> float:
        return 6 / number

    with pytest.raises(ZeroDivisionError):
        divide(0)
    assert divide(2) == 3


@requires("batch")
def test_an_error_in_a_batch_is_of_its_item_alone(isolated: Isolated) -> None:
    """
    One item that raises leaves the results of the others alone.
    """

    @isolated()
    def invert(number: int) -> float:
        return 12 / number

    numbers = [1, 2, 0, 3, 4, 0, 6]
    outcomes = list(invert.map(numbers * 3, return_exceptions=True))
    for number, outcome in zip(numbers * 3, outcomes, strict=True):
        if number:
            assert outcome == 12 / number
        else:
            assert type(outcome) is ZeroDivisionError
