"""
Laws of errors: what the function raises arrives as itself.
"""

from __future__ import annotations

import pytest

from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.marks import Isolated


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
    ``SystemExit`` ends the call, not the caller: it arrives as itself.
    """

    @isolated()
    def leave() -> None:
        raise SystemExit(4)

    with pytest.raises(SystemExit) as caught:
        leave()
    assert caught.value.code == 4


def test_an_interrupt_of_the_function_is_an_error(isolated: Isolated) -> None:
    """
    ``KeyboardInterrupt`` raised by the function arrives as itself.
    """

    @isolated()
    def interrupt() -> None:
        raise KeyboardInterrupt("own")

    with pytest.raises(KeyboardInterrupt, match="own"):
        interrupt()


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
