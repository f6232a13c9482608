"""Hosts that break the laws of services."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs

from fal_core.calls import Call
from fal_core.errors import Cancelled
from fal_core.events import Event, Exited, Log, Outcome, Ready, Sink, State
from fal_core.hosts import Execution
from mutants.conditions import is_waited_for
from mutants.wrappers import Broken, Passing, with_value, wrapped


def is_service(call: Call) -> bool:
    return is_served(call) or brings_a_server(call)


def is_served(call: Call) -> bool:
    return call.gateway.serve


def brings_a_server(call: Call) -> bool:
    return not is_served(call) and call.gateway.exposed_port is not None


class TellsAnotherUrl(Broken):
    """Tells a url at which there is nothing."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Ready):
            event = Ready({"run": f"{event.urls['run']}/elsewhere"})
        passing.send_on(event)


class NeverSaysReady(Broken):
    """Enters no phase when a service is ready."""

    def take(self, event: Event, passing: Passing) -> None:
        if event != State("ready"):
            passing.send_on(event)


class TellsNoCaller(Broken):
    """Tells no url to whoever waits for the end of a service."""

    def take(self, event: Event, passing: Passing) -> None:
        if not (isinstance(event, Ready) and is_waited_for(passing)):
            passing.send_on(event)


class TellsOneUrl(Broken):
    """Tells the url of a service for each other one of that function's name."""

    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.urls: dict[str, Ready] = {}

    def take(self, event: Event, passing: Passing) -> None:
        name = passing.call.name
        if isinstance(event, Ready):
            event = self.urls.setdefault(name, event)
        elif isinstance(event, Exited):
            self.urls.pop(name, None)
        passing.send_on(event)


class ForgetsRequests(Broken):
    """Does not say which request printed a line."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Log):
            event = attrs.evolve(event, request_id=None)
        passing.send_on(event)


class LeavesThePort(Broken):
    """Says that a service has ended while it still answers."""

    def cancel(self, grace: float, passing: Passing) -> None:
        if is_service(passing.call) and not passing.ended:
            passing.ended = True
            passing.send_on(Exited(reason=Cancelled()))
            threading.Timer(5.0, passing.cancel_inner, (grace,)).start()
        else:
            passing.cancel_inner(grace)

    def take(self, event: Event, passing: Passing) -> None:
        if not passing.ended:
            passing.send_on(event)


class DrainsByForce(Broken):
    """Ends a service at once when it is to finish its requests."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing = _Forceful(self, call, sink)
        passing.follow(self.inner.launch(call, passing.take))
        return passing


class _Forceful(Passing):
    def drain(self) -> None:
        self.cancel_inner(0)


@attrs.define(eq=False, slots=False)
class ForgetsSettings(Broken):
    """Serves without one of the settings that the function has."""

    setting: str

    def change(self, call: Call) -> Call:
        return wrapped(call, _forgetting(self.setting)) if call.gateway.serve else call


def _forgetting(name: str) -> Callable[[Any], Any]:
    def forget(server: Any) -> Any:
        import dataclasses

        server._settings = dataclasses.replace(server._settings, **{name: None})
        return server

    return forget


class TellsUrlsEarly(Broken):
    """Tells where a function is reached before its server listens."""

    def take(self, event: Event, passing: Passing) -> None:
        if not brings_a_server(passing.call):
            passing.send_on(event)
        elif not isinstance(event, Ready):
            passing.send_on(event)
            if event == State("running"):
                port = passing.call.gateway.exposed_port
                passing.send_on(Ready({"run": f"http://127.0.0.1:{port}"}))


@attrs.define(eq=False, slots=False)
class NeverAsksForHealth(Broken):
    """Takes a service for ready that says that it is not."""

    applies: Callable[[Call], bool]

    def change(self, call: Call) -> Call:
        if not self.applies(call) or call.host_options.health_check_config is None:
            return call
        return _with_check(call, None)


class AsksForHealthOnce(Broken):
    """Lets a service be that has become unwell."""

    def change(self, call: Call) -> Call:
        check = call.host_options.health_check_config
        return call if check is None else _with_check(call, {**check, "call_regularly": False})


def _with_check(call: Call, check: dict[str, Any] | None) -> Call:
    options = attrs.evolve(call.host_options, health_check_config=check)
    return attrs.evolve(call, host_options=options)


class HidesWhyItNeverServed(Broken):
    """Takes a service that fails to start for one that has ended."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and event.raised and brings_a_server(passing.call):
            event = with_value(event, None)
        passing.send_on(event)


class WaitsForEver(Broken):
    """Never gives a service up."""

    def change(self, call: Call) -> Call:
        if not is_service(call):
            return call
        options = attrs.evolve(call.host_options, startup_timeout=None)
        return attrs.evolve(call, host_options=options)
