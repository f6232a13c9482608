"""Hosts that break the laws of futures and maps."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs

from fal_core.calls import Call
from fal_core.errors import HostClosed
from fal_core.events import Event, Item, Outcome, Ready, Sealed, Sink, State
from fal_core.hosts import Execution
from fal_core_worker.opening.seals import PLAIN_PREFIX
from fal_core_worker.stream.frames import RAISED, VALUE
from mutants.conditions import is_error, is_spawned, is_submitted
from mutants.wrappers import Broken, Passing, with_outcomes


@attrs.define(eq=False, slots=False)
class ChangesBatches(Broken):
    """Changes the outcomes of a batch."""

    change_outcomes: Callable[[list[Any]], list[Any]]

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Item) and passing.call.batch:
            event = with_outcomes(event, self.change_outcomes)
        passing.send_on(event)


def reverses(outcomes: list[Any]) -> list[Any]:
    """Gives the outcomes of a batch in another order."""
    return outcomes[::-1]


def loses_the_last(outcomes: list[Any]) -> list[Any]:
    """Loses the last outcome of a batch of several."""
    return outcomes[:-1] if len(outcomes) > 1 else outcomes


def hides_errors(outcomes: list[Any]) -> list[Any]:
    """Takes errors in a batch for results that are None."""
    return [(VALUE, None) if kind == RAISED else (kind, value) for kind, value in outcomes]


@attrs.define(eq=False, slots=False)
class HidesErrorsOfItems(ChangesBatches):
    """Takes errors of submitted calls for results that are None."""

    change_outcomes: Callable[[list[Any]], list[Any]] = hides_errors

    def take(self, event: Event, passing: Passing) -> None:
        if is_error(event) and is_submitted(passing):
            event = Outcome(Sealed(PLAIN_PREFIX + b"N."), False)
        super().take(event, passing)


class BreaksOffBatches(Broken):
    """Reports the items after an error in a batch as failed too."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Item) and passing.call.batch:
            event = with_outcomes(event, _spread)
        passing.send_on(event)


def _spread(outcomes: list[Any]) -> list[Any]:
    spread: list[Any] = []
    for outcome in outcomes:
        failed = spread and spread[-1][0] == RAISED
        spread.append(spread[-1] if failed else outcome)
    return spread


class HidesErrorsOfSpawns(Broken):
    """Drops errors of calls that no caller waits for."""

    def take(self, event: Event, passing: Passing) -> None:
        if is_error(event) and is_spawned(passing):
            event = Outcome(Sealed(PLAIN_PREFIX + b"N."), False)
        passing.send_on(event)


class SaysAllAreReady(Broken):
    """Says of every call that it can be reached."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(event)
        if event == State("running"):
            passing.send_on(Ready({"run": "http://127.0.0.1:9/"}))


class LaunchesFromOneThread(Broken):
    """Takes calls of the main thread alone."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        if threading.current_thread() is not threading.main_thread():
            raise HostClosed(self.name, "It belongs to another thread.")
        return super().launch(call, sink)
