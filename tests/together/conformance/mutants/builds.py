"""
Hosts that break the laws of calls that wait for their environment.
"""

from __future__ import annotations

import threading

from fal_core.calls import Call
from fal_core.errors import Cancelled
from fal_core.events import Exited, Sink
from fal_core.hosts import Execution
from mutants.wrappers import Broken, Passing, drop


class BuildsInLaunch(Broken):
    """Builds the environment before it returns from launch."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        call.environment.build(sink, threading.Event())
        return super().launch(call, sink)


class WaitsForTheBuild(Broken):
    """Has the environment built on another thread, and waits for it."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        build = threading.Thread(target=call.environment.build, args=(sink, threading.Event()))
        build.start()
        build.join()
        return super().launch(call, sink)


class BuildsOn(Broken):
    """Reports a call as cancelled, and goes on building for it."""

    def cancel(self, grace: float, passing: Passing) -> None:
        if not passing.ended:
            passing.ended = True
            passing.send_on(Exited(reason=Cancelled()))
            passing.send_on = drop  # type: ignore[method-assign]  # broken
