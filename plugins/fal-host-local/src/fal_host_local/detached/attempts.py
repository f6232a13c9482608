"""
Attempts: launching a detached call again when its host fails, within its timeout.
"""

from __future__ import annotations

import threading
import time
from typing import Any

from fal_core.calls import Call
from fal_core.errors import HostError
from fal_core.events import Event, Exited, Log, Sink, State
from fal_core.hosts import Host
from fal_core.policies import Policy
from fal_core.sinks.outcomes import is_retried
from fal_core.sinks.time_limits import TimeLimit
from fal_host_local.workers.late import LateExecution


class Attempts(LateExecution):
    """
    The execution of a call that is launched again when its host fails.

    Its inner execution is the current attempt. All attempts together have the timeout of one
    call.
    """

    def __init__(self, host: Host[..., Any], call: Call, sink: Sink) -> None:
        super().__init__(call.id)
        self._host = host
        self._call = call
        self._sink = sink
        self._left = call.retries
        self._until = None if call.timeout is None else time.monotonic() + call.timeout
        self._has_results = False
        self._has_ended = False
        # Set at the end of each attempt.
        self._over = threading.Event()

    def run(self) -> None:
        """
        Launch the call as often as necessary, and return when it has ended.
        """
        while not self._has_ended:
            self._over.clear()
            try:
                self._launch()
            except HostError as error:
                self._take(Exited(reason=error))
            self._over.wait()

    def _launch(self) -> None:
        if self._until is None:
            self.settle(self._host.launch(self._call, self._take))
            return
        call = self._call
        seconds = self._until - time.monotonic()
        sink = TimeLimit(self._take, seconds, grace=Policy().grace, limit=call.timeout)
        execution = self._host.launch(call, sink)
        sink.follow(execution)
        self.settle(execution)

    def _take(self, event: Event) -> None:
        if not isinstance(event, Exited):
            # A call whose results were seen is not launched again: they cannot be taken back.
            self._has_results |= not isinstance(event, State | Log)
            self._sink(event)
        elif self._left and not self._has_results and is_retried(Policy(), event.reason):
            self._left -= 1
            self._over.set()
        else:
            try:
                self._sink(event)
            finally:
                # Also if nothing can be written any more.
                self._has_ended = True
                self._over.set()
