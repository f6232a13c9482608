"""The conformance suite on a host that runs one call at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import whole_hosts
from mutants.wrappers import Broken, Passing

from fal_core.calls import Call
from fal_core.errors import Cancelled
from fal_core.events import Event, Exited, HomeCall, Message, Reply, Sink
from fal_core.hosts import Execution, Host
from fal_host_local import LocalHost
from fal_testing.suite import *  # noqa: F403  # every law

host_program = whole_hosts.host_program

#: Groups whose laws might need two calls at once.
CROWDED = {"cancel", "timeout", "futures", "places", "serve", "own servers", "home calls"}

whole_hosts.keep_groups(globals(), CROWDED)


@attrs.define(eq=False, slots=False)
class Narrow(Broken):
    """A whole host with one place: other calls wait, but for one that waits for home."""

    lock: Any = attrs.field(factory=threading.Lock, init=False)
    waiting: deque[Turn] = attrs.field(factory=deque, init=False)
    running: int = attrs.field(default=0, init=False)

    @property
    def capabilities(self) -> Any:  # type: ignore[override]  # the host's own
        return attrs.evolve(self.inner.capabilities, concurrency=1, multiplex=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        if call.lifetime == "detached":
            return self.inner.launch(call, sink)
        turn = Turn(self, call, sink)
        with self.lock:
            self.waiting.append(turn)
        self.go_on(0)
        return turn

    def go_on(self, change: int) -> None:
        """Count the calls that run, and begin one that waits where there is a place."""
        with self.lock:
            self.running += change
            if self.running > 0 or not self.waiting:
                return
            self.running += 1
            turn = self.waiting.popleft()
        # Events are being delivered on this thread, which launching may need.
        threading.Thread(target=turn.begin, daemon=True).start()

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(event)
        if isinstance(event, Exited | HomeCall):
            self.go_on(-1)


class Turn(Passing):
    """A call that begins when it has the place."""

    host: Narrow
    grace: float | None = None

    @property
    def reference(self) -> str:
        return self.call.id

    def begin(self) -> None:
        self.follow(self.host.inner.launch(self.call, self.take))
        if self.grace is not None:
            self.cancel_inner(self.grace)

    def cancel(self, grace: float) -> None:
        with self.host.lock:
            waits = self in self.host.waiting
            if waits:
                self.host.waiting.remove(self)
        if waits:
            end = Exited(reason=Cancelled())
            threading.Thread(target=self.send_on, args=(end,), daemon=True).start()
            return
        # It may be about to begin, which looks for the grace afterwards.
        self.grace = grace
        if self.inner is not None:
            self.cancel_inner(grace)

    def send(self, message: Message) -> None:
        if isinstance(message, Reply):
            self.host.go_on(1)
        super().send(message)


@pytest.fixture(scope="session")
def host() -> Iterator[Host[..., Any]]:
    host = Narrow(LocalHost())
    yield host
    host.close()


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 30.0
