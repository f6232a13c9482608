"""Hosts that break the laws of calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs

from fal_core.abilities import Driver
from fal_core.calls import Call
from fal_core.errors import HostClosed
from fal_core.events import Event, Exited, Outcome, Sealed, Sink
from fal_core.hosts import Execution
from fal_core_worker.opening import values
from mutants.conditions import is_waited_for
from mutants.wrappers import Broken, Passing, drop, open_value, record_of, with_value


class TurnsBytesIntoText(Broken):
    """Passes mappings on as JSON, which has no bytes."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and not event.raised and not passing.call.batch:
            value = open_value(event.sealed)
            if type(value) is dict:
                event = with_value(event, {key: _as_text(item) for key, item in value.items()})
        passing.send_on(event)


def _as_text(item: Any) -> Any:
    return item.decode("latin-1") if isinstance(item, bytes) else item


class DropsKeywords(Broken):
    """Forgets the arguments that are given by name."""

    def change(self, call: Call) -> Call:
        if call.batch or call.lifetime == "detached":
            return call
        args, _ = open_value(call.arguments)
        return call.again(call.id, Sealed(*values.seal_value((args, {}), None)))


class RefusesLargeArguments(Broken):
    """Takes no message beyond four megabytes."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        data, buffers = call.arguments
        if len(data) + sum(memoryview(buffer).nbytes for buffer in buffers) > 4 << 20:
            raise HostClosed("local", "The message is too large.")
        return super().launch(call, sink)


class ReversesBuffers(Broken):
    """Sends buffers in another order."""

    def change(self, call: Call) -> Call:
        data, buffers = call.arguments
        return call.again(call.id, Sealed(data, tuple(reversed(buffers))))


@attrs.define(eq=False, slots=False)
class Memoizes(Broken):
    """Takes calls of one function whose arguments are equally long to be equal."""

    known: dict[Any, Outcome] = attrs.field(factory=dict)

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and not event.raised and is_waited_for(passing):
            key = passing.call.function.digest, len(passing.call.arguments.data)
            event = self.known.setdefault(key, event)
        passing.send_on(event)


@attrs.define(eq=False, slots=False)
class MixesCallsAtOnce(Broken):
    """Gives a thread that others call beside the outcome that came last."""

    running: set[str] = attrs.field(factory=set)
    last: dict[str, Outcome] = attrs.field(factory=dict)

    def launch(self, call: Call, sink: Sink) -> Execution:
        if isinstance(sink, Driver):
            self.running.add(call.id)
        return super().launch(call, sink)

    def take(self, event: Event, passing: Passing) -> None:
        digest = passing.call.function.digest
        if isinstance(event, Outcome) and not event.raised and is_waited_for(passing):
            last, self.last[digest] = self.last.get(digest), event
            if len(self.running) > 1 and last is not None:
                event = last
        if isinstance(event, Exited):
            self.running.discard(passing.call.id)
        passing.send_on(event)


@attrs.define(eq=False, slots=False)
class KnowsFunctionsByName(Broken):
    """Takes functions of one name and size to be one function."""

    known: dict[Any, Any] = attrs.field(factory=dict)

    def change(self, call: Call) -> Call:
        key = call.name, call.stream, len(call.function.native.data)
        return attrs.evolve(call, function=self.known.setdefault(key, call.function))


class RunsTwice(Broken):
    """Launches a call that is waited for twice, to be safe, and takes the answer of one."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing: Any = super().launch(call, sink)
        if is_waited_for(passing):
            passing.twin = self.inner.launch(call.again(f"{call.id}-2", call.arguments), drop)
        return passing  # type: ignore[no-any-return]  # an execution, and more

    def cancel(self, grace: float, passing: Passing) -> None:
        passing.cancel_inner(grace)
        twin = getattr(passing, "twin", None)
        if twin is not None:
            twin.cancel(grace)


class CopiesClasses(Broken):
    """Opens results and pickles them anew, with classes of its own."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and not event.raised and not passing.call.batch:
            value = open_value(event.sealed)
            kind = type(value)
            if kind.__module__.startswith("fal_testing.laws"):
                fields = {
                    name: item
                    for name, item in vars(kind).items()
                    if name not in ("__dict__", "__weakref__")
                }
                copy = type(kind.__name__, kind.__bases__, fields)
                other: Any = object.__new__(copy)
                other.__dict__.update(vars(value))
                event = with_value(event, other)
        passing.send_on(event)


class HidesWhatCannotTravel(Broken):
    """Gives None for results that cannot be pickled."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and event.raised and record_of(event).get("own"):
            event = with_value(event, None)
        passing.send_on(event)


class IgnoresSetup(Broken):
    """Runs functions without their setup."""

    def change(self, call: Call) -> Call:
        return attrs.evolve(call, setup=None)


def takes_self(function: Callable[..., Any]) -> Callable[..., Any]:
    """Calls a function by a method, whose own parameter it is that is called ``self``."""

    class Caller:
        def run(self, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

    return Caller().run
