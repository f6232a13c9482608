"""Workers in processes that a host has started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import Cancelled, function
from fal_core.environments import Command
from fal_core.errors import HostClosed, HostError, WorkerLost
from fal_core.events import Event, Exited, Log, State
from fal_core.hosts import Capabilities
from fal_core.pools import Start, WorkerHost
from fal_core.workers import ARGUMENTS, Worker
from fal_testing import InProcessHost
from fal_testing.harness.processes import is_alive, wait_until

PATIENCE = 60.0

PYTHON = (sys.executable, *ARGUMENTS)


class Recorded:
    """A sink that keeps the events of a call."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._ended = threading.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Exited):
            self._ended.set()

    def wait(self) -> Exited:
        """Wait for the end of the call and return it."""
        assert self._ended.wait(PATIENCE)
        exited = self.events[-1]
        assert isinstance(exited, Exited)
        return exited

    @property
    def lines(self) -> list[str]:
        """The lines of the host."""
        logs = (event for event in self.events if isinstance(event, Log))
        return [log.message for log in logs if log.source == "BRIDGE"]


def make_call(target: Any = os.getpid, *arguments: Any) -> Any:
    """Return a call, which any worker of this Python runs."""
    isolated = function("current", host=InProcessHost())(target)
    return isolated.make_launcher().call((arguments, {}))


@pytest.fixture
def workers() -> Iterator[list[Worker]]:
    """Workers that are ended after the test."""
    workers: list[Worker] = []
    yield workers
    for worker in workers:
        worker.kill()


def test_a_command_becomes_a_worker(workers: list[Worker]) -> None:
    """A command line is all it takes; the process ends when the worker is stopped."""
    worker = Worker.start(PYTHON)
    workers.append(worker)
    sink = Recorded()

    worker.launch(make_call(), sink)

    assert sink.wait() == Exited()
    assert sink.events[0] == State("running")
    assert worker.hello is not None
    pid = worker.hello["pid"]
    worker.stop_and_wait()
    assert worker.gone
    assert wait_until(lambda: not is_alive(pid), PATIENCE)


def test_a_command_has_its_variables(workers: list[Worker]) -> None:
    """The variables of a command are added to those of this process."""
    worker = Worker.start(Command(argv=PYTHON, variables={"FAL_CORE_TESTED": "yes"}))
    workers.append(worker)
    sink = Recorded()

    def look() -> None:
        import os

        print(os.environ["FAL_CORE_TESTED"], "PATH" in os.environ)

    worker.launch(make_call(look), sink)

    sink.wait()
    assert [event.message for event in sink.events if isinstance(event, Log)] == ["yes True"]


def test_a_program_that_is_not_there_is_named() -> None:
    """A command that cannot be started is an error that names it."""
    with pytest.raises(HostError, match=r"'/no/such/program' cannot be started"):
        Worker.start(("/no/such/program",))


def test_a_process_without_pipes_is_refused() -> None:
    """The error says how the process is to be started."""
    process = subprocess.Popen(["true"])
    with pytest.raises(ValueError, match=r"stdin=subprocess\.PIPE"):
        Worker.of(process)
    process.wait(PATIENCE)


def test_a_process_that_does_not_read_holds_nobody_up(workers: list[Worker]) -> None:
    """
    A worker is made, and given a call, while its process waits for a machine; the call can
    be cancelled at once.
    """
    process = subprocess.Popen(["sleep", "600"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    worker = Worker.of(process)
    workers.append(worker)
    sink = Recorded()

    execution = worker.launch(make_call(len, bytes(1 << 20)), sink)
    assert sink.events == []
    execution.cancel(0)

    exited = sink.wait()
    assert isinstance(exited.reason, Cancelled)
    assert wait_until(lambda: not is_alive(process.pid), PATIENCE)


def test_a_call_is_sent_once_its_process_reads(workers: list[Worker], tmp_path: Path) -> None:
    """
    What was sent before the process read anything arrives in order: it runs once it is told
    to, and says so then.
    """
    go = tmp_path / "go"
    script = 'while [ ! -e "$0" ]; do sleep 0.01; done; exec "$@"'
    worker = Worker.start(("sh", "-c", script, str(go), *PYTHON))
    workers.append(worker)
    sinks = [Recorded(), Recorded()]
    worker.launch(make_call(len, bytes(1 << 20)), sinks[0])
    assert sinks[0].events == []

    go.touch()

    assert sinks[0].wait() == Exited()
    assert sinks[0].events[0] == State("running")
    worker.launch(make_call(len, bytes(3)), sinks[1])
    assert sinks[1].wait() == Exited()


def test_lines_before_the_worker_is_up_go_to_the_call(workers: list[Worker]) -> None:
    """
    What the process prints to standard error meanwhile is a line of the host; what the
    function prints there is not.
    """
    script = 'echo "waiting for a machine" >&2; echo "got one" >&2; exec "$@"'
    worker = Worker.start(("sh", "-c", script, "sh", *PYTHON))
    workers.append(worker)
    sink = Recorded()

    def complain() -> None:
        import sys

        print("a complaint", file=sys.stderr)

    worker.launch(make_call(complain), sink)

    assert sink.wait() == Exited()
    assert sink.lines == ["waiting for a machine", "got one"]
    before = sink.events.index(State("running"))
    assert all(isinstance(event, Log) for event in sink.events[:before])


@attrs.define(eq=False, slots=False)
class ShellHost(WorkerHost[..., Any]):
    """Starts a worker by a script."""

    name: ClassVar[str] = "shell"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(kinds=None)

    script: str
    why: Any = None

    def begin(self, start: Start) -> Worker:
        return Worker.start(("sh", "-c", self.script, "sh", *PYTHON), explain=self.why)


@pytest.fixture
def start_by() -> Iterator[Callable[..., Any]]:
    """Runs a call in a worker that a script starts, and returns its error."""
    hosts: list[ShellHost] = []

    def start_by(script: str, why: Any = None) -> BaseException:
        hosts.append(ShellHost(script, why))
        isolated = function("current", host=hosts[-1])(os.getpid)
        error = isolated.submit().exception(PATIENCE)
        assert error is not None
        return error

    yield start_by
    for host in hosts:
        host.close()


def test_the_reason_has_what_the_process_said_last(start_by: Callable[..., Any]) -> None:
    """
    A process that ends before its worker is up is the reason of the end, with its exit code
    and its last words.
    """
    error = start_by('for number in $(seq 2000); do echo "line $number" >&2; done; exit 3')

    assert isinstance(error, WorkerLost)
    assert (error.code, error.signal) == (3, None)
    assert "line 2000" in str(error)
    assert len(str(error)) < 5000


def test_a_host_explains_the_end_of_its_process(start_by: Callable[..., Any]) -> None:
    """The host gets the exit code and the last words, and returns the reason."""
    seen: list[tuple[int, str]] = []

    def explain(code: int, said: str) -> HostError | None:
        seen.append((code, said))
        return HostClosed("tested", "The cluster is full.")

    error = start_by("echo full >&2; exit 7", explain)

    assert str(error) == "Host 'tested' cannot take calls. The cluster is full."
    # A worker that was started for the expected call has ended in the same way.
    assert set(seen) == {(7, "full")}


def test_a_host_that_cannot_explain_is_told_of(start_by: Callable[..., Any]) -> None:
    """What the host raises there is the reason."""

    def explain(code: int, said: str) -> HostError | None:
        raise LookupError("no such job")

    error = start_by("exit 7", explain)

    assert isinstance(error, HostError)
    assert "LookupError: no such job" in str(error)


def test_a_signal_is_told(start_by: Callable[..., Any]) -> None:
    """A process that was killed tells the signal."""
    error = start_by("kill -KILL $$")

    assert isinstance(error, WorkerLost)
    assert error.signal == 9


def test_a_command_ends_what_no_signal_reaches(tmp_path: Path) -> None:
    """The command that ends the process is run where there is one."""
    pid = tmp_path / "pid"
    ignoring = f'trap "" TERM; echo $$ >{pid}; while :; do sleep 0.05; done'
    stop = ("sh", "-c", f"kill -KILL $(cat {pid})")
    worker = Worker.start(Command(argv=("sh", "-c", ignoring), stop_argv=stop))
    sink = Recorded()
    execution = worker.launch(make_call(), sink)
    assert wait_until(lambda: pid.exists() and pid.read_text() != "", PATIENCE)

    execution.cancel(0)

    assert isinstance(sink.wait().reason, Cancelled)
    assert wait_until(lambda: not is_alive(int(pid.read_text())), PATIENCE)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv is not installed")
def test_the_thread_that_starts_a_process_stays() -> None:
    """
    A command may ask for a signal at the death of its parent, by which the system means the
    thread that has started it: that one lives as long as the process.
    """
    started: list[Worker] = []

    def start() -> None:
        started.append(Worker.start(("setpriv", "--pdeathsig", "KILL", *PYTHON)))

    # Hosts start workers on threads that end once the worker is there.
    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    sink = Recorded()
    started[0].launch(make_call(), sink)
    assert sink.wait().reason is None
    started[0].stop_and_wait()


def test_children_that_keep_standard_error_are_not_waited_for(
    start_by: Callable[..., Any],
) -> None:
    """The end of the process is the end, though others may go on writing to its pipe."""
    error = start_by("sleep 600 >/dev/null <&- & echo $! >&2; exit 4")

    assert isinstance(error, WorkerLost)
    assert error.code == 4
    os.kill(int(str(error).split()[-1]), 9)


@pytest.mark.parametrize("wrapper", ['"$@"; exit $?', 'trap "" TERM; "$@"; exit $?'])
def test_a_command_around_the_worker_ends_with_it(
    workers: list[Worker], monkeypatch: pytest.MonkeyPatch, wrapper: str
) -> None:
    """A command that passes no signal on, and one that ignores them, keeps no worker."""
    monkeypatch.setattr("fal_core.workers.processes._PATIENCE", 600.0)
    worker = Worker.start(("sh", "-c", wrapper, "sh", *PYTHON))
    workers.append(worker)
    sink = Recorded()

    def stay() -> None:
        # By now the worker handles signals, which it may have been started without.
        print("here", flush=True)
        time.sleep(600)

    worker.launch(make_call(stay), sink)
    assert wait_until(
        lambda: any(getattr(each, "message", "") == "here" for each in sink.events), PATIENCE
    )
    assert worker.hello is not None

    worker.kill()

    assert isinstance(sink.wait().reason, WorkerLost)
    pid = worker.hello["pid"]
    assert wait_until(lambda: not is_alive(pid), PATIENCE)


@pytest.mark.parametrize(
    ("why", "sentence"),
    [
        (lambda code, said: sys.exit(3), "SystemExit: 3"),
        (lambda code, said: "it is full", "returned 'it is full'"),
    ],
    ids=["exits", "returns a text"],
)
def test_whatever_explaining_does_ends_the_call(
    start_by: Callable[..., Any], why: Any, sentence: str
) -> None:
    """The error says what the host did instead."""
    error = start_by("exit 7", why)

    assert isinstance(error, HostError)
    assert sentence in str(error)


def test_a_long_line_is_cut_once(workers: list[Worker]) -> None:
    """A line that does not end takes no memory without bound, and says that it was cut."""
    script = 'head -c 2000000 /dev/zero | tr "\\0" x >&2; echo >&2; echo after >&2; exec "$@"'
    worker = Worker.start(("sh", "-c", script, "sh", *PYTHON))
    workers.append(worker)
    sink = Recorded()

    worker.launch(make_call(), sink)

    assert sink.wait() == Exited()
    assert [len(line) for line in sink.lines] == [8192 + len(" ... (cut)"), len("after")]
