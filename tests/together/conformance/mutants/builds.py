"""Hosts that break the laws of calls that wait for their environment."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import attrs

from fal_core.calls import Call
from fal_core.errors import Cancelled
from fal_core.events import Event, Exited, Sink
from fal_core.hosts import Execution
from fal_core.pools import Start
from fal_core.workers import Worker
from fal_testing import ProcessHost
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


_one_cache = threading.Lock()


@contextmanager
def _cache_of_its_own() -> Iterator[None]:
    with (
        _one_cache,
        tempfile.TemporaryDirectory() as folder,
        patch.dict(os.environ, FAL_CORE_CACHE=folder),
    ):
        yield


class BuildsForEachWorker(ProcessHost):
    """Builds in a cache of the worker's own."""

    def begin(self, start: Start) -> Worker:
        with _cache_of_its_own():
            start.environment.build(start.report, start.cancelled)
        return super().begin(start)


@attrs.define(eq=False, slots=False)
class TellsOneOfThem(Broken):
    """Tells one of the calls that wait for a build how it ended, and forgets the others."""

    told: int = attrs.field(default=0, init=False)
    lock: Any = attrs.field(factory=threading.Lock, init=False)

    def take(self, event: Event, passing: Passing) -> None:
        with self.lock:
            self.told += isinstance(event, Exited)
            if self.told > 1:
                return
        passing.send_on(event)
