"""
Services: calls that are reached from outside, each in a worker of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs

from fal_core.calls import Call
from fal_core.errors import HostError
from fal_core.events import Event, Exited, Ready, Sink, State
from fal_core.hosts import Execution
from fal_core.readers import get_reader
from fal_core_worker.frames import Frame

#: Seconds that a service which does not come up has to say where it is.
_GRACE = 5.0


class StartupTimeout(HostError):
    """
    A service did not become ready in time, and was ended.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return (
            f"The service was not ready within its startup_timeout of {self.seconds:g} s, "
            "and was ended. Let its setup do less, or give it more time."
        )


class ServiceExecution:
    """
    A service: a call that has a worker for itself.

    Arguments:
        ended: Called once when the call has ended.
    """

    def __init__(self, call: Call, sink: Sink, ended: Callable[[], None]) -> None:
        self._call = call
        self._sink = sink
        self._ended = ended
        self._inner: Execution | None = None
        self._timeout = call.host_options.startup_timeout
        self._ready = False
        self._late = False
        self._exited = False
        # A sink is told one event at a time; it may drain or cancel from within.
        self._lock = threading.RLock()

    def start(self, launch: Callable[[Call, Sink], Execution]) -> None:
        """
        Launch the call.
        """
        call = self._call
        if call.gateway.serve:
            call = call.at_ports(0, 0)
        self._inner = launch(call, self._take)

    @property
    def reference(self) -> str:
        return self._call.id

    def send(self, frame: Frame) -> None:
        if self._inner is not None:
            self._inner.send(frame)

    def drain(self) -> None:
        if self._inner is not None and not self._exited:
            self._tell(State("draining"))
            self._inner.drain()

    def cancel(self, grace: float) -> None:
        if self._inner is not None:
            self._inner.cancel(grace)

    def _take(self, event: Event) -> None:
        if isinstance(event, State) and event.name == "running" and self._timeout:
            get_reader().after(self._timeout + _GRACE, self._give_up)
        elif isinstance(event, Ready):
            self._ready = True
            self._tell(State("ready"))
        elif isinstance(event, Exited):
            if self._late:
                assert self._timeout is not None
                event = attrs.evolve(event, reason=StartupTimeout(self._timeout))
            self._exited = True
            self._tell(event)
            self._ended()
            return
        self._tell(event)

    def _tell(self, event: Event) -> None:
        with self._lock:
            self._sink(event)

    def _give_up(self) -> None:
        if not self._ready and self._inner is not None:
            self._late = True
            self._inner.cancel(0)
