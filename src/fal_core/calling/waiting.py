"""
Waiters: the sinks of calls that threads wait for, and what every sink does.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from fal_core.abilities import Driven, Driver
from fal_core.calling.home_calls import answer
from fal_core.errors import Timeout
from fal_core.events import Event, Exited, HomeCall, Log, Outcome
from fal_core.hosts import Execution
from fal_core.sinks.handlers import HandlingSink, failed
from fal_core.sinks.outcomes import open_outcome
from fal_core.sinks.printing import print_log

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher


class Waiter(HandlingSink, Driver):
    """
    The sink of a call that a thread waits for.
    """

    __slots__ = ("_event", "exited", "launcher", "outcome")

    def __init__(self, launcher: Launcher) -> None:
        super().__init__()
        self.launcher = launcher
        self.outcome: Outcome | None = None
        self.exited: Exited | None = None
        self._event: threading.Event | None = None

    def __call__(self, event: Event) -> None:
        kind = type(event)
        if kind is Outcome:
            self.outcome = event  # type: ignore[assignment]  # its kind says so
        elif kind is Exited:
            if self.failure is not None:
                self.outcome, event = None, failed(self.failure)
            self.exited = event  # type: ignore[assignment]  # its kind says so
            if self._event is not None:
                self._event.set()
        elif kind is Log:
            self.handle(print_log, event)
        elif kind is HomeCall:
            answer_home_call(self, event)  # type: ignore[arg-type]  # its kind says so

    def wait(self, execution: Execution, seconds: float | None = None) -> None:
        """
        Wait for the end, and end the call if it takes too long or is interrupted.

        Arguments:
            seconds: Those left of the timeout; all of it if they are not given.
        """
        policy = self.launcher.policy
        self.follow(execution)
        try:
            self.drive(execution, policy.timeout if seconds is None else seconds)
        except BaseException:
            # The caller was interrupted: nothing is left running behind.
            execution.cancel(policy.grace)
            self.drive(execution, policy.grace + 5)
            raise
        if self.exited is None:
            assert policy.timeout is not None
            execution.cancel(policy.grace)
            self.drive(execution, policy.grace + 5)
            raise Timeout(policy.timeout)
        # Without a cycle the outcome, and memory it shares, goes with the last view.
        self.execution = None

    def result(self) -> Any:
        """
        Return what the function returned, or raise what it raised.
        """
        outcome = self.outcome
        # The execution refers to its sink: nothing large waits for the collector.
        self.outcome = self.execution = None
        return open_outcome(self.launcher, outcome, self.exited)

    @property
    def ended(self) -> bool:
        """
        Whether the call has ended.
        """
        return self.exited is not None

    def drive(self, execution: Execution, timeout: float | None) -> bool:
        """
        Wait for the end, for *timeout* seconds at most; return whether it has come.
        """
        until = None if timeout is None else time.monotonic() + timeout
        if isinstance(execution, Driven):
            execution.drive(timeout)
            if self.exited is not None:
                return True
        # Another thread delivers the events, or the time is up.
        self._event = threading.Event()
        if self.exited is None:
            self._event.wait(None if until is None else max(0.0, until - time.monotonic()))
        return self.exited is not None


def answer_home_call(sink: Any, event: HomeCall) -> None:
    """
    Run what the function calls at home, on a thread, and send the answer back.
    """
    launcher = sink.launcher
    threading.Thread(
        target=answer, args=(launcher, event, sink), name="fal-core home call", daemon=True
    ).start()
