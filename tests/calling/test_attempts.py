"""Calls that are made again after their host has failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.errors import Cancelled, HostError, WorkerLost
from fal_core.events import Event, Exited, Outcome, Sink
from fal_core.functions import IsolatedFunction
from fal_core.hosts import Execution, Host
from fal_core.wrappers import WrapperHost
from fal_testing import InProcessHost


@attrs.define(eq=False, slots=False)
class Failing(WrapperHost[..., Any]):
    """
    A host whose first launches fail, in the way that is wanted.

    Attributes:
        failures: The number of failures that are left.

        way: ``launch`` raises, or the call ends ``first`` or ``last`` of all events.

        reason: The error of the failures.

        calls: The ids of the calls that were launched.
    """

    name: ClassVar[str] = "failing"

    failures: int = 1
    way: str = "first"
    reason: HostError = attrs.field(factory=lambda: WorkerLost(detail="As it was asked to."))
    calls: list[str] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.calls.append(call.id)
        if self.failures <= 0:
            return self.inner.launch(call, sink)
        self.failures -= 1
        if self.way == "launch":
            raise self.reason

        def take(event: Event) -> None:
            if isinstance(event, Exited):
                sink(Exited(reason=self.reason))
            elif self.way == "last" and not isinstance(event, Outcome):
                sink(event)

        return self.inner.launch(call, take)


def double(number: int) -> int:
    return 2 * number


def count(limit: int) -> Iterator[int]:
    yield from range(limit)


def called(isolated: IsolatedFunction[..., Any]) -> Any:
    return isolated(4)


def submitted(isolated: IsolatedFunction[..., Any]) -> Any:
    return isolated.submit(4).result(60)


def spawned(isolated: IsolatedFunction[..., Any]) -> Any:
    return isolated.spawn(4).return_value


def mapped(isolated: IsolatedFunction[..., Any]) -> Any:
    return next(isolated.map([4]))


WAYS = [called, submitted, spawned, mapped]


@pytest.fixture
def fail() -> Callable[..., Failing]:
    return lambda **how: Failing(InProcessHost(), **how)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_is_made_again(way: Callable[..., Any], fail: Callable[..., Failing]) -> None:
    """A call whose host has failed is made again under another id, in each way of calling."""
    host = fail(failures=2)

    assert way(function("current", host=host, retries=2)(double)) == 8
    assert len(set(host.calls)) == 3


@pytest.mark.parametrize("way", [called, spawned])
def test_a_launch_that_raises_is_an_attempt(
    way: Callable[..., Any], fail: Callable[..., Failing]
) -> None:
    """A host that refuses a call at once may take it the next time."""
    host = fail(way="launch")

    assert way(function("current", host=host, retries=1)(double)) == 8


@pytest.mark.parametrize("way", WAYS)
def test_the_last_attempt_raises(way: Callable[..., Any], fail: Callable[..., Failing]) -> None:
    """After the last attempt the error of the host is raised."""
    host = fail(failures=3)

    with pytest.raises(WorkerLost, match="As it was asked to"):
        way(function("current", host=host, retries=2)(double))
    assert len(host.calls) == 3


@pytest.mark.parametrize("way", WAYS)
def test_a_cancelled_call_is_not_made_again(
    way: Callable[..., Any], fail: Callable[..., Failing]
) -> None:
    """Some errors are final: another attempt would not be wanted, or not help."""
    host = fail(reason=Cancelled())

    with pytest.raises(Cancelled):
        way(function("current", host=host, retries=2)(double))
    assert len(host.calls) == 1


@pytest.mark.parametrize("way", WAYS)
def test_exceptions_that_are_named_are_retried(way: Callable[..., Any], tmp_path: Any) -> None:
    """A function is run again after an exception of ``retry_on``, and after no other."""
    path = tmp_path / "tries"

    def sometimes(number: int) -> int:
        with path.open("a") as file:
            file.write("x")
        if path.stat().st_size < 3:
            raise LookupError("not yet")
        raise KeyError("another one") if number == 0 else ValueError("now")

    isolated = function("current", host=InProcessHost(), retries=5, retry_on=LookupError)
    with pytest.raises(ValueError, match="now"):
        way(isolated(sometimes))
    assert path.read_text() == "xxx"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", [LookupError, SystemExit])
def test_exceptions_are_retried_in_whatever_way_they_are_raised(
    way: Callable[..., Any], kind: type[BaseException], tmp_path: Any
) -> None:
    """
    The exception itself is matched, not the error that ``reraise=False``, or an exception
    that would end the caller, raises around it.
    """
    path = tmp_path / "tries"

    def once(number: int) -> int:
        if not path.exists():
            path.touch()
            raise kind("not yet")
        return number

    isolated = function("current", host=InProcessHost(), retries=1, retry_on=kind)(once)
    isolated.reraise = kind is SystemExit
    way(isolated)
    assert path.exists()


def test_a_stream_that_raises_before_its_first_item_is_begun_again(tmp_path: Any) -> None:
    """An exception of ``retry_on`` begins a stream again that has given nothing."""
    path = tmp_path / "tries"

    def items() -> Iterator[int]:
        if not path.exists():
            path.touch()
            raise LookupError("not yet")
        yield 1

    isolated = function("current", host=InProcessHost(), retries=1, retry_on=LookupError)(items)

    assert list(isolated()) == [1]


def test_items_of_a_stream_are_not_repeated(fail: Callable[..., Failing]) -> None:
    """A stream is begun again only while it has given nothing."""
    host = fail(way="last")
    items = function("current", host=host, retries=2)(count)(3)

    assert [next(items), next(items), next(items)] == [0, 1, 2]
    with pytest.raises(WorkerLost):
        next(items)
    assert len(host.calls) == 1


def test_a_stream_that_has_given_nothing_is_begun_again(fail: Callable[..., Failing]) -> None:
    """A stream whose host fails before the first item is begun again."""
    host: Host[..., Any] = fail(failures=2)

    assert list(function("current", host=host, retries=2)(count)(3)) == [0, 1, 2]
