"""
Deliberately broken hosts: each breaks one promise, as a careless author might.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import attrs
from wrappers import (
    Broken,
    Passing,
    open_value,
    record_of,
    with_outcomes,
    with_record,
    with_value,
    wrapped,
)

from fal_core.calls import Call
from fal_core.environments import CurrentEnvironment
from fal_core.errors import Cancelled, HostClosed, OptionError, UnsupportedError, WorkerLost
from fal_core.events import (
    Event,
    Exited,
    HomeCall,
    Item,
    Log,
    Outcome,
    Ready,
    Sink,
    Started,
    State,
)
from fal_core.hosts import Capabilities, Driver, Execution, ExecutionStatus, Host
from fal_core.options import Options
from fal_core.testing import InProcessHost
from fal_core.testing.hosts import InProcessExecution
from fal_core.workers import ARGUMENTS, Worker
from fal_core_worker import frames, opening
from fal_core_worker.rebuilding import open_error
from fal_core_worker.seals import PLAIN_PREFIX, Sealed
from fal_core_worker.slots import RAISED, VALUE
from fal_host_local import LocalHost

# -- calls -----------------------------------------------------------------------


class TurnsBytesIntoText(Broken):
    """Passes mappings on as JSON, which has no bytes."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and not event.raised and not passing.call.batch:
            value = open_value(event.sealed)
            if type(value) is dict:
                event = with_value(event, {key: _as_text(item) for key, item in value.items()})
        passing.send_on(event)


def _as_text(item: Any) -> Any:
    return item.decode("latin-1") if isinstance(item, bytes) else item


class DropsKeywords(Broken):
    """Forgets the arguments that are given by name."""

    def change(self, call: Call) -> Call:
        if call.batch or call.lifetime == "detached":
            return call
        args, _ = open_value(call.arguments)
        return call.again(call.id, opening.seal_value((args, {}), None))


class RefusesLargeArguments(Broken):
    """Takes no message beyond four megabytes."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        if len(call.arguments.data) > 4 << 20:
            raise HostClosed("local", "The message is too large.")
        return super().launch(call, sink)


class ReversesBuffers(Broken):
    """Sends buffers in another order."""

    def change(self, call: Call) -> Call:
        data, buffers = call.arguments
        return call.again(call.id, Sealed(data, tuple(reversed(buffers))))


@attrs.define(eq=False, slots=False)
class Memoizes(Broken):
    """Takes calls of one function whose arguments are equally long to be equal."""

    known: dict[Any, Outcome] = attrs.field(factory=dict)

    def take(self, event: Event, passing: Passing) -> None:
        call = passing.call
        if isinstance(event, Outcome) and not call.batch and not call.stream:
            key = call.function.digest, len(call.arguments.data)
            event = self.known.setdefault(key, event)
        passing.send_on(event)


@attrs.define(eq=False, slots=False)
class MixesCallsAtOnce(Broken):
    """Gives a call that others run beside the outcome that came last."""

    running: set[str] = attrs.field(factory=set)
    last: dict[str, Outcome] = attrs.field(factory=dict)

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.running.add(call.id)
        return super().launch(call, sink)

    def take(self, event: Event, passing: Passing) -> None:
        digest = passing.call.function.digest
        if isinstance(event, Outcome) and not (event.raised or passing.call.batch):
            last, self.last[digest] = self.last.get(digest), event
            if len(self.running) > 1 and last is not None:
                event = last
        if isinstance(event, Exited):
            self.running.discard(passing.call.id)
        passing.send_on(event)


@attrs.define(eq=False, slots=False)
class KnowsFunctionsByName(Broken):
    """Takes functions of one name and size to be one function."""

    known: dict[Any, Any] = attrs.field(factory=dict)

    def change(self, call: Call) -> Call:
        key = call.name, len(call.function.native.data)
        return attrs.evolve(call, function=self.known.setdefault(key, call.function))


class RunsTwice(Broken):
    """Launches each call twice, to be safe, and takes the answer of one."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing: Any = super().launch(call, sink)
        if not (call.batch or call.stream or call.lifetime == "detached"):
            passing.twin = self.inner.launch(call.again(f"{call.id}-2", call.arguments), _drop)
        return passing  # type: ignore[no-any-return]

    def cancel(self, grace: float, passing: Passing) -> None:
        passing.cancel_inner(grace)
        twin = getattr(passing, "twin", None)
        if twin is not None:
            twin.cancel(grace)


def _drop(event: Event) -> None:
    pass


class CopiesClasses(Broken):
    """Opens results and pickles them anew, with classes of its own."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and not event.raised and not passing.call.batch:
            value = open_value(event.sealed)
            kind = type(value)
            if kind.__module__.startswith("fal_core.testing.laws"):
                fields = {
                    name: item
                    for name, item in vars(kind).items()
                    if name not in ("__dict__", "__weakref__")
                }
                copy = type(kind.__name__, kind.__bases__, fields)
                other = object.__new__(copy)
                other.__dict__.update(vars(value))
                event = with_value(event, other)
        passing.send_on(event)


class HidesWhatCannotTravel(Broken):
    """Gives None for results that cannot be pickled."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and event.raised and record_of(event).get("own"):
            event = with_value(event, None)
        passing.send_on(event)


class IgnoresSetup(Broken):
    """Runs functions without their setup."""

    def change(self, call: Call) -> Call:
        return attrs.evolve(call, setup=None)


# -- errors ------------------------------------------------------------------------


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
        error = open_error(outcome.sealed, {})
        if len(error.args) > 1:
            return Outcome(opening.seal_error(type(error)(str(error)), None), True)
        return outcome


class StripsTracebacks(ChangesErrors):
    """Shows nobody what the code of others looks like."""

    def changed(self, outcome: Outcome) -> Outcome:
        return with_record({**record_of(outcome), "traceback": ""})


class SwallowsTheClass(ChangesErrors):
    """Rebuilds errors of classes that are not built in by their name alone."""

    def changed(self, outcome: Outcome) -> Outcome:
        return with_record({**record_of(outcome), "sealed": None})


class FlattensUnknownErrors(ChangesErrors):
    """Makes a plain exception of one whose class it cannot import."""

    def changed(self, outcome: Outcome) -> Outcome:
        error = open_error(outcome.sealed, {})
        if type(error).__name__ == "Unknown":
            return Outcome(opening.seal_error(Exception(str(error)), None), True)
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
            error = open_error(event.sealed, {})
            if isinstance(error, SystemExit):
                passing.held = [Exited(4, None, WorkerLost(4))]
                return
        if isinstance(event, Exited) and passing.held:
            event = passing.held[0]
        passing.send_on(event)


class TakesInterruptsForItsOwn(Broken):
    """Takes a function that raises KeyboardInterrupt for one that it has cancelled."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and event.raised:
            error = open_error(event.sealed, {})
            if isinstance(error, KeyboardInterrupt):
                passing.held = [Exited(reason=Cancelled())]
                return
        if isinstance(event, Exited) and passing.held:
            event = passing.held[0]
        passing.send_on(event)


@attrs.define(eq=False, slots=False)
class GivesUpOn(Broken):
    """Takes no more calls of a function after something has happened to one."""

    what: Callable[[Event], bool]
    bad: set[str] = attrs.field(factory=set)

    def launch(self, call: Call, sink: Sink) -> Execution:
        if call.function.digest in self.bad:
            raise HostClosed("local", "The worker is broken.")
        return super().launch(call, sink)

    def take(self, event: Event, passing: Passing) -> None:
        if not passing.call.batch and self.what(event):
            self.bad.add(passing.call.function.digest)
        passing.send_on(event)


def is_error(event: Event) -> bool:
    """Tell whether the function raised."""
    return isinstance(event, Outcome) and event.raised


def is_cancelled(event: Event) -> bool:
    """Tell whether the call was cancelled."""
    return isinstance(event, Exited) and isinstance(event.reason, Cancelled)


def is_crash(event: Event) -> bool:
    """Tell whether the worker was lost."""
    return isinstance(event, Exited) and isinstance(event.reason, WorkerLost)


class BreaksOffBatches(Broken):
    """Takes what follows an error in a batch for failed with it."""

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


# -- logs ------------------------------------------------------------------------


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
    """Loses the line that was printed last."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome):
            passing.held.clear()
        held, passing.held = passing.held, []
        for log in held:
            passing.send_on(log)
        if isinstance(event, Log) and passing.call.name not in ("wait", "beat"):
            passing.held.append(event)
        else:
            passing.send_on(event)


class ReturnsBeforeTheLogs(Broken):
    """Gives the outcome first, and then what was printed."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Log):
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
    """Sends lines with the result, and none where there is no result."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Log):
            passing.held.append(event)
            return
        if not (isinstance(event, Outcome) and event.raised) and not is_crash(event):
            for log in passing.held:
                passing.send_on(log)
        passing.held.clear()
        passing.send_on(event)


class NeedsLineEnds(InProcessHost):
    """Never sends what has no line end."""

    def launch(self, call: Call, sink: Sink) -> InProcessExecution:
        execution = InProcessExecution(self, call, sink)
        execution._printer.flush = lambda: None  # type: ignore[method-assign]
        threading.Thread(target=execution.run, daemon=True).start()
        return execution


def loses_some_lines(log: Log, passing: Passing) -> Log | None:
    """Loses a line now and then."""
    return None if passing.count % 40 == 0 else log


def prints_all_alike(log: Log, passing: Passing) -> Log:
    """Does not tell errors from output."""
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
    """Drops the lines of calls that nobody waits for."""
    return None if type(passing.sink).__name__ == "SpawnSink" else log


@attrs.define(eq=False, slots=False)
class Wraps(Broken):
    """Runs functions inside another one, in the worker."""

    make: Callable[[Callable[..., Any]], Callable[..., Any]]

    def change(self, call: Call) -> Call:
        if call.stream or call.lifetime == "detached":
            return call
        return wrapped(call, self.make)


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


def hides_secrets(function: Callable[..., Any]) -> Callable[..., Any]:
    """Gives a function no secrets."""

    def run(*args: Any, **kwargs: Any) -> Any:
        import os

        os.environ.pop("FAL_CORE_LAW_SECRET", None)
        return function(*args, **kwargs)

    return run


# -- events ------------------------------------------------------------------------


class ReportsAfterTheEnd(Broken):
    """Has something to add after the end."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(event)
        if isinstance(event, Exited):
            late = Log("The worker has been freed.", "INFO", "BRIDGE")
            threading.Timer(0.05, passing.send_on, [late]).start()


class ReportsOutcomesTwice(Broken):
    """Says twice how a call has ended."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(event)
        if isinstance(event, Outcome) and not event.raised:
            passing.send_on(event)


class TakesErrorsForItsOwn(Broken):
    """Says that it failed itself where the function raised."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.count += is_error(event)
        if isinstance(event, Exited) and event.reason is None and passing.count:
            event = Exited(reason=HostClosed("local", "The function raised."))
        passing.send_on(event)


class DeliversAtOnce(Broken):
    """Delivers lines from threads of their own."""

    def take(self, event: Event, passing: Passing) -> None:
        if not isinstance(event, Log):
            for held in passing.held:
                held.join()  # type: ignore[attr-defined]
            passing.send_on(event)
            return
        thread = threading.Thread(target=passing.send_on, args=(event,))
        passing.held.append(thread)  # type: ignore[arg-type]
        thread.start()


class SaysNoPhases(Broken):
    """Says nothing of phases."""

    def take(self, event: Event, passing: Passing) -> None:
        if not isinstance(event, State):
            passing.send_on(event)


class LaunchWaits(Broken):
    """Launches by running."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing = super().launch(call, sink)
        if not (call.batch or call.stream):
            until = time.monotonic() + 3
            while not passing.ended and time.monotonic() < until:  # type: ignore[attr-defined]
                time.sleep(0.01)
        return passing


class NamesAllAlike(Broken):
    """Has one reference for all its executions."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing = super().launch(call, sink)
        if call.lifetime == "detached":
            return passing
        return SameName(passing)


class SameName(Passing):
    """An execution that is called as all others."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    @property
    def reference(self) -> str:
        return "the call"

    def cancel(self, grace: float) -> None:
        self.inner.cancel(grace)


# -- futures, maps, streams ----------------------------------------------------------


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


class HidesErrorsOfItems(ChangesBatches):
    """Takes errors of submitted calls for results that are None."""

    def take(self, event: Event, passing: Passing) -> None:
        if is_error(event) and type(passing.sink).__name__ == "Batch":
            event = Outcome(Sealed(PLAIN_PREFIX + b"N."), False)
        super().take(event, passing)


class HidesErrorsOfSpawns(Broken):
    """Takes errors of calls that nobody waits for to interest nobody."""

    def take(self, event: Event, passing: Passing) -> None:
        if is_error(event) and type(passing.sink).__name__ == "SpawnSink":
            event = Outcome(Sealed(PLAIN_PREFIX + b"N."), False)
        passing.send_on(event)


class SaysAllAreReady(Broken):
    """Says of every call that it can be reached."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(event)
        if event == State("running"):
            passing.send_on(Ready({"run": "http://127.0.0.1:9/"}))


@attrs.define(eq=False, slots=False)
class LosesAnItem(Broken):
    """Loses one item of a stream."""

    index: int

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Item) and not passing.call.batch:
            passing.count += 1
            if passing.count == self.index:
                return
        passing.send_on(event)


class AsyncGeneratorsAsLists(InProcessHost):
    """Runs an asynchronous generator to its end, and returns a list."""

    def launch(self, call: Call, sink: Sink) -> InProcessExecution:
        execution = InProcessExecution(self, call, sink)
        finish = execution.finish

        def changed(value: Any) -> Any:
            return _collect(value) if hasattr(value, "__anext__") else finish(value)

        execution.finish = changed  # type: ignore[method-assign]
        threading.Thread(target=execution.run, daemon=True).start()
        return execution


def _collect(items: Any) -> Any:
    import asyncio

    async def collect() -> list[Any]:
        return [item async for item in items]

    return asyncio.run(collect())


class HoldsItemsBack(Broken):
    """Sends an item when the next thing happens."""

    def take(self, event: Event, passing: Passing) -> None:
        for item in passing.held:
            passing.send_on(item)
        passing.held.clear()
        if isinstance(event, Item) and passing.call.stream:
            passing.held.append(event)
        else:
            passing.send_on(event)


class ForgetsItemsOfErrors(Broken):
    """Forgets the last item where the generator raised then."""

    def take(self, event: Event, passing: Passing) -> None:
        if is_error(event):
            passing.held.clear()
        for item in passing.held:
            passing.send_on(item)
        passing.held.clear()
        if isinstance(event, Item) and passing.call.stream:
            passing.held.append(event)
        else:
            passing.send_on(event)


class NeverHoldsBack(Broken):
    """Lets generators run as fast as they can."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Item) and not passing.count:
            passing.count = 1
            passing.send(frames.Frame(frames.CREDIT, 0, 100_000, 0, b""))
        passing.send_on(event)


class LogsAfterItems(Broken):
    """Sends the lines of a generator after the item that they came before."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Log) and passing.call.stream:
            passing.held.append(event)
            return
        passing.send_on(event)
        for log in passing.held:
            passing.send_on(log)
        passing.held.clear()


# -- async functions -------------------------------------------------------------------


class NeverAwaits(InProcessHost):
    """Returns from an ``async def`` function at once."""

    def launch(self, call: Call, sink: Sink) -> InProcessExecution:
        execution = InProcessExecution(self, call, sink)
        finish = execution.finish

        def changed(value: Any) -> Any:
            if hasattr(value, "cr_await"):
                value.close()
                return None
            return finish(value)

        execution.finish = changed  # type: ignore[method-assign]
        threading.Thread(target=execution.run, daemon=True).start()
        return execution


# -- cancel ------------------------------------------------------------------------------


@attrs.define(eq=False, slots=False)
class IgnoresCancel(Broken):
    """Does not cancel some calls."""

    which: Callable[[Passing], bool]

    def cancel(self, grace: float, passing: Passing) -> None:
        if not self.which(passing):
            passing.cancel_inner(grace)


def is_stream(passing: Passing) -> bool:
    """Tell whether the call is a stream."""
    return passing.call.stream


def is_submitted(passing: Passing) -> bool:
    """Tell whether the call was submitted."""
    return type(passing.sink).__name__ == "Batch" or "watch" in repr(passing.sink)


def is_waited_for(passing: Passing) -> bool:
    """Tell whether a thread waits for the call."""
    return isinstance(passing.sink, Driver)


class CancelsAtOnce(Broken):
    """Gives a cancelled call no time to clean up."""

    def cancel(self, grace: float, passing: Passing) -> None:
        passing.cancel_inner(0.0)


class NeverKills(Broken):
    """Asks a cancelled call to end, and no more."""

    def cancel(self, grace: float, passing: Passing) -> None:
        passing.cancel_inner(1e6)


class ForgesCancel(Broken):
    """Says that a call was cancelled, and lets it run."""

    def cancel(self, grace: float, passing: Passing) -> None:
        if not passing.ended:
            passing.ended = True
            passing.send_on(Exited(reason=Cancelled()))
            passing.send_on = _drop  # type: ignore[method-assign]


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
    """Cancels calls that run, and no others."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.count += event == State("running")
        passing.send_on(event)

    def cancel(self, grace: float, passing: Passing) -> None:
        if passing.count:
            passing.cancel_inner(grace)


@attrs.define(eq=False, slots=False)
class CancelsNeighbours(Broken):
    """Cancels every call of a worker with one of them."""

    running: list[Passing] = attrs.field(factory=list)

    def take(self, event: Event, passing: Passing) -> None:
        if event == State("running"):
            self.running.append(passing)
        passing.send_on(event)

    def cancel(self, grace: float, passing: Passing) -> None:
        passing.cancel_inner(grace)
        for other in self.running:
            if not other.ended and other is not passing:
                other.cancel_inner(grace)


class LeavesChildren(Host[..., Any]):
    """Starts workers that nobody guards."""

    name = "local"
    capabilities = Capabilities(options=frozenset(), concurrency=2)

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []

    def launch(self, call: Call, sink: Sink) -> Execution:
        stdin, writer = os.pipe()
        reader, stdout = os.pipe()
        import sys

        process = subprocess.Popen([sys.executable, *ARGUMENTS], stdin=stdin, stdout=stdout)
        self.processes.append(process)
        os.close(stdin)
        os.close(stdout)
        worker = Worker(
            reader,
            writer,
            lost=lambda: _how(process),
            kill=process.kill,
            idle=Worker.stop,
            settings={"kept": True},
        )
        return worker.launch(call, sink)

    def close(self) -> None:
        # Nobody else waits for a worker that ended well, and a Popen that is dropped
        # before that warns in whichever test runs then.
        for process in self.processes:
            process.kill()
            process.wait()


def _how(process: subprocess.Popen[bytes]) -> WorkerLost:
    code = process.wait()
    return WorkerLost(code) if code >= 0 else WorkerLost(signal=-code)


# -- crashes -------------------------------------------------------------------------------


class SwallowsCrashes(Broken):
    """Gives None for a call whose worker was lost."""

    def take(self, event: Event, passing: Passing) -> None:
        if is_crash(event) and not passing.call.batch:
            passing.send_on(Outcome(Sealed(PLAIN_PREFIX + b"N."), False))
            event = Exited()
        passing.send_on(event)


@attrs.define(eq=False, slots=False)
class RunsLostCallsAgain(Broken):
    """Gives a call whose worker was lost another chance, unasked."""

    again: set[str] = attrs.field(factory=set)

    def take(self, event: Event, passing: Passing) -> None:
        call = passing.call
        if is_crash(event) and call.id not in self.again and not (call.batch or call.stream):
            self.again.add(call.id)
            passing.inner = self.inner.launch(call, passing.take)
            return
        passing.send_on(event)


class ForgetsWhatWasStarted(Broken):
    """Says of a batch that no item but the first was started."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Started) and event.count > 1:
            event = Started(1)
        if isinstance(event, Item) and passing.call.batch and event.count > 1:
            passing.held.append(event)
            return
        if isinstance(event, Outcome):
            for item in passing.held:
                passing.send_on(item)
        passing.send_on(event)


# -- warm workers ---------------------------------------------------------------------------


_numbers = itertools.count(1)


class StartsAnewEachTime(Broken):
    """Keeps no worker for a second call."""

    def change(self, call: Call) -> Call:
        keep_alive = (call.host_options.keep_alive or 10) + next(_numbers) / 1000
        return attrs.evolve(
            call, host_options=attrs.evolve(call.host_options, keep_alive=keep_alive)
        )


class LeaksWorkers(Broken):
    """Never ends a worker."""

    def change(self, call: Call) -> Call:
        options = attrs.evolve(call.host_options, keep_alive=3600)
        return attrs.evolve(call, host_options=options)


class SharesWorkers(LocalHost):
    """Runs functions of any setup in the same workers."""

    def _find_pool(self, call: Call) -> Any:
        options = attrs.evolve(call.host_options, setup_function=None)
        return super()._find_pool(attrs.evolve(call, setup=None, host_options=options))


class RunsOneAtATime(Broken):
    """Takes no notice of ``max_multiplexing``."""

    def change(self, call: Call) -> Call:
        options = attrs.evolve(call.host_options, max_multiplexing=None)
        return attrs.evolve(call, host_options=options)


@attrs.define(eq=False, slots=False)
class MixesLines(Broken):
    """Gives lines to the call that was launched last."""

    latest: Passing | None = None

    def launch(self, call: Call, sink: Sink) -> Execution:
        self.latest = None
        return super().launch(call, sink)

    def take(self, event: Event, passing: Passing) -> None:
        if event == State("running"):
            self.latest = passing
        latest = self.latest
        if isinstance(event, Log) and latest is not None and not latest.ended:
            latest.send_on(event)
        else:
            passing.send_on(event)


# -- home, options, environments, secrets, detached work ---------------------------


class RefusesHome(Broken):
    """Knows no way home."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, HomeCall):
            passing.ended = True
            passing.send_on(Exited(reason=UnsupportedError("local", "call home")))
            passing.send_on = _drop  # type: ignore[method-assign]
            threading.Timer(0.1, lambda: passing.inner.cancel(0)).start()
            return
        passing.send_on(event)


class HidesErrorsAtHome(Broken):
    """Answers with None where a call at home raised."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing: Any = super().launch(call, sink)
        send = passing.send

        def changed(frame: Any) -> None:
            if frame.kind == frames.HOME_RESULT and frame.b:
                frame = frame._replace(b=0, payload=PLAIN_PREFIX + b"N.")
            send(frame)

        passing.send = changed
        return passing  # type: ignore[no-any-return]


class LeavesNoRoom(LocalHost):
    """Counts workers that wait for a call at home among those at work."""

    def _find_pool(self, call: Call) -> Any:
        pool = super()._find_pool(call)
        pool.call_away = lambda change: None  # type: ignore[method-assign]
        return pool


class DropsOptions(Broken):
    """Keeps the options that it knows."""

    @classmethod
    def parse_options(cls, **config: Any) -> Options:
        config.pop("machine_type", None)
        config.pop("metadata", None)
        return LocalHost.parse_options(**config)


class RefusesOptions(Broken):
    """Refuses options that it does not know."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        if call.host_options.metadata:
            raise UnsupportedError("local", "use option 'metadata'")
        return super().launch(call, sink)


class BelievesOptions(Broken):
    """Takes whatever options it is given."""

    @classmethod
    def parse_options(cls, **config: Any) -> Options:
        try:
            return LocalHost.parse_options(**config)
        except OptionError:
            return Options(environment={"kind": config.get("kind", "current")})


class RunsItself(Broken):
    """Writes ``run`` anew, and forgets half of it."""

    def run(self, func: Any, options: Any, args: Any, kwargs: Any, *more: Any) -> Any:
        return super().run(func, options, args, {}, *more)


class IgnoresEnvironments(Broken):
    """Runs everything in the Python that is there."""

    def change(self, call: Call) -> Call:
        return attrs.evolve(call, environment=CurrentEnvironment())


@attrs.define(eq=False, slots=False)
class SharesSecrets(Broken):
    """Leaves the secrets of a function to the next one."""

    names: tuple[str, ...] = ()

    def change(self, call: Call) -> Call:
        own = call.host_options.secrets or ()
        names, self.names = tuple({*self.names, *own}), own
        options = attrs.evolve(call.host_options, secrets=names or None)
        return attrs.evolve(call, host_options=options)


class TellsSecrets(Broken):
    """Logs what it gives to a function."""

    def take(self, event: Event, passing: Passing) -> None:
        passing.send_on(event)
        if event == State("running"):
            for name in passing.call.host_options.secrets or ():
                message = f"{name} is {os.environ.get(name)}"
                passing.send_on(Log(message, "DEBUG", "BRIDGE"))


class ForgivesSecrets(Broken):
    """Starts functions whose secrets are not set."""

    def change(self, call: Call) -> Call:
        names = tuple(name for name in call.host_options.secrets or () if name in os.environ)
        options = attrs.evolve(call.host_options, secrets=names or None)
        return attrs.evolve(call, host_options=options)


class DetachesNothing(Broken):
    """Runs detached work as any other."""

    def change(self, call: Call) -> Call:
        return attrs.evolve(call, lifetime="attached")


class ListsNothing(Broken):
    """Lists no detached work."""

    def executions(self) -> Iterable[ExecutionStatus]:
        return ()


class RepeatsTheJournal(Broken):
    """Tells everything from the start to whoever attaches."""

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        return self.inner.attach(reference, sink, 0)


class AttachesToNothing(Broken):
    """Waits for work that there is not."""

    def attach(self, reference: str, sink: Sink, after: int = 0) -> Execution:
        try:
            return self.inner.attach(reference, sink, after)
        except Exception:
            return Passing(self, None, sink)  # type: ignore[arg-type]


class DetachesAnotherHost(Broken):
    """Keeps detached work where other processes do not find it."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        passing: Any = super().launch(call, sink)
        if call.lifetime == "detached":
            return SameName(passing)
        return passing  # type: ignore[no-any-return]
