"""Handlers of a call's events that raise, as printing to a closed pipe does."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.events import Event, Item, Log, Sink, State
from fal_core.hosts import Execution, Host
from fal_core.wrappers import WrapperHost
from fal_host_local import LocalHost
from fal_testing import InProcessHost, ProcessHost
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.timeout(300)

HOSTS = (InProcessHost, ProcessHost, LocalHost)


class Closed(io.StringIO):
    """An output whose reader is gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError(32, "Broken pipe")


@attrs.define(eq=False, slots=False)
class ListeningHost(WrapperHost[..., Any]):
    """Has *listen* hear of all events of the calls of *inner*."""

    name: ClassVar[str] = "listening"

    listen: Callable[[Event], None]

    def launch(self, call: Call, sink: Sink) -> Execution:
        def tell(event: Event) -> None:
            self.listen(event)
            sink(event)

        return self.inner.launch(call, tell)


@pytest.fixture(params=HOSTS, ids=lambda cls: cls.name)
def host(request: pytest.FixtureRequest) -> Iterator[Host[..., Any]]:
    """A host of the test's own."""
    host = request.param()
    yield host
    host.close()


def speak(number: int) -> int:
    import time

    print("number", number, flush=True)
    time.sleep(0.5)  # The call is cancelled meanwhile.
    return number


def count(up_to: int) -> Iterator[int]:
    for number in range(up_to):
        print("number", number, flush=True)
        yield number


WAYS: dict[str, Callable[[Any], object]] = {
    "call": lambda on: on(speak)(1),
    "retried": lambda on: on(speak, retries=2)(1),
    "limited": lambda on: on(speak, timeout=30)(1),
    "spawn": lambda on: on(speak).spawn(1).return_value,
    "submit": lambda on: on(speak).submit(1).result(),
    "map": lambda on: list(on(speak).map(range(20))),
    "stream": lambda on: list(on(count)(1000)),
}


@pytest.mark.parametrize("way", [way for way in WAYS if way != "spawn"])
def test_exception_of_printing_reaches_the_caller(host: Host[..., Any], way: str) -> None:
    """If the lines of a function cannot be printed, its caller gets that exception."""

    def on(func: Any, **options: Any) -> Any:
        return function("current", host=host, **options)(func)

    with redirect_stdout(Closed()), pytest.raises(BrokenPipeError):
        WAYS[way](on)
    with redirect_stdout(io.StringIO()) as printed:
        assert on(speak)(99) == 99
    # Other items of a map that is closed may be heard until they have ended.
    assert "number 99" in printed.getvalue().splitlines()


@pytest.mark.parametrize("cls", [ProcessHost, LocalHost], ids=lambda cls: cls.name)
@pytest.mark.parametrize(
    ("kind", "way"),
    [
        *((kind, way) for kind in (State, Log) for way in ("call", "submit", "spawn")),
        *((kind, "stream") for kind in (State, Log, Item)),
    ],
)
def test_exception_of_a_wrapper_host_reaches_the_caller(
    cls: Any, kind: type[Event], way: str
) -> None:
    """A sink that raises ends its own call, and the caller gets the exception."""

    def refuse(event: Event) -> None:
        if isinstance(event, kind):
            raise LookupError(f"no place for {kind.__name__}")

    host = ListeningHost(cls(), refuse)

    def on(func: Any, **options: Any) -> Any:
        return function("current", host=host, **options)(func)

    try:
        with pytest.raises(LookupError, match=f"no place for {kind.__name__}"):
            WAYS[way](on)
    finally:
        host.close()


def test_the_call_is_ended(tmp_path: Any) -> None:
    """A function whose lines cannot be printed does not go on."""
    path = str(tmp_path / "pid")

    @function("current", host=ProcessHost())
    def stay(path: str) -> None:
        import os
        import time

        with open(path, "w") as file:
            file.write(str(os.getpid()))
        print("here", flush=True)
        # Ends by being cancelled, since nobody can read what it prints.
        time.sleep(300)

    with redirect_stdout(Closed()), pytest.raises(BrokenPipeError):
        stay(path)
    with open(path) as file:
        pid = int(file.read())
    assert wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 60)
