"""Starts that take a while, as in the queue of a cluster, and those that fail."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.claims import DevicesHeld
from fal_core.environments import CurrentEnvironment
from fal_core.errors import Cancelled, HostClosed, HostError, Timeout
from fal_core.events import Event, Exited, Log
from fal_core.hosts import Capabilities
from fal_core.pools import Start, WorkerHost, pool, starts
from fal_core.workers import ARGUMENTS, Worker
from fal_testing.harness.processes import wait_until

PATIENCE = 60


@attrs.define(eq=False, slots=False)
class SlowHost(WorkerHost[..., Any]):
    """Starts workers as a test says."""

    name: ClassVar[str] = "slow"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=frozenset({"current"}), concurrency=8, keep_alive=True
    )

    starting: Callable[[Start], Worker]
    starts: list[Start] = attrs.field(factory=list, init=False)

    def begin(self, start: Start) -> Worker:
        self.starts.append(start)
        return self.starting(start)


@pytest.fixture
def make_host() -> Iterator[Callable[[Callable[[Start], Worker]], SlowHost]]:
    hosts = []

    def make(starting: Callable[[Start], Worker]) -> SlowHost:
        hosts.append(SlowHost(starting))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def answer() -> int:
    return 42


def test_one_call_has_one_start(make_host: Any):
    """However long the start of a worker takes, no other is started for the same call."""
    queued = threading.Event()

    def begin(start: Start) -> Worker:
        command = start.build().command(ARGUMENTS)
        queued.wait(PATIENCE)
        return Worker.start(command)

    host = make_host(begin)
    future = function("current", host=host)(answer).submit()
    assert wait_until(lambda: host.starts, PATIENCE)
    # A second one would come after the time that a start usually takes.
    time.sleep(0.5)
    assert len(host.starts) == 1
    queued.set()
    assert future.result(PATIENCE) == 42
    assert len(host.starts) == 1


def test_each_waiting_call_has_a_start(make_host: Any):
    """Calls at once have as many starts, up to the limit."""
    met = threading.Barrier(3)

    def begin(start: Start) -> Worker:
        command = start.build().command(ARGUMENTS)
        met.wait(PATIENCE)
        return Worker.start(command)

    host = make_host(begin)
    isolated = function("current", host=host)(answer)
    futures = [isolated.submit() for _ in range(3)]
    assert [future.result(PATIENCE) for future in futures] == [42, 42, 42]


@pytest.mark.parametrize("comes_up", [True, False])
def test_calls_wait_for_the_start_that_has_the_devices(make_host: Any, comes_up: bool):
    """
    A start that gets no device ends no call while another one of the same function is under
    way, which may have it; the last one does.
    """
    refused = threading.Semaphore(0)
    held = DevicesHeld("a GPU", (), 0)

    def begin(start: Start) -> Worker:
        if start is not host.starts[0]:
            refused.release()
            raise held
        command = start.build().command(ARGUMENTS)
        for _ in range(2):
            assert refused.acquire(timeout=PATIENCE)
        # Both threads that were refused end.
        assert wait_until(lambda: count_starting_threads() == 1, PATIENCE)
        if not comes_up:
            raise held
        return Worker.start(command)

    host = make_host(begin)
    isolated = function("current", host=host)(answer)
    futures = [isolated.submit() for _ in range(3)]
    if comes_up:
        assert [future.result(PATIENCE) for future in futures] == [42, 42, 42]
    else:
        assert [future.exception(PATIENCE) for future in futures] == [held, held, held]


def count_starting_threads() -> int:
    return sum(thread.name == "fal-core start" for thread in threading.enumerate())


def test_start_is_cancelled_with_its_call(make_host: Any, monkeypatch: pytest.MonkeyPatch):
    """Cancelling the only call cancels the start, also one that began before the call came."""
    monkeypatch.setattr(pool, "_EXPECTED", 10 * PATIENCE)
    cancelled = threading.Event()

    def begin(start: Start) -> Worker:
        if start.cancelled.wait(PATIENCE):
            cancelled.set()
        raise Cancelled

    host = make_host(begin)
    # The first call of a function is expected while it is sealed.
    future = function("current", host=host)(answer).submit()
    assert wait_until(lambda: host.starts, PATIENCE)
    assert future.cancel()
    assert cancelled.wait(PATIENCE)


@pytest.mark.parametrize("waits", [True, False])
def test_worker_that_does_not_come_up_fails_its_call(make_host: Any, waits: bool):
    """
    A process that ends instead of running a worker ends the calls, with the reason that the
    host gives, and is not started again and again.
    """

    def explain(code: int, said: str) -> HostError:
        # As a host does that asks its cluster.
        time.sleep(0.2)
        return HostClosed("slow", f"It said {said!r} and {code}.")

    def begin(start: Start) -> Worker:
        failing = (sys.executable, "-c", "import sys; sys.exit('refused')")
        worker = Worker.start(failing, explain=explain)
        while waits and not worker.gone:
            time.sleep(0.01)
        return worker

    host = make_host(begin)
    with pytest.raises(HostClosed, match="It said 'refused' and 1"):
        function("current", host=host)(answer)()
    assert len(host.starts) == 1


def test_a_start_that_takes_long_is_told(make_host: Any, monkeypatch: pytest.MonkeyPatch):
    """
    A line names the host once its begin has said nothing for a while; the time of a call holds
    meanwhile, and it can be cancelled.
    """
    monkeypatch.setattr(starts, "SILENCE", 0.2)
    may_go = threading.Event()

    def begin(start: Start) -> Worker:
        may_go.wait(PATIENCE)
        raise HostError("It was never ready.")

    host = make_host(begin)
    isolated = function("current", host=host)(answer)
    waiting = isolated.spawn()
    assert waiting.logs.get(timeout=PATIENCE).message == (
        "Host 'slow' has been starting a worker for 0.2 s: its begin has not returned."
    )
    with pytest.raises(Timeout, match="a worker of host 'slow' to start"):
        function("current", host=host, timeout=0.1)(answer)()
    waiting.cancel()
    with pytest.raises(Cancelled):
        waiting.future.result(PATIENCE)
    may_go.set()
    assert waiting.logs.empty()


def test_a_build_is_told_by_its_own_lines(make_host: Any, monkeypatch: pytest.MonkeyPatch):
    """No line says that a worker is being started while its environment is built."""
    monkeypatch.setattr(starts, "SILENCE", 0.1)

    events: list[Event] = []
    before: list[list[Event]] = []
    ended = threading.Event()

    class Slow(CurrentEnvironment):
        key = "slow"

        def build(self, log: Any, cancelled: threading.Event) -> Any:
            # Longer than the silence that is told.
            time.sleep(0.3)
            before.append([event for event in events if isinstance(event, Log)])
            return super().build(log, cancelled)

    def begin(start: Start) -> Worker:
        return Worker.start(start.build().command(ARGUMENTS))

    def take(event: Event) -> None:
        events.append(event)
        if isinstance(event, Exited):
            ended.set()

    launcher = function("current", host=make_host(begin))(answer).make_launcher()
    call = attrs.evolve(launcher.call(((), {})), environment=Slow())
    launcher.launch(call, take)
    assert ended.wait(PATIENCE)
    assert before == [[]]
