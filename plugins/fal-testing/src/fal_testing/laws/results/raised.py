"""Laws of errors: what the function raises arrives as itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fal_core.errors import UserFunctionException
from fal_core.hosts import Host
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import error_of, expect, expect_error, expect_printed
from fal_testing.harness.marks import Isolated
from fal_testing.harness.recorders import Follow

LOOK = "Pass on an outcome that has raised as it came, sealed."
_EXITS = (
    "The worker reports what is no Exception as an outcome too: pass it on, and keep the "
    "worker, which goes on."
)


def test_an_error_arrives_as_itself(isolated: Isolated) -> None:
    """The caller sees the exception the function raised, not a wrapper."""

    @isolated()
    def fail() -> None:
        raise LookupError("gone", 3)

    with expect_error(LookupError, LOOK) as caught:
        fail()
    expect(type(caught.value), LookupError, "The type of the error", LOOK)
    expect(caught.value.args, ("gone", 3), "The arguments of the error", LOOK)


def test_the_remote_traceback_is_the_cause(isolated: Isolated) -> None:
    """The cause of an error shows where the function raised it, and no frames of fal-core."""

    @isolated()
    def fail_in_here() -> None:
        raise LookupError("gone")

    with expect_error(LookupError, LOOK) as caught:
        fail_in_here()
    cause = str(caught.value.__cause__)
    frames = cause.count('  File "')
    assert "in fail_in_here" in cause, (
        f"The cause of the error shows no frame of the function, but {cause!r}. {LOOK}"
    )
    expect(frames, 1, f"The number of frames in the remote traceback {cause!r}", LOOK)


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

    with expect_error(Odd, LOOK, match="code 7") as caught:
        fail()
    expect(caught.value.code, 7, "An attribute of the error", LOOK)


def test_an_error_of_an_unknown_class_keeps_its_name_and_bases(isolated: Isolated) -> None:
    """Where the class of an error is missing, a class of the same name and bases replaces it."""

    @isolated()
    def fail() -> None:
        import sys
        import types

        module = types.ModuleType("only_there")
        sys.modules["only_there"] = module
        exec("class Unknown(LookupError): pass", module.__dict__)
        raise module.Unknown("gone")

    with expect_error(LookupError, LOOK, match="gone") as caught:
        fail()
    expect(type(caught.value).__name__, "Unknown", "The name of the error's class", LOOK)


def test_what_caused_an_error_is_kept(isolated: Isolated) -> None:
    """An error that was raised from another still shows the other."""

    @isolated()
    def fail() -> None:
        try:
            raise KeyError("missing")
        except KeyError as error:
            raise RuntimeError("wrapped") from error

    with expect_error(RuntimeError, LOOK, match="wrapped") as caught:
        fail()
    shown: list[str] = []
    error: BaseException | None = caught.value
    while error is not None:
        shown.append(type(error).__name__)
        error = error.__cause__ or error.__context__
    assert "KeyError" in shown, (
        f"The causes of the error: expected KeyError among them, found {shown}. {LOOK}"
    )


def test_an_exit_of_the_function_is_an_error(isolated: Isolated) -> None:
    """
    ``SystemExit`` ends the call, not the caller, regardless of its code: it is the cause of a
    ``UserFunctionException``.
    """

    @isolated()
    def leave(code: int) -> None:
        import sys

        sys.exit(code)

    for code in (4, 0):
        said = f"SystemExit: {code}"
        with expect_error(UserFunctionException, _EXITS, match=said) as caught:
            leave(code)
        found = (type(caught.value.__cause__), getattr(caught.value.__cause__, "code", None))
        expect(found, (SystemExit, code), "The cause of the error, and its code", _EXITS)


def test_an_interrupt_of_the_function_is_an_error(isolated: Isolated) -> None:
    """``KeyboardInterrupt`` raised by the function does not interrupt the caller."""

    @isolated()
    def interrupt() -> None:
        raise KeyboardInterrupt("own")

    with expect_error(UserFunctionException, _EXITS, match="own") as caught:
        interrupt()
    cause = type(caught.value.__cause__)
    expect(cause, KeyboardInterrupt, "The cause of the error", _EXITS)


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
        error_of(give_up.submit(True), law_timeout),
        error_of(give_up.spawn(True).future, law_timeout, "a spawned call"),
        *give_up.map([True, True], return_exceptions=True),
        error_of(give_up_async.submit(), law_timeout),
    ]
    if host.capabilities.stream:
        items = give_up_later()
        expect(next(items), 1, "The first item of a stream that exits", _EXITS)
        with expect_error(UserFunctionException, _EXITS) as caught:
            next(items)
        errors.append(caught.value)
    for error in errors:
        expect(type(error), UserFunctionException, f"The type of {error!r}", _EXITS)
        found = (type(error.__cause__), getattr(error.__cause__, "code", None))
        expect(found, (SystemExit, 5), "The cause of the error, and its code", _EXITS)
    expect(give_up(False), False, "The result of the next call", _EXITS)


def test_an_exit_of_an_async_function_prints_nothing(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """The loop of an ``async def`` function that exits does not complain of it."""

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
        expect_printed(recorder, [], "Add no line to what the function printed.")


@requires("option setup_function")
def test_an_exit_of_the_setup_is_an_error(isolated: Isolated) -> None:
    """A setup function that exits fails the call."""

    def load() -> None:
        raise SystemExit(6)

    @isolated(setup_function=load)
    def use_loaded(loaded: None) -> None:
        return loaded

    with expect_error(UserFunctionException, _EXITS) as caught:
        use_loaded()
    expect(type(caught.value.__cause__), SystemExit, "The cause of the error", _EXITS)


def test_a_call_after_an_error_works(isolated: Isolated) -> None:
    """A function that raised can be called again."""

    @isolated()
    def divide(number: int) -> float:
        return 6 / number

    with expect_error(ZeroDivisionError, LOOK):
        divide(0)
    expect(divide(2), 3, "The result of a call after one that raised", "Keep the worker.")


@requires("batch")
def test_an_error_in_a_batch_is_of_its_item_alone(isolated: Isolated) -> None:
    """One item that raises leaves the results of the others alone."""

    @isolated()
    def invert(number: int) -> float:
        return 12 / number

    numbers = [1, 2, 0, 3, 4, 0, 6]
    outcomes = list(invert.map(numbers * 3, return_exceptions=True))
    expect(
        [type(each) if isinstance(each, Exception) else each for each in outcomes],
        [12 / number if number else ZeroDivisionError for number in numbers * 3],
        "The results and errors of a batch",
        "Pass on each item of a batch as it came, with whether it raised.",
    )
