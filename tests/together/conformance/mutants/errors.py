"""Hosts that break the laws of errors of functions."""

from __future__ import annotations

from fal_core.errors import Cancelled, WorkerLost
from fal_core.events import Event, Exited, Log, Outcome, Sealed
from fal_core_worker.opening import seals, values
from fal_core_worker.opening.exceptions import open_error
from mutants.wrappers import Broken, Passing, record_of, with_record


class ChangesErrors(Broken):
    """Changes the record of an error; a subclass says how."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and event.raised:
            event = self.changed(event)
        passing.send_on(event)

    def changed(self, outcome: Outcome) -> Outcome:
        return outcome


class JoinsErrorArguments(ChangesErrors):
    """Makes one text of the arguments of an error."""

    def changed(self, outcome: Outcome) -> Outcome:
        error = open_error(seals.Sealed(*outcome.sealed), {})
        if len(error.args) > 1:
            return Outcome(Sealed(*values.seal_error(type(error)(str(error)), None)), True)
        return outcome


class StripsTracebacks(ChangesErrors):
    """Removes the tracebacks of errors."""

    def changed(self, outcome: Outcome) -> Outcome:
        return with_record({**record_of(outcome), "traceback": ""})


class SwallowsTheClass(ChangesErrors):
    """Rebuilds errors of classes that are not built in by their name alone."""

    def changed(self, outcome: Outcome) -> Outcome:
        return with_record({**record_of(outcome), "sealed": None})


class FlattensUnknownErrors(ChangesErrors):
    """Makes a plain exception of one whose class it cannot import."""

    def changed(self, outcome: Outcome) -> Outcome:
        error = open_error(seals.Sealed(*outcome.sealed), {})
        if type(error).__name__ == "Unknown":
            return Outcome(Sealed(*values.seal_error(Exception(str(error)), None)), True)
        return outcome


class ForgetsCauses(ChangesErrors):
    """Passes on the last error of a chain alone."""

    def changed(self, outcome: Outcome) -> Outcome:
        record = record_of(outcome)
        return with_record(
            {name: value for name, value in record.items() if name not in ("cause", "context")}
        )


class TakesExitsForCrashes(Broken):
    """Takes a function that raises SystemExit for a worker that ended."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and event.raised:
            error = open_error(seals.Sealed(*event.sealed), {})
            if isinstance(error, SystemExit):
                passing.held = [Exited(4, None, WorkerLost(4))]
                return
        if isinstance(event, Exited) and passing.held:
            event = passing.held[0]
        passing.send_on(event)


class ComplainsOfExits(Broken):
    """Prints what its event loop complains of when a function exits."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and event.raised:
            passing.send_on(Log("Task exception was never retrieved", "STDERR", "USER"))
        passing.send_on(event)


class TakesInterruptsForItsOwn(Broken):
    """Takes a function that raises KeyboardInterrupt for one that it has cancelled."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and event.raised:
            error = open_error(seals.Sealed(*event.sealed), {})
            if isinstance(error, KeyboardInterrupt):
                passing.held = [Exited(reason=Cancelled())]
                return
        if isinstance(event, Exited) and passing.held:
            event = passing.held[0]
        passing.send_on(event)
