"""Driving: the stream of a worker is read by whoever waits for a call, from its first byte."""

from __future__ import annotations

import os
import pickle
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipe_hosts import PATIENCE, Owner, PipeHost

from fal_core import function
from fal_core.abilities import Driver
from fal_core.errors import WorkerLost
from fal_core.events import Event, Exited, Log, Outcome, State
from fal_core.sinks.event_thread import get_event_thread
from fal_core.workers import ARGUMENTS, Worker
from fal_core.workers.driving import Banner
from fal_core_worker.stream.frames import (
    CALL,
    HEADER,
    HELLO,
    ITEM,
    LOG,
    MAGIC,
    OUTCOME,
    READY,
    VERSION,
)
from fal_testing.harness.processes import wait_until


@given(st.binary().filter(lambda data: MAGIC not in data), st.binary(), st.integers(1, 60))
def test_what_is_printed_before_the_worker_starts_becomes_lines(
    printed: bytes, rest: bytes, size: int
) -> None:
    """Whatever comes before the magic is reported as lines, however the bytes are cut."""
    written = printed + MAGIC + rest
    reader, writer = os.pipe()
    logs: list[Log] = []
    banner, got = Banner(), b""
    while written:
        os.write(writer, written[:size])
        written = written[size:]
        if banner.ended:
            got += os.read(reader, size)
        else:
            got += banner.read(reader, logs.append) or b""
    os.close(writer)
    os.close(reader)
    assert banner.ended
    assert got == rest
    lines = printed.decode("utf-8", "backslashreplace").splitlines()
    assert [log.message for log in logs] == lines
    assert {(log.level, log.source) for log in logs} <= {("STDERR", "BRIDGE")}


def test_what_is_printed_by_a_python_that_ends_is_reported(pipe_host: PipeHost) -> None:
    """A process that ends before the worker in it starts has its output shown by the call."""
    pipe_host.arguments = ("-c", "print('no such environment')")
    pipe_host.start()
    assert pipe_host.process is not None
    pipe_host.process.wait(PATIENCE)
    launcher = function("current", host=pipe_host)(len).make_launcher()
    events: list[Event] = []
    with pytest.raises(ConnectionError):
        pipe_host.launch(launcher.call((("four",), {})), events.append)
    assert [each.message for each in events if isinstance(each, Log)] == ["no such environment"]


def test_output_before_the_worker_is_that_of_the_first_call(pipe_host: PipeHost) -> None:
    """What a Python prints as it starts is shown by the call that waits for it."""
    *options, source = ARGUMENTS
    pipe_host.arguments = (*options, f"print('welcome')\n{source}")
    info = function("current", host=pipe_host)(len).spawn("four")
    assert info.return_value == 4
    assert info.logs.get(timeout=PATIENCE).message == "welcome"


class Waiting(Driver):
    """The sink of a call that a thread waits for."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.threads: set[int] = set()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        # That it runs is told as it is launched.
        if not isinstance(event, State):
            self.threads.add(threading.get_ident())

    @property
    def ended(self) -> bool:
        return any(isinstance(event, Exited) for event in self.events)


def launch(host: PipeHost, isolated: Any, *arguments: Any) -> tuple[Any, Waiting]:
    """Launch a call that this thread is to drive."""
    sink = Waiting()
    return host.launch(isolated.make_launcher().call((arguments, {})), sink), sink


def wait_for(path: Path) -> int:
    """Print, and wait until a file is there."""
    import time

    print("waiting", flush=True)
    while not path.exists():
        time.sleep(0.01)
    return 3


def test_the_thread_that_drives_delivers_the_events(
    pipe_host: PipeHost, tmp_path: Path
) -> None:
    """It returns when its time is over or the call has ended, and has delivered all itself."""
    until = tmp_path / "until"
    execution, sink = launch(pipe_host, function("current", host=pipe_host)(wait_for), until)
    execution.drive(0.01)
    assert not sink.ended
    until.touch()
    execution.drive(PATIENCE)
    assert sink.ended
    assert any(isinstance(event, Outcome) for event in sink.events)
    assert sink.threads == {threading.get_ident()}
    # It has nothing more to do.
    execution.drive(None)


def test_another_thread_delivers_while_a_call_is_followed(
    pipe_host: PipeHost, tmp_path: Path
) -> None:
    """A thread that drives a call which the event thread follows waits for that one."""
    until = tmp_path / "until"
    execution, sink = launch(pipe_host, function("current", host=pipe_host)(wait_for), until)
    assert pipe_host.worker is not None
    pipe_host.worker.follow()
    assert wait_until(lambda: any(isinstance(event, Log) for event in sink.events), PATIENCE)
    execution.drive(0.01)
    assert not sink.ended
    until.touch()
    execution.drive(PATIENCE)
    assert sink.ended
    assert threading.get_ident() not in sink.threads


def test_a_cancelled_call_that_nobody_drives_ends(pipe_host: PipeHost, tmp_path: Path) -> None:
    """Whoever waited for it may have given it up: its host still learns that the worker is gone."""
    isolated = function("current", host=pipe_host)(wait_for)
    execution, sink = launch(pipe_host, isolated, tmp_path / "never")
    execution.cancel(0.1)
    assert wait_until(lambda: sink.ended, PATIENCE)
    assert execution.ended


def test_a_call_is_driven_by_the_event_thread_itself(pipe_host: PipeHost) -> None:
    """Code that the event thread runs may wait for a call: it reads the stream meanwhile."""
    execution, sink = launch(pipe_host, function("current", host=pipe_host)(len), "four")
    assert pipe_host.worker is not None
    pipe_host.worker.follow()
    done = threading.Event()

    def drive() -> None:
        execution.drive(PATIENCE)
        done.set()

    get_event_thread().after(0, drive)
    assert done.wait(PATIENCE)
    assert sink.ended


def test_a_worker_that_is_forgotten_leaves_nothing_open(pipe_host: PipeHost) -> None:
    """The stream of a worker whose end nobody has noticed can be closed, also more than once."""
    before = set(os.listdir("/proc/self/fd"))
    assert function("current", host=pipe_host)(len)("four") == 4
    worker, process = pipe_host.worker, pipe_host.process
    assert worker is not None
    assert process is not None
    process.kill()
    process.wait(PATIENCE)
    for _ in range(2):
        worker.forget()
    assert worker.gone
    # Nobody lost it.
    assert worker.reason is None
    assert wait_until(lambda: set(os.listdir("/proc/self/fd")) <= before, PATIENCE)


def break_stream(data: bytes) -> None:
    """Write *data* to the stream of the worker that this runs in."""
    import os

    from fal_core_worker import current

    assert current.runtime is not None
    os.write(current.runtime.stream.writer, data)


@pytest.mark.faults
@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\x26" * 24, "version 38"),
        (HEADER.pack(OUTCOME, VERSION, 0, 1, 0, 0, 1 << 62), "no memory"),
        (HEADER.pack(OUTCOME, VERSION, 0, 1, 0, 0, 0), "a value is cut short"),
        (HEADER.pack(OUTCOME, VERSION, 0, 1, 7, 0, 0), "an unknown way, 7"),
        (HEADER.pack(ITEM, VERSION, 1, 1, 0, 1, 0), "shorter than their table"),
        (HEADER.pack(LOG, VERSION, 0, 0, 0, 0, 2) + b"\xff\xff", "output is cut short"),
        (HEADER.pack(HELLO, VERSION, 0, 0, 0, 0, 0), "describes itself twice"),
        (HEADER.pack(READY, VERSION, 0, 1, 0, 0, 4) + b"text", "longer than the frame"),
        (HEADER.pack(CALL, VERSION, 0, 1, 0, 0, 0), "no worker sends frames of kind 3"),
    ],
)
@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_worker_that_sends_what_is_no_frame_is_ended(
    pipe_host: PipeHost, data: bytes, what: str, way: str
) -> None:
    """Its call is lost, whichever thread waits, the error says why, and the process has ended."""
    broken = function("current", host=pipe_host)(break_stream)
    with pytest.raises(WorkerLost, match=f"sent what cannot be read: .*{what}"):
        broken(data) if way == "call" else broken.submit(data).result(PATIENCE)
    assert pipe_host.worker is not None
    assert pipe_host.worker.gone
    assert pipe_host.process is not None
    pipe_host.process.wait(PATIENCE)


@pytest.mark.faults
def test_frames_of_no_call_change_nothing(pipe_host: PipeHost) -> None:
    """An outcome of a call that does not run, a second one, and events after it are ignored."""
    sealed = bytes((1, 0, *sys.version_info[:2])) + pickle.dumps("forged")
    frames = b"".join(
        HEADER.pack(kind, VERSION, 0, channel, 0, 0, len(sealed)) + sealed
        for kind, channel in ((OUTCOME, 9), (ITEM, 9), (OUTCOME, 1), (OUTCOME, 1), (ITEM, 1))
    )
    isolated = function("current", host=pipe_host)(break_stream)
    assert isolated(frames) == "forged"
    assert isolated(b"") is None


@pytest.mark.parametrize("error", [LookupError, KeyboardInterrupt, GeneratorExit])
def test_a_worker_whose_events_cannot_be_delivered_is_ended(
    pipe_host: PipeHost, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Whatever a host raises as it takes an event, the call ends, and does not wait for ever."""
    reported: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    class Failing(Owner):
        def worker_ready(self, worker: Worker) -> None:
            raise error

    pipe_host.owner = Failing()
    with pytest.raises(WorkerLost, match="could not be delivered"):
        function("current", host=pipe_host)(len).submit("four").result(PATIENCE)
    # The call has ended before its error comes up on the thread that reads.
    assert wait_until(lambda: bool(reported), PATIENCE)
    assert [each.exc_type for each in reported] == [error]


def test_a_banner_has_an_end(pipe_host: PipeHost) -> None:
    """A Python that prints and prints instead of starting a worker is ended."""
    # It reads, so that sending the worker does not wait for it.
    source = (
        "import sys, threading\n"
        "threading.Thread(target=sys.stdin.buffer.read, daemon=True).start()\n"
        "while True: print('nothing' * 1000)"
    )
    pipe_host.arguments = ("-c", source)
    with pytest.raises(WorkerLost, match="bytes before it started"):
        function("current", host=pipe_host)(len).submit("four").result(PATIENCE)
