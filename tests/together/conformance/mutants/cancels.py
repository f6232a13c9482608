"""Hosts that break the laws of cancelling."""

from __future__ import annotations

import threading
from collections.abc import Callable

import attrs

from fal_core.calls import Call
from fal_core.errors import Cancelled, WorkerLost
from fal_core.events import Event, Exited, Outcome, Sealed, Sink, State
from fal_core.hosts import Execution
from fal_core_worker.opening.seals import PLAIN_PREFIX
from mutants.conditions import is_cancelled, is_submitted, is_waited_for
from mutants.wrappers import Broken, Passing, drop


@attrs.define(eq=False, slots=False)
class IgnoresCancel(Broken):
    """Does not cancel some calls."""

    which: Callable[[Passing], bool]

    def cancel(self, grace: float, passing: Passing) -> None:
        if not self.which(passing):
            passing.cancel_inner(grace)


class CancelsAtOnce(Broken):
    """Gives a cancelled call no time to clean up."""

    def cancel(self, grace: float, passing: Passing) -> None:
        passing.cancel_inner(0.0)


@attrs.define(eq=False, slots=False)
class CancelsOneMore(Broken):
    """Cancels a call that comes after one which was cancelled, too."""

    owes: bool = attrs.field(default=False, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        execution = super().launch(call, sink)
        if self.owes:
            self.owes = False
            execution.cancel(0.0)
        return execution

    def cancel(self, grace: float, passing: Passing) -> None:
        self.owes = bool(grace)
        passing.cancel_inner(grace)


class NeverKills(Broken):
    """Asks a cancelled call to end, and no more."""

    def cancel(self, grace: float, passing: Passing) -> None:
        passing.cancel_inner(1e6)


class ForgesCancel(Broken):
    """Reports a call without a waiting caller as cancelled, and lets it run for a while."""

    def cancel(self, grace: float, passing: Passing) -> None:
        if is_waited_for(passing) or is_submitted(passing):
            passing.cancel_inner(grace)
        elif not passing.ended:
            passing.ended = True
            passing.send_on(Exited(reason=Cancelled()))
            passing.send_on = drop  # type: ignore[method-assign]  # broken
            threading.Timer(2.0, passing.cancel_inner, [grace]).start()


class TakesCancelForCrash(Broken):
    """Says of a cancelled call that its worker was lost."""

    def take(self, event: Event, passing: Passing) -> None:
        if is_cancelled(event):
            event = Exited(reason=WorkerLost())
        passing.send_on(event)


class TakesCancelForResult(Broken):
    """Gives None for a call that was cancelled."""

    def take(self, event: Event, passing: Passing) -> None:
        if is_cancelled(event):
            passing.send_on(Outcome(Sealed(PLAIN_PREFIX + b"N."), False))
            event = Exited()
        passing.send_on(event)


class EndsTwice(Broken):
    """Ends a call again that is cancelled after its end."""

    def cancel(self, grace: float, passing: Passing) -> None:
        if passing.ended:
            passing.send_on(Exited(reason=Cancelled()))
        else:
            passing.cancel_inner(grace)


class CannotCancelWhatWaits(Broken):
    """Cancels calls that run, and no others, where only so many may run at once."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.count += event == State("running")
        passing.send_on(event)

    def cancel(self, grace: float, passing: Passing) -> None:
        if passing.count or passing.call.host_options.max_concurrency is None:
            passing.cancel_inner(grace)
