"""Hosts that break the laws of places."""

from __future__ import annotations

import threading
import weakref
from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.errors import HostClosed
from fal_core.events import Event, Exited, Sink, State
from fal_core.hosts import Execution
from mutants.wrappers import Broken, Passing


@attrs.define(eq=False, slots=False)
class RefusesWhatFindsNoPlace(Broken):
    """Ends a call that finds its places taken."""

    running: int = attrs.field(default=0, init=False)
    lock: Any = attrs.field(factory=threading.Lock, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        with self.lock:
            self.running += 1
            if self.running > 2:
                self.running -= 1
                raise HostClosed(self.name, "Every place is taken.")
        return super().launch(call, sink)

    def take(self, event: Event, passing: Passing) -> None:
        with self.lock:
            self.running -= isinstance(event, Exited)
        passing.send_on(event)


@attrs.define(eq=False, slots=False)
class LosesWhatWaits(Broken):
    """Forgets a call that waits for a place, once many do."""

    launched: int = attrs.field(default=0, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.launched += 1
        if self.launched % 10:
            return super().launch(call, sink)
        sink(State("queued"))
        forgotten = Passing(self, call, sink)
        forgotten.cancel = lambda grace: None  # type: ignore[method-assign]  # broken
        return forgotten


class ClosesAllOfItsClass(Broken):
    """Closes every host of its class with one of them."""

    every: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()
    closed = False

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.every.add(self)
        if self.closed:
            raise HostClosed(self.name, "It was closed.")
        return super().launch(call, sink)

    def close(self) -> None:
        for host in self.every:
            host.closed = True
        super().close()


@attrs.define(eq=False, slots=False)
class MixesHosts(Broken):
    """Gives what functions print to the call of any host that was launched last."""

    latest: ClassVar[dict[str, Passing]] = {}

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing: Any = super().launch(call, sink)
        self.latest[call.name] = passing
        return passing  # type: ignore[no-any-return]  # an execution, and more

    def take(self, event: Event, passing: Passing) -> None:
        latest = self.latest.get(passing.call.name, passing)
        is_line = type(event).__name__ == "Log"
        (latest if is_line and not latest.ended else passing).send_on(event)
