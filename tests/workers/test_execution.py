"""Executions: how a call in a worker ends, whichever end is at fault."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pipe_hosts import PATIENCE, PipeHost

from fal_core import function
from fal_core.errors import Cancelled, WorkerLost
from fal_core.events import Event, Exited, Log, Outcome, Sealed, Started
from fal_core.sinks.call_sinks import HandlerFailed
from fal_core.sinks.event_thread import get_event_thread
from fal_core.workers.execution import WorkerExecution
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder


def record(isolated: Any, *arguments: Any, kind: type[Recorder] = Recorder) -> Recorder:
    """Launch a call, and return what records its events."""
    recorder = kind(isolated.make_launcher())
    recorder.launch(*arguments)
    return recorder


class Raising(Recorder):
    """Raises for each line of output."""

    def __call__(self, event: Event) -> None:
        super().__call__(event)
        if isinstance(event, Log):
            raise LookupError(event.message)


def test_a_sink_that_raises_ends_its_call(pipe_host: PipeHost) -> None:
    """The call is cancelled, and its end has the exception; the worker takes the next call."""

    @function("current", host=pipe_host)
    def speak() -> None:
        import time

        print("first", flush=True)
        # Ends by being cancelled.
        time.sleep(600)

    recorder = record(speak, kind=Raising)
    exited = recorder.wait(PATIENCE)
    assert isinstance(exited.reason, HandlerFailed)
    assert isinstance(exited.reason.__cause__, LookupError)
    assert recorder.outcome is None
    assert [log.message for log in recorder.logs] == ["first"]
    assert function("current", host=pipe_host)(os.getppid)()


def test_a_call_that_does_not_end_is_killed(pipe_host: PipeHost, tmp_path: Path) -> None:
    """After the grace the worker is ended, and the end of the call is that it was cancelled."""
    began = tmp_path / "began"

    @function("current", host=pipe_host)
    def resist(began: Path) -> None:
        import signal
        import time

        signal.signal(signal.SIGINT, signal.SIG_IGN)
        began.touch()
        # Ends by being killed.
        time.sleep(600)

    recorder = record(resist, began)
    assert wait_until(began.exists, PATIENCE)
    recorder.cancel(0.01)
    assert isinstance(recorder.wait(PATIENCE).reason, Cancelled)
    assert recorder.outcome is None
    assert wait_until(lambda: pipe_host.worker is not None and pipe_host.worker.gone, PATIENCE)


def test_cancelling_what_has_ended_does_nothing(pipe_host: PipeHost) -> None:
    """A call that is cancelled late leaves its worker to the next one."""
    isolated = function("current", host=pipe_host)(os.getpid)
    recorder = record(isolated)
    pid = recorder.result(PATIENCE)
    recorder.cancel(0)
    assert isolated() == pid


def test_a_call_that_ends_within_the_grace_leaves_its_worker(
    pipe_host: PipeHost, tmp_path: Path
) -> None:
    """Once a cancelled call has ended, nothing is killed when its grace is over."""
    began, grace = tmp_path / "began", 0.5

    @function("current", host=pipe_host)
    def wait(began: Path) -> None:
        import time

        began.touch()
        # Ends by being cancelled.
        time.sleep(600)

    isolated = function("current", host=pipe_host)(os.getpid)
    pid = isolated()
    recorder = record(wait, began)
    assert wait_until(began.exists, PATIENCE)
    recorder.cancel(grace)
    over = threading.Event()
    get_event_thread().after(grace, over.set)
    assert isinstance(recorder.wait(PATIENCE).reason, Cancelled)
    assert over.wait(PATIENCE)
    assert isolated() == pid


@pytest.mark.faults
def test_a_lost_worker_gives_its_facts_to_the_end(pipe_host: PipeHost) -> None:
    """The end has the exit code of the worker, and the error that its host has made of it."""
    recorder = record(function("current", host=pipe_host)(os._exit), 7)
    exited = recorder.wait(PATIENCE)
    assert isinstance(exited.reason, WorkerLost)
    assert (exited.code, exited.reason.code) == (7, 7)
    assert recorder.outcome is None


def execution_of(isolated: Any, sink: Any, *, batch: int = 0, **controls: Any) -> Any:
    """Return an execution of a call that no worker runs."""
    launcher = isolated.make_launcher()
    items: Any = [((), {})] * batch
    call = launcher.call(items or ((), {}), **({"batch": batch} if batch else {}))
    ignore: Any = lambda *_: None  # noqa: E731  # it stands for each of four
    every = {"send": ignore, "answer": ignore, "drive": ignore, "kill": ignore, **controls}
    return WorkerExecution(SimpleNamespace(**every), 1, call, sink)  # type: ignore[arg-type]


def test_a_lost_batch_tells_how_far_it_came(pipe_host: PipeHost) -> None:
    """Items that had been started are reported before the end, a single call has none."""
    isolated = function("current", host=pipe_host)(os.getpid)
    events: list[Event] = []
    lost = WorkerLost(signal=signal.SIGKILL, function="getpid")
    execution_of(isolated, events.append, batch=3).lose(lost, 2)
    assert events == [Started(2), Exited(None, signal.SIGKILL, lost)]
    events.clear()
    execution_of(isolated, events.append).lose(lost, 2)
    assert events == [Exited(None, signal.SIGKILL, lost)]


def test_whoever_waits_is_woken_even_if_the_sink_raises(pipe_host: PipeHost) -> None:
    """A sink that raises for the last event keeps nobody waiting."""

    def refuse(event: Event) -> None:
        if isinstance(event, Exited):
            raise LookupError("end")

    execution = execution_of(function("current", host=pipe_host)(os.getpid), refuse)
    waiting = threading.Thread(target=execution.wait, args=(PATIENCE,))
    waiting.start()
    with pytest.raises(LookupError, match="end"):
        execution.lose(WorkerLost(), None)
    waiting.join(PATIENCE / 2)
    assert not waiting.is_alive()
    assert execution.ended
    # It returns at once from now on.
    execution.wait(None)


def test_nothing_is_delivered_after_a_sink_has_raised(pipe_host: PipeHost) -> None:
    """Once its sink has raised, a call has no more events but its end."""
    events: list[Event] = []

    def take(event: Event) -> None:
        events.append(event)
        if isinstance(event, Log):
            raise LookupError

    execution = execution_of(function("current", host=pipe_host)(os.getpid), take)
    execution.deliver(Log("one"))
    execution.deliver(Log("two"))
    execution.finish(Outcome(Sealed(b"\x01\x00\x03\x0bN.")))
    assert events[0] == Log("one")
    assert [type(event) for event in events] == [Log, Exited]
    assert not any(isinstance(event, Outcome) for event in events)
