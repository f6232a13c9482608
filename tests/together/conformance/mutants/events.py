"""Hosts that break the laws of events and executions."""

from __future__ import annotations

import threading
import time
from typing import Any

from fal_core.calls import Call
from fal_core.errors import HostClosed
from fal_core.events import Event, Exited, Log, Outcome, Sink, State
from fal_core.hosts import Execution
from mutants.conditions import is_error, is_recorded, is_submitted
from mutants.wrappers import Broken, Passing


class ReportsAfterTheEnd(Broken):
    """Has something to add after the end."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(event)
        if isinstance(event, Exited):
            late = Log("The worker has been freed.", "INFO", "BRIDGE")
            threading.Timer(0.05, passing.send_on, [late]).start()


class ReportsOutcomesTwice(Broken):
    """Says twice how a call has ended."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(event)
        if isinstance(event, Outcome) and not event.raised and is_recorded(passing):
            passing.send_on(event)


class TakesErrorsForItsOwn(Broken):
    """Says that it failed itself where the function raised."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.count += is_error(event) and is_recorded(passing)
        if isinstance(event, Exited) and event.reason is None and passing.count:
            event = Exited(reason=HostClosed("local", "The function raised."))
        passing.send_on(event)


class DeliversAtOnce(Broken):
    """Counts lines, and reports the count from another thread than the lines."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.count += isinstance(event, Log)
        if not isinstance(event, Log):
            for thread in passing.threads:
                thread.join()
        elif 1 < passing.count < 50 and is_recorded(passing) and not passing.call.stream:
            told = Log(f"There were {passing.count} lines.", "DEBUG", "BRIDGE")
            passing.threads.append(threading.Thread(target=passing.send_on, args=(told,)))
            passing.threads[-1].start()
        passing.send_on(event)


class SaysNoPhases(Broken):
    """Says nothing of phases."""

    def take(self, event: Event, passing: Passing) -> None:
        if not isinstance(event, State):
            passing.send_on(event)


class SaysTooEarlyThatItRuns(Broken):
    """Says that a call runs as soon as it is launched."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        sink(State("running"))
        return super().launch(call, sink)


class LaunchWaits(Broken):
    """Launches by running."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing: Any = super().launch(call, sink)
        if not (call.stream or is_submitted(passing)):
            # Longer than the law's function takes, which is 3 s at most.
            until = time.monotonic() + 4.5
            while not passing.ended and time.monotonic() < until:
                # Until it has ended, or too late for the law.
                time.sleep(0.01)
        return passing  # type: ignore[no-any-return]  # an execution, and more


class NamesAllAlike(Broken):
    """Has one reference for all its executions."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing = super().launch(call, sink)
        if call.lifetime == "detached":
            return passing
        return SameName(passing)


class SameName(Passing):
    """An execution that is called as all others."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def reference(self) -> str:
        return "the call"

    def cancel(self, grace: float) -> None:
        self.inner.cancel(grace)
