"""Hosts that break the laws of log lines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs

from fal_core.calls import Call
from fal_core.events import Event, Exited, Log, Outcome, Sink
from fal_testing import InProcessHost
from fal_testing.hosts.in_process_calls import InProcessExecution
from mutants.conditions import is_crash, is_recorded, is_spawned
from mutants.wrappers import Broken, Passing


@attrs.define(eq=False, slots=False)
class ChangesLogs(Broken):
    """Changes lines, or drops them where *change* returns None."""

    change_log: Callable[[Log, Passing], Log | None]

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Log) and event.source == "USER":
            passing.count += 1
            changed = self.change_log(event, passing)
            if changed is None:
                return
            event = changed
        passing.send_on(event)


class LosesTheLastLine(Broken):
    """Loses the line that was printed last, where there were many."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome):
            passing.held.clear()
        for log in passing.held:
            passing.send_on(log)
        passing.held.clear()
        passing.count += isinstance(event, Log)
        if isinstance(event, Log) and passing.count > 10:
            passing.held.append(event)
        else:
            passing.send_on(event)


class ReturnsBeforeTheLogs(Broken):
    """Sends the outcome first, and then the rest of the output."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.count += isinstance(event, Log)
        if isinstance(event, Log) and passing.count > 10 and is_recorded(passing):
            passing.held.append(event)
            return
        if isinstance(event, Exited):
            for log in passing.held:
                passing.send_on(log)
        passing.send_on(event)


class HoldsLogsBack(Broken):
    """Sends lines when the function has ended."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Log):
            passing.held.append(event)
            return
        for log in passing.held:
            passing.send_on(log)
        passing.held.clear()
        passing.send_on(event)


class ForgetsLogsOfErrors(Broken):
    """Sends lines with the result, and none if there is no result."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Log):
            passing.held.append(event)
            return
        if not (isinstance(event, Outcome) and event.raised) and not is_crash(event):
            for log in passing.held:
                passing.send_on(log)
        passing.held.clear()
        passing.send_on(event)


@attrs.define(eq=False, slots=False)
class KeepsLinesForTheNextCall(Broken):
    """Sends lines that came after the outcome to the call that comes next."""

    late: list[Event] = attrs.field(factory=list)

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Log):
            self.late.append(event)
        elif isinstance(event, Exited) and passing.call.name == "leave_a_thread":
            self.late.append(Log("left behind"))
        elif isinstance(event, Outcome):
            for log in self.late:
                passing.send_on(log)
            self.late.clear()
        passing.send_on(event) if not isinstance(event, Log) else None


class SplitsRecords(Broken):
    """Sends records line by line."""

    def take(self, event: Event, passing: Passing) -> None:
        if not isinstance(event, Log) or event.logger is None:
            passing.send_on(event)
            return
        for line in event.message.splitlines():
            passing.send_on(attrs.evolve(event, message=line))


class NeedsLineEnds(InProcessHost):
    """Never sends text without a line end."""

    capabilities = attrs.evolve(InProcessHost.capabilities, nodes=1)

    def launch(self, call: Call, sink: Sink) -> InProcessExecution:
        execution = InProcessExecution(self, call, sink)
        execution._printer.flush = lambda: None  # type: ignore[method-assign]  # broken
        threading.Thread(target=execution.run, daemon=True).start()
        return execution


def loses_some_lines(log: Log, passing: Passing) -> Log | None:
    """Loses a line now and then."""
    return None if passing.count % 40 == 0 else log


def prints_all_alike(log: Log, passing: Passing) -> Log:
    """Does not distinguish standard error from standard output."""
    return attrs.evolve(log, level="STDOUT")


def drops_empty_lines(log: Log, passing: Passing) -> Log | None:
    """Takes empty lines for nothing."""
    return log if log.message.strip() else None


def cuts_long_lines(log: Log, passing: Passing) -> Log:
    """Cuts lines at 8 KiB."""
    return attrs.evolve(log, message=log.message[:8192])


def stops_after_many(log: Log, passing: Passing) -> Log | None:
    """Keeps a thousand lines."""
    return log if passing.count <= 1000 else None


def forgets_the_call(log: Log, passing: Passing) -> Log:
    """Does not say which call printed a line."""
    return attrs.evolve(log, call_id=None)


def forgets_the_item(log: Log, passing: Passing) -> Log:
    """Does not say which item of a batch printed a line."""
    return attrs.evolve(log, call_id=passing.call.id)


def forgets_the_time(log: Log, passing: Passing) -> Log:
    """Does not say when a line was printed."""
    return attrs.evolve(log, time=0.0)


def drops_what_is_no_text(log: Log, passing: Passing) -> Log | None:
    """Drops lines that are not UTF-8."""
    return None if "\\x" in log.message else log


def drops_where_nobody_waits(log: Log, passing: Passing) -> Log | None:
    """Drops the lines of calls that no caller waits for."""
    return None if is_spawned(passing) else log


def closes_descriptors(function: Callable[..., Any]) -> Callable[..., Any]:
    """Catches nothing that is printed below Python."""

    def run(*args: Any, **kwargs: Any) -> Any:
        import os

        kept = [os.dup(1), os.dup(2)]
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 1)
            os.dup2(null, 2)
            return function(*args, **kwargs)
        finally:
            os.dup2(kept[0], 1)
            os.dup2(kept[1], 2)
            for descriptor in (*kept, null):
                os.close(descriptor)

    return run
