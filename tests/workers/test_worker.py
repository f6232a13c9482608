"""Workers that one thread closes while another reads what they write."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calls import Call
from fal_core.errors import Cancelled, WorkerLost
from fal_core.events import Sink
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.workers import ARGUMENTS, Worker
from fal_core_worker.stream import streams
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

#: Seconds that calls, and the ends of processes, have.
PATIENCE = 60


@attrs.define(eq=False, slots=False)
class EachHost(Host[..., Any]):
    """Runs each call in a process of its own, and closes what that has left behind."""

    name: ClassVar[str] = "each"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(kinds=None)

    sockets: bool = False
    idle: Any = Worker.stop
    workers: list[Worker] = attrs.field(factory=list)
    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list)

    def launch(self, call: Call, sink: Sink) -> Execution:
        ours, theirs = self._connect()
        process = subprocess.Popen(
            [sys.executable, *ARGUMENTS], stdin=theirs[0], stdout=theirs[1]
        )
        for descriptor in set(theirs):
            os.close(descriptor)

        def lost() -> WorkerLost:
            return WorkerLost(process.wait(PATIENCE))

        worker = Worker(*ours, lost=lost, idle=self.idle)
        self.processes.append(process)
        self.workers.append(worker)
        threading.Thread(target=self._wait, args=(process, worker), daemon=True).start()
        return worker.launch(call, sink)

    def _connect(self) -> tuple[tuple[int, int], tuple[int, int]]:
        if self.sockets:
            mine, yours = (end.detach() for end in socket.socketpair())
            return (mine, mine), (yours, yours)
        stdin, writer = os.pipe()
        reader, stdout = os.pipe()
        return (reader, writer), (stdin, stdout)

    @staticmethod
    def _wait(process: subprocess.Popen[bytes], worker: Worker) -> None:
        process.wait()
        if not worker.executions:
            worker.close()


@pytest.fixture(params=["pipes", "sockets"])
def host(request: pytest.FixtureRequest) -> Iterator[EachHost]:
    host = EachHost(sockets=request.param == "sockets")
    yield host
    for process in host.processes:
        process.kill()
        process.wait()


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """
    The exceptions of threads, while each read begins long after its descriptor was
    looked up.
    """

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        @staticmethod
        def read(descriptor: int, size: int) -> bytes:
            time.sleep(0.05)  # Another thread may close the descriptor meanwhile.
            return os.read(descriptor, size)

    raised: list[str] = []
    monkeypatch.setattr(streams, "os", Slow())
    monkeypatch.setattr(
        threading, "excepthook", lambda args: raised.append(repr(args.exc_value))
    )
    return raised


def test_a_worker_is_closed_once_its_process_has_ended(host: EachHost, failures: list[str]):
    """A thread that waits for the process may close the worker: what is read ends well."""

    @function("current", host=host)
    def inc(x: int) -> int:
        return x + 1

    for number in range(6):
        assert inc(number) == number + 1
        assert inc.submit(number).result(timeout=PATIENCE) == number + 1

    assert wait_until(lambda: all(worker.gone for worker in host.workers), PATIENCE)
    assert not failures


@pytest.mark.parametrize("way", ["call", "submit"])
def test_a_call_whose_worker_is_closed_is_lost(host: EachHost, failures: list[str], way: str):
    """
    A worker that is closed ends its call, whichever thread waits for that, and however
    long it would have taken.
    """

    @function("current", host=host)
    def sleep() -> None:
        # Ends with its worker, which is closed.
        time.sleep(600)

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(sleep) if way == "call" else sleep.submit()
        assert wait_until(lambda: host.workers and host.workers[0].hello, PATIENCE)
        time.sleep(0.1)  # The thread that waits for the call is to be reading by then.
        host.workers[0].close()
        with pytest.raises(WorkerLost):
            future.result(timeout=PATIENCE)

    assert host.workers[0].gone
    assert not failures


def test_a_worker_is_closed_by_its_idle_callback(host: EachHost, failures: list[str]):
    """A host may close a worker where it hears that the worker is idle; the call returns."""
    host.idle = Worker.close

    @function("current", host=host)
    def inc(x: int) -> int:
        return x + 1

    assert inc(1) == 2
    assert host.workers[0].gone
    assert inc.submit(2).result(timeout=PATIENCE) == 3
    assert not failures


def test_a_descriptor_stays_open_while_it_is_used(host: EachHost, failures: list[str]):
    """
    Descriptors that another thread opens while a worker is closed are neither read nor written
    by it.
    """

    @function("current", host=host)
    def inc(x: int) -> int:
        return x + 1

    future = inc.submit(1)
    assert wait_until(lambda: host.workers and host.workers[0].hello, PATIENCE)
    before = set(os.listdir("/proc/self/fd"))
    # The answer is being read for some time.
    host.workers[0].close()
    opened = [end for _ in range(4) for end in os.pipe()]
    for end in opened[1::2]:
        os.write(end, b"not for a worker")
    try:
        try:
            assert future.result(timeout=PATIENCE) == 2
        except WorkerLost:
            pass
        assert [os.read(end, 100) for end in opened[::2]] == [b"not for a worker"] * 4
    finally:
        for end in opened:
            os.close(end)
    # Whoever read the answer may still be at it.
    assert wait_until(lambda: set(os.listdir("/proc/self/fd")) <= before, PATIENCE)
    assert not failures


def test_a_worker_can_be_waited_for(failures: list[str]) -> None:
    """A worker that is up says so before its first call, and one that is not wanted is ended."""
    worker = Worker.start([sys.executable, *ARGUMENTS], idle=Worker.stop)
    worker.wait_until_up(threading.Event())
    assert worker.hello is not None
    worker.stop()

    never = Worker.start([sys.executable, "-c", "import signal; signal.pause()"])
    cancelled = threading.Event()
    threading.Timer(0.1, cancelled.set).start()
    with pytest.raises(Cancelled):
        never.wait_until_up(cancelled)
    assert wait_until(lambda: never.gone, PATIENCE)


def test_a_worker_that_never_comes_up_says_why(failures: list[str]) -> None:
    """Whoever waits for a worker is told why it has ended."""
    worker = Worker.start([sys.executable, "-c", "print('broken'); raise SystemExit(3)"])
    with pytest.raises(WorkerLost) as caught:
        worker.wait_until_up(threading.Event())
    assert caught.value.code == 3
