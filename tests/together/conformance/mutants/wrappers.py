"""The parts of broken hosts: hosts around a host that change its events and calls."""

from __future__ import annotations

import os
import pickle
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from fal_core.abilities import DetachingHost, ExecutionStatus, detaching
from fal_core.calls import Call
from fal_core.events import Event, Exited, Item, Message, Outcome, Sealed, Sink
from fal_core.hosts import Execution, Host
from fal_core_worker.opening import seals, values
from fal_core_worker.opening.classes import find_class
from fal_core_worker.opening.seals import PLAIN_PREFIX, PREFIX_SIZE


@attrs.define(eq=False, slots=False)
class Broken(Host[..., Any], DetachingHost):
    """A host that passes everything on. A subclass changes one thing."""

    inner: Host[..., Any]

    @property
    def name(self) -> str:  # type: ignore[override]  # the host's own
        return self.inner.name

    @property
    def options(self) -> Any:  # type: ignore[override]  # the host's own
        return self.inner.options

    def ability(self, kind: type[Any]) -> Any:
        return None if self.inner.ability(kind) is None else super().ability(kind)

    @property
    def capabilities(self) -> Any:  # type: ignore[override]  # the host's own
        return self.inner.capabilities

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing = Passing(self, call, sink)
        passing.follow(self.inner.launch(self.change(call), passing.take))
        return passing

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        return detaching(self.inner).attach(reference, sink, after)

    def executions(self) -> Iterable[ExecutionStatus]:
        return detaching(self.inner).executions()

    def close(self) -> None:
        self.inner.close()

    # -- what a subclass changes ---------------------------------------------------

    def change(self, call: Call) -> Call:
        """Return the call to launch in place of *call*."""
        return call

    def take(self, event: Event, passing: Passing) -> None:
        """Pass an event on, or another, or none."""
        passing.send_on(event)

    def cancel(self, grace: float, passing: Passing) -> None:
        """Cancel a call."""
        passing.cancel_inner(grace)


@attrs.define(eq=False, slots=False)
class Selects(Broken):
    """A host that is broken for functions of some names, and whole for all others."""

    whole: Host[..., Any]
    names: frozenset[str]

    @property
    def capabilities(self) -> Any:  # type: ignore[override]  # the host's own
        # All laws are asked of it, whatever the broken one would take upon itself.
        return self.whole.capabilities

    def ability(self, kind: type[Any]) -> Any:
        # Past the one that asks the broken host.
        return None if self.whole.ability(kind) is None else Host.ability(self, kind)

    def launch(self, call: Call, sink: Sink) -> Execution:
        host = self.inner if call.name in self.names else self.whole
        return host.launch(call, sink)

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        return detaching(self.whole).attach(reference, sink, after)

    def executions(self) -> Iterable[ExecutionStatus]:
        return detaching(self.whole).executions()

    def close(self) -> None:
        self.inner.close()
        self.whole.close()


@attrs.define(eq=False, slots=False)
class Notes(Broken):
    """A whole host that notes which functions each law has called on it."""

    called: dict[str, set[str]] = attrs.field(factory=lambda: defaultdict(set))

    def launch(self, call: Call, sink: Sink) -> Execution:
        law = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2]
        law = law.partition(" ")[0].partition("[")[0]
        self.called[law].add(call.name)
        return self.inner.launch(call, sink)


class Passing:
    """An execution of a broken host, and what it knows of its call."""

    inner: Any = None

    def __init__(self, host: Broken, call: Call, sink: Sink) -> None:
        self.owed: list[Any] = []
        self.host = host
        self.call = call
        self.sink = sink
        self.held: list[Event] = []
        self.threads: list[threading.Thread] = []
        self.count = 0
        self.ended = False

    @property
    def reference(self) -> str:
        return str(self.inner.reference)

    def take(self, event: Event) -> None:
        self.host.take(event, self)
        self.ended = self.ended or isinstance(event, Exited)

    def send_on(self, event: Event) -> None:
        self.sink(event)

    def follow(self, inner: Execution) -> None:
        self.inner = inner
        for message in self.owed:
            inner.send(message)

    def send(self, message: Message) -> None:
        if self.inner is None:
            self.owed.append(message)
        else:
            self.inner.send(message)

    def drain(self) -> None:
        self.inner.drain()

    def cancel(self, grace: float) -> None:
        self.host.cancel(grace, self)

    def cancel_inner(self, grace: float) -> None:
        self.inner.cancel(grace)


def open_value(sealed: Sealed) -> Any:
    """Open a result, as no host should."""
    return values.open_arguments(seals.Sealed(*sealed), None)


def with_value(outcome: Outcome, value: Any) -> Outcome:
    """Return an outcome that holds *value*."""
    return Outcome(Sealed(*values.seal_value(value, None)), False)


def record_of(outcome: Outcome) -> dict[str, Any]:
    """Return the record of the error that an outcome holds."""
    record: dict[str, Any] = pickle.loads(bytes(outcome.sealed.data)[PREFIX_SIZE:])
    return record


def with_record(record: dict[str, Any]) -> Outcome:
    """Return an outcome that holds the error of *record*."""
    return Outcome(Sealed(PLAIN_PREFIX + pickle.dumps(record, 5)), True)


def with_outcomes(item: Item, change: Callable[[list[Any]], list[Any]]) -> Item:
    """Return the outcomes of a batch, changed."""
    outcomes = change(list(open_value(item.sealed)))
    return Item(Sealed(*values.seal_value(outcomes, None)), item.first, len(outcomes))


def wrapped(call: Call, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> Call:
    """
    Return a call whose function is wrapped by *make* in the worker.

    Streams and detached work are left alone. So are functions whose arguments look
    up the classes that travel with them: the function around them brings none.
    """
    from fal_core.sealing.functions import seal_function

    needs_classes = find_class.__name__.encode() in bytes(call.arguments.data)
    if call.stream or call.lifetime == "detached" or needs_classes:
        return call
    data = call.function.native.data

    def run(*args: Any, **kwargs: Any) -> Any:
        from fal_core_worker.opening import seals
        from fal_core_worker.opening.functions import open_function

        return make(open_function(seals.Sealed(data), None, ""))(*args, **kwargs)

    return attrs.evolve(call, function=seal_function(run, portable=False).sealed)


@attrs.define(eq=False, slots=False)
class Wraps(Broken):
    """Runs functions inside another one, in the worker."""

    make: Callable[[Callable[..., Any]], Callable[..., Any]]

    def change(self, call: Call) -> Call:
        return wrapped(call, self.make)


def drop(event: Event) -> None:
    """Take an event, and do nothing."""
