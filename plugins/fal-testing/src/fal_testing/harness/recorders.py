"""Recorders: sinks that keep all events of a call."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fal_core.calls import Call
from fal_core.events import Credit, Event, Exited, HomeCall, Item, Log, Outcome, Ready, State
from fal_core.hosts import Execution
from fal_core.reprs import in_one_line
from fal_core.sinks import open_outcome
from fal_testing.harness.capabilities import needs_of_the_law

#: How many events a report names.
_SHOWN = 16

if TYPE_CHECKING:
    from fal_core.calling import Launcher


class Recorder:
    """
    A sink that keeps every event of a call, answers calls home, and gives credit.

    Attributes:
        call: The call, once it is launched.

        events: All events, in the order in which they came.

        overlapped: Whether an event came before the sink returned from another one.
    """

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self.opener = launcher.opener
        self.call: Call | None = None
        self.execution: Execution | None = None
        self.events: list[Event] = []
        self.overlapped: bool = False
        self._owed = 0
        self._changed = threading.Condition()
        self._taking = threading.Lock()

    def __call__(self, event: Event) -> None:
        if not self._taking.acquire(blocking=False):
            self.overlapped = True
            self._taking.acquire()
        try:
            # Long enough to catch a host that delivers from two threads at once.
            time.sleep(0.0005)
            with self._changed:
                self.events.append(event)
                self._changed.notify_all()
        finally:
            self._taking.release()
        if isinstance(event, HomeCall):
            self.launcher.answer(event, self)  # type: ignore[arg-type]  # has what it needs
        elif isinstance(event, Item):
            with self._changed:
                self._owed += event.count
            self._give_credit()

    def _give_credit(self) -> None:
        if self.execution is not None:
            with self._changed:
                owed, self._owed = self._owed, 0
            if owed:
                self.execution.send(Credit(owed))

    def launch(self, *args: Any, **kwargs: Any) -> None:
        """Launch a call of the launcher's function with these arguments."""
        stream = self.launcher.declaration.is_generator
        self.call = self.launcher.call((args, kwargs), stream=stream)
        self.follow(self.launcher.host.launch(self.call, self))

    def follow(self, execution: Execution) -> None:
        """Take *execution* as the source of the events; some may have come already."""
        self.execution = execution
        self._give_credit()

    def cancel(self, grace: float) -> None:
        """End the call: interrupt it, and after *grace* seconds end its processes."""
        assert self.execution is not None
        self.execution.cancel(grace)

    def wait_for(self, kind: type[Event], timeout: float) -> Any:
        """
        Wait for an event of *kind* and return the first.

        Raises:
            AssertionError: None has come after *timeout* seconds.
        """

        return self._wait_for(
            lambda event: isinstance(event, kind), timeout, f"the event {kind.__name__}"
        )

    def wait_for_line(self, line: str, timeout: float) -> Log:
        """
        Wait until the function has printed *line*, and return it.

        A line of the host itself, or of the builder of its environment, is not taken for it.
        """

        def is_it(event: Event) -> bool:
            return isinstance(event, Log) and (event.message, event.source) == (line, "USER")

        log: Log = self._wait_for(is_it, timeout, f"the line {line!r} of the function")
        return log

    def wait_for_line_like(self, start: str, timeout: float) -> Log:
        """Wait until the function has printed a line that begins with *start*, and return it."""

        def is_it(event: Event) -> bool:
            if not isinstance(event, Log) or event.partial or event.source != "USER":
                return False
            return event.message.startswith(start)

        log: Log = self._wait_for(is_it, timeout, f"a line of the function like {start!r}")
        return log

    def _wait_for(self, is_it: Callable[[Event], bool], timeout: float, what: str) -> Any:
        def find() -> Event | None:
            return next((event for event in self.events if is_it(event)), None)

        with self._changed:
            if not self._changed.wait_for(lambda: find() is not None, timeout):
                raise AssertionError(
                    f"The law waited {timeout:g} s for {what}. Until then came: {self.told}. "
                    f"{needs_of_the_law()}".rstrip()
                )
        return find()

    @property
    def told(self) -> str:
        """The events that have come so far, in words."""
        return in_words([word_of(event) for event in list(self.events)])

    def wait(self, timeout: float) -> Exited:
        """Wait for the end of the call and return it."""
        exited: Exited = self.wait_for(Exited, timeout)
        return exited

    def wait_for_url(self, timeout: float) -> str:
        """Wait until a service is ready, and return its URL."""
        ready: Ready = self.wait_for(Ready, timeout)
        return ready.urls["run"]

    @property
    def ended(self) -> bool:
        """Whether the call has ended."""
        return any(isinstance(event, Exited) for event in self.events)

    @property
    def logs(self) -> list[Log]:
        """The lines of output that have ended so far."""
        logs = [event for event in self.events if isinstance(event, Log)]
        return [log for log in logs if not log.partial]

    @property
    def printed(self) -> list[Log]:
        """The lines that the function printed so far."""
        return [log for log in self.logs if log.source == "USER"]

    @property
    def phases(self) -> list[str]:
        """The phases that the call has entered so far."""
        return [event.name for event in self.events if isinstance(event, State)]

    @property
    def outcome(self) -> Outcome | None:
        """The outcome, if there is one."""
        return next((event for event in self.events if isinstance(event, Outcome)), None)

    def result(self, timeout: float) -> Any:
        """Wait for the end and return what the function returned, or raise what it raised."""
        exited = self.wait(timeout)
        return open_outcome(self.launcher.opener, self.outcome, exited)


#: Launches a call of an isolated function, with arguments, and records its events.
Follow = Callable[..., Recorder]


def in_words(words: Sequence[str]) -> str:
    """Return the words of events as a list, with those that repeat only once."""
    counted = []
    for word, same in itertools.groupby(words):
        count = len(list(same))
        counted.append(word if count == 1 else f"{word} ({count} times)")
    if len(counted) > _SHOWN:
        half = _SHOWN // 2
        counted = [*counted[:half], "...", *counted[-half:]]
    return ", ".join(counted) or "no event"


def word_of(event: Event) -> str:
    """Return *event* in a word or two."""
    match event:
        case State(name):
            return f"State({name!r})"
        case Log():
            return f"a line of {event.source}"
        case Outcome():
            return "Outcome, raised" if event.raised else "Outcome"
        case Exited(reason=BaseException() as reason):
            return f"Exited with {type(reason).__name__} ({in_one_line(reason)})"
        case _:
            return type(event).__name__
