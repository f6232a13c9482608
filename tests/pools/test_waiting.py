"""Calls that wait for a worker."""

from __future__ import annotations

import threading
import time
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import Cancelled, function
from fal_core.environments import CurrentEnvironment, LocalInterpreter
from fal_core.events import Event, Exited, Sink, State
from fal_core.hooks import hookimpl
from fal_core.plugins.installed import registered
from fal_core.pools.starts import NotWanted
from fal_core.pools.waiting import WaitingCalls, WaitingExecution
from fal_core.sinks.call_sinks import HandlerFailed
from fal_host_local import LocalHost
from fal_testing.harness.processes import wait_until

#: Seconds that anything may take.
PATIENCE = 30

#: How the builds of these tests began and ended.
builds: list[str] = []


@attrs.frozen(kw_only=True)
class Patient(CurrentEnvironment):
    """An environment whose build takes until it is cancelled."""

    kind: ClassVar[str] = "patient"

    def is_built(self) -> bool:
        return False

    def build(self, log: Any, cancelled: Any) -> LocalInterpreter:
        builds.append("began")
        cancelled.wait()
        builds.append("cancelled")
        raise Cancelled


@pytest.fixture
def waiting() -> WaitingCalls:
    return WaitingCalls(threading.Lock())


def add(waiting: WaitingCalls, sink: Sink) -> WaitingExecution:
    """Return a call that waits."""
    call = function("current")(time.sleep).make_launcher().call(((0,), {}))
    execution = WaitingExecution(waiting, call, sink)
    waiting.append(execution)
    return execution


def test_a_call_that_is_cancelled_while_it_waits_ends_at_once(host: LocalHost):
    """The call leaves the queue without having run, and the call that it waited for goes on."""
    isolated = function("current", host=host, max_concurrency=1)(time.sleep)
    busy = isolated.spawn(600)
    launcher = isolated.make_launcher()
    events: list[Event] = []
    execution = launcher.launch(launcher.call(((0,), {})), events.append)

    execution.cancel(60)

    exited = events[-1]
    assert isinstance(exited, Exited)
    assert isinstance(exited.reason, Cancelled)
    assert busy.future is not None
    assert not busy.future.done()
    busy.cancel()


def test_a_future_that_is_cancelled_while_its_environment_is_built(host: LocalHost):
    """The future is cancelled at once, and the build ends as nobody waits for it."""
    plugin: Any = ModuleType("patient")
    plugin.fal_core_api = 1
    plugin.fal_register_environments = hookimpl(lambda: [Patient])
    with registered(plugin):
        isolated = function("patient", host=host)(time.sleep)
        for spawned in (False, True):
            builds.clear()
            future = isolated.spawn(0).future if spawned else isolated.submit(0)
            assert wait_until(lambda: bool(builds), PATIENCE)

            assert future.cancel()

            assert future.cancelled()
            with pytest.raises(Cancelled):
                future.result(0)
            assert wait_until(lambda: builds[-1] == "cancelled", PATIENCE)
            assert future.cancelled()


def test_a_waiting_call_ends_if_its_sink_raises(waiting: WaitingCalls):
    """The call ends with the exception of its sink; the other calls go on waiting."""
    ended: list[Event] = []
    told: list[Event] = []

    def take(event: Event) -> None:
        if isinstance(event, State):
            raise OSError("The disk is full.")
        ended.append(event)

    add(waiting, take)
    other = add(waiting, told.append)

    assert waiting.report(State("building"))

    assert list(waiting) == [other]
    (exited,) = ended
    assert isinstance(exited, Exited)
    assert isinstance(exited.reason, HandlerFailed)
    assert told == [State("building")]


def test_a_build_is_cancelled_once_no_call_waits(waiting: WaitingCalls):
    """The event that cancels a build is set once no call waits, and stays so."""
    events: list[Event] = []
    execution = add(waiting, events.append)
    cancelled = NotWanted(lambda: bool(waiting))
    assert not cancelled.wait(0)

    execution.cancel(0)

    assert cancelled.wait(0)
    assert not waiting.report(State("building"))
    assert [type(event) for event in events] == [Exited]
    add(waiting, events.append)
    assert cancelled.is_set()
