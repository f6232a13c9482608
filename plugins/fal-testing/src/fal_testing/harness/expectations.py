"""Expectations: errors that say what was expected of a host, what came, and where to look."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Generic, TypeVar

from fal_core.errors import Cancelled, HostError
from fal_core.events import Level, Log, Outcome
from fal_testing.harness.capabilities import needs_of_the_law
from fal_testing.harness.notes import told_so_far
from fal_testing.harness.recorders import Recorder

E = TypeVar("E", bound=BaseException)

#: What nearly every fault of these laws comes from.
LINES = (
    "See that the host passes on each Log as it came, in its order, and all of them before "
    "Outcome."
)

#: What to look at where a call has not even come to its outcome.
NO_OUTCOME = (
    "The call ended with this error of its host and has no outcome: look at what the error "
    "says, and at what raised it."
)

#: How many characters of a value a sentence shows.
_SHOWN = 200


def expect(found: object, expected: object, what: str, look: str) -> None:
    """
    Raise an AssertionError if *found* is not *expected*.

    Arguments:
        what: What *found* is, as the subject of the sentence.

        look: What the author of the host should look at, as a sentence.
    """
    __tracebackhide__ = True
    if found != expected:
        raise AssertionError(f"{what}: {difference(found, expected)}. {look}")


def expect_printed(recorder: Recorder, lines: list[str], look: str) -> None:
    """Raise an AssertionError if the function of a call has not printed just *lines*."""
    __tracebackhide__ = True
    printed = [log.message for log in recorder.printed]
    expect(
        printed,
        lines,
        "The lines that the function printed",
        f"{look} These events came: {recorder.told}.",
    )


def printed_before_outcome(recorder: Recorder, level: Level = "STDOUT") -> list[str]:
    """Return what the function printed before the outcome."""
    outcomes = [
        index for index, event in enumerate(recorder.events) if isinstance(event, Outcome)
    ]
    assert outcomes, (
        "A call that ends well has an Outcome before Exited, and this one has none. "
        f"These events came: {recorder.told}."
    )
    return [
        event.message
        for event in recorder.events[: outcomes[0]]
        if isinstance(event, Log) and not event.partial
        if event.level == level and event.source == "USER"
    ]


def expect_lines(
    recorder: Recorder, lines: list[str], *, level: Level = "STDOUT", look: str = LINES
) -> None:
    """Raise an AssertionError if the function has not printed just *lines* before the outcome."""
    __tracebackhide__ = True
    what = f"The lines that the function printed to {level} before the outcome"
    look = f"{look} These events came: {recorder.told}."
    expect(printed_before_outcome(recorder, level), lines, what, look)


def expect_cancelled(recorder: Recorder, timeout: float, what: str, look: str) -> None:
    """
    Wait for the end of a call, and raise an AssertionError if it has not ended as cancelled.

    Arguments:
        what: Which call it is, as in ``a cancelled call``.

        look: What the author of the host should look at, as a sentence.
    """
    __tracebackhide__ = True
    assert isinstance(recorder.wait(timeout).reason, Cancelled), (
        f"The end of {what}: expected Exited with the reason Cancelled. These events came: "
        f"{recorder.told}. {look}"
    )


def difference(found: object, expected: object) -> str:
    """Return how *found* differs from *expected*: both, or where long ones begin to differ."""
    whole = f"expected {short(expected)}, found {short(found)}"
    is_long = max(len(repr(found)), len(repr(expected))) > _SHOWN
    if (
        not is_long
        or not isinstance(found, list | str | bytes)
        or type(expected) is not type(found)
    ):
        return whole
    pairs = enumerate(itertools.zip_longest(expected, found, fillvalue=_MISSING))
    at, (wanted, came) = next(pair for pair in pairs if pair[1][0] != pair[1][1])
    return (
        f"expected {short(wanted)} at index {at} of {len(expected)}, found {short(came)}, and "
        f"{len(found)} in all"
    )


def short(value: object) -> str:
    """Return how *value* is shown in a sentence."""
    shown = repr(value)
    if len(shown) > _SHOWN:
        half = _SHOWN // 2
        shown = f"{shown[:half]}...{shown[-half:]} ({len(shown)} characters)"
    return shown


def named(error: BaseException) -> str:
    """Return how *error* is shown in a sentence: its class and what it says."""
    said = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name} ({said[:_SHOWN]})" if said else name


def advice_for(error: BaseException, look: str) -> str:
    """
    Return what the author of a host should look at where *error* came and was not expected:
    *look*, but for an error of the host itself.
    """
    return NO_OUTCOME if isinstance(error, HostError) else look


class _Missing:
    """Stands for what is not there."""

    def __repr__(self) -> str:
        return "nothing"


_MISSING = _Missing()


class expect_error(Generic[E]):  # it reads like pytest.raises
    """
    A context that is left by an error of *kind*, and by nothing else.

    Attributes:
        value: The error.
    """

    value: E

    def __init__(
        self, kind: type[E] | tuple[type[E], ...], look: str, *, match: str | None = None
    ) -> None:
        self._kind = kind
        self._look = look
        self._match = match

    def __enter__(self) -> expect_error[E]:
        return self

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        __tracebackhide__ = True
        kinds = self._kind if isinstance(self._kind, tuple) else (self._kind,)
        wanted = " or ".join(each.__name__ for each in kinds)
        if error is None:
            raise AssertionError(f"Expected {wanted}, and no error was raised. {self._look}")
        if not isinstance(error, kinds):
            if isinstance(error, AssertionError) or not isinstance(error, Exception):
                return False
            # Where an error of the host is expected, the advice is about those.
            is_of_the_host = any(issubclass(each, HostError) for each in kinds)
            look = self._look if is_of_the_host else advice_for(error, self._look)
            raise AssertionError(
                f"Expected {wanted}, and {self._other(error)} was raised. {look}"
            ) from error
        if self._match is not None and not re.search(self._match, str(error)):
            raise AssertionError(
                f"Expected {wanted} that says {self._match!r}, and it says {str(error)!r}. "
                f"{self._look}"
            ) from error
        self.value = error
        return True

    def _other(self, error: BaseException) -> str:
        kinds = self._kind if isinstance(self._kind, tuple) else (self._kind,)
        same = type(error).__name__ in [kind.__name__ for kind in kinds]
        return f"another class of that name, {named(error)}," if same else named(error)


@contextmanager
def expect_no_error(look: str) -> Iterator[None]:
    """A context that turns an error into one that says that none was expected, and where to look."""
    __tracebackhide__ = True
    try:
        yield
    except AssertionError:
        raise
    except Exception as error:
        raise AssertionError(
            f"Expected no error, and {named(error)} was raised. {advice_for(error, look)}"
        ) from error


def result_of(
    future: Future[Any] | None, timeout: float, what: str = "a submitted call"
) -> Any:
    """
    Return the result of *future*, or raise what its call raised.

    Raises:
        AssertionError: It has none after *timeout* seconds.
    """
    assert future is not None, f"There is no future of {what}: its host has started nothing."
    try:
        return future.result(timeout)
    except FutureTimeout:  # Before Python 3.11 this is not the built-in one.
        if future.done():
            raise
        state = "runs" if future.running() else "has not begun"
        raise AssertionError(
            f"The law waited {timeout:g} s for the result of {what}, which {state}. See that "
            "each call ends with Outcome and Exited, or with Exited and a reason. "
            f"{told_so_far()} {needs_of_the_law()}".rstrip()
        ) from None


def error_of(future: Future[Any] | None, timeout: float, what: str = "a submitted call") -> Any:
    """
    Return what the call of *future* raised, or None.

    Raises:
        AssertionError: It has not ended after *timeout* seconds.
    """
    try:
        result_of(future, timeout, what)
    except BaseException as error:
        if future is None or not future.done():
            raise
        return error
    return None


def wait_for_all(futures: Iterable[Future[Any]], timeout: float) -> None:
    """
    Wait until all calls of *futures* have ended.

    Raises:
        AssertionError: Some have not after *timeout* seconds.
    """
    from concurrent.futures import wait

    left = wait(futures, timeout).not_done
    assert not left, (
        f"The law waited {timeout:g} s for its calls, and {len(left)} have not ended. See that "
        "a call that finds every place taken waits, and starts once one is free. "
        f"{told_so_far()} {needs_of_the_law()}".rstrip()
    )
