"""Waiting for a call on the thread that makes it."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from fal_core.abilities import Driven, Driver
from fal_core.errors import HostError
from fal_core.events import Exited, HomeCall, Log, Ready, State
from fal_core.hosts import Execution
from fal_core.sealing.opener import Opener
from fal_core.sinks.call_sinks import OpeningSink
from fal_core.sinks.requests import request, try_cancel

if TYPE_CHECKING:
    from fal_core.sinks.notebooks import BuildingOutput

#: Seconds between two looks at whether the host can still deliver the end of a call.
_LOOK = 1.0

#: Seconds of one wait: an interrupt just before it is handled only after it.
_INTERVAL = 0.1


class Waiter(OpeningSink, Driver):
    """
    The sink of a call that a thread waits for.

    Arguments:
        grace: Seconds that the call has to end of its own accord if the thread is
            interrupted.

        drains: Whether it is a service that ends by itself once it has been drained. A
            function that brings its own server does not.
    """

    _event: threading.Event | None = None
    _is_ready = False
    # What a notebook shows while the environment is built.
    _building: BuildingOutput | None = None

    def __init__(
        self,
        opener: Opener,
        answer: Callable[[HomeCall, OpeningSink], None],
        grace: float,
        drains: bool = False,
    ) -> None:
        # As OpeningSink does: this is on the way of every call.
        self.opener = opener
        self._answer = answer
        self._grace = grace
        self._drains = drains

    def on_state(self, state: State) -> None:
        if state.name == "building":
            from fal_core.sinks.notebooks import BuildingOutput, in_notebook

            if self._building is None and in_notebook():
                self._building = BuildingOutput()
        elif self._building is not None:
            self._building.close(built=True)
            self._building = None

    def on_log(self, log: Log) -> None:
        if self._building is not None and log.source == "BUILDER":
            self._building.add(log.message)
            return
        # Most calls print nothing.
        from fal_core.sinks.printing import print_log

        print_log(log)

    def on_ready(self, ready: Ready) -> None:
        # The caller of a service waits for its end, and cannot ask where it is.
        from fal_core.sinks.printing import print_urls

        self._is_ready = self._drains
        print_urls(ready.urls)

    def on_exited(self, exited: Exited) -> None:
        self.exited: Exited | None = exited
        if self._building is not None:
            self._building.close(built=exited.reason is None)
        if self._event is not None:
            self._event.set()

    def wait(self, execution: Execution) -> None:
        """
        Wait for the end of the call; end it if the thread is interrupted.

        A service that is ready may finish its requests at the first interrupt, which is how
        it is ended.
        """
        driven = execution if isinstance(execution, Driven) else None
        if driven is None or self.failure is not None:
            self.follow(execution)
        self.execution: Execution | None = execution
        try:
            if driven is not None:
                driven.drive(None)
            if self.exited is None:
                self._wait_for_others(None)
        except BaseException as error:
            if (
                self._is_ready
                and isinstance(error, KeyboardInterrupt)
                and self._drain(execution)
            ):
                return
            # Nothing is left running when the caller is interrupted.
            try_cancel(self.host_name, execution, self._grace)
            self.wait_until(execution, self._grace + 5)
            raise

    def _drain(self, execution: Execution) -> bool:
        """Let a service end. Return False if it is interrupted meanwhile."""
        try:
            print(
                "Ending; requests that run may finish. Ctrl-C again ends it at once.",
                file=sys.stderr,
            )
            request(self.host_name, execution.drain)
            while not self.wait_until(execution, _INTERVAL):
                pass
        except KeyboardInterrupt:
            return False
        except HostError as error:
            print(f"{error} It is ended at once.", file=sys.stderr)
            return False
        return True

    def wait_until(self, execution: Execution, timeout: float | None) -> bool:
        """Wait for the end of the call, at most *timeout* seconds; return whether it has come."""
        until = None if timeout is None else time.monotonic() + timeout
        if isinstance(execution, Driven):
            execution.drive(timeout)
        if self.exited is None:
            left = None if until is None else max(0.0, until - time.monotonic())
            self._wait_for_others(left)
        return self.exited is not None

    def _wait_for_others(self, timeout: float | None) -> None:
        """Wait for the end while another thread delivers the events."""
        from fal_core.sinks.breaches import (
            NOT_DRIVEN,
            PATIENCE,
            breach_of,
            drives,
        )

        until = None if timeout is None else time.monotonic() + timeout
        answered: float | None = None
        self._event = threading.Event()
        while self.exited is None:
            if self.left_to_driver and not drives(self.execution):
                self.end_with(breach_of(self.host_name, NOT_DRIVEN))
                return
            if self.outcome is not None:
                answered = answered or time.monotonic()
                if time.monotonic() - answered >= PATIENCE:
                    self.give_up()
                    return
            left = _LOOK if until is None else min(_LOOK, until - time.monotonic())
            if left <= 0:
                return
            self._event.wait(left)
