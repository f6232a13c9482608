"""Pools: calls share workers."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from pathlib import Path

import attrs
import pytest

from fal_core import Cancelled, Gateway, HostOptions, OptionError, WorkerLost, function
from fal_core.environments import CurrentEnvironment
from fal_core.workers import Worker
from fal_core_worker.stream import frames
from fal_host_local import LocalHost
from fal_testing.harness.processes import is_alive, wait_until


def get_pid() -> int:
    return os.getpid()


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_min_concurrency_workers_are_started(host):
    """The first call starts ``min_concurrency`` workers."""
    isolated = function("current", host=host, min_concurrency=2, max_concurrency=2)(get_pid)

    isolated()

    assert wait_until(lambda: host.worker_count == 2, 30)


def test_no_more_workers_than_max_concurrency(host):
    """Calls beyond ``max_concurrency`` wait for a worker."""
    isolated = function("current", host=host, max_concurrency=2)(sleep)

    futures = [isolated.submit(0.1) for _ in range(6)]
    pids = {future.result() for future in futures}

    assert len(pids) <= 2
    assert host.worker_count <= 2


def test_a_second_worker_starts_while_the_first_is_busy(host):
    """A call that has waited for long gets a worker of its own."""
    isolated = function("current", host=host, max_concurrency=2)(sleep)
    isolated(0)

    long = isolated.submit(600)
    short = isolated.submit(0)

    short.result(timeout=60)
    assert not long.done()
    assert long.cancel()


def test_many_threads_share_the_workers(host):
    """Any thread may call at any time."""
    isolated = function("current", host=host)(lambda x: x + 1)
    wrong: list[int] = []

    def work() -> None:
        for number in range(100):
            if isolated(number) != number + 1:
                wrong.append(number)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []
    assert host.worker_count <= host.capabilities.concurrency


def test_multiplexed_calls_share_a_worker(host, tmp_path: Path):
    """``max_multiplexing`` calls run at once in one worker, threads and tasks alike."""

    def count() -> int:
        return len(list(tmp_path.iterdir()))

    def meet(name: str) -> int:
        (tmp_path / name).touch()
        assert wait_until(lambda: count() == 8, 60)
        return os.getpid()

    async def meet_as_task(name: str) -> int:
        import asyncio

        (tmp_path / name).touch()
        until = time.monotonic() + 60
        while count() < 8:
            assert time.monotonic() < until
            # Until all eight have come.
            await asyncio.sleep(0.01)
        return os.getpid()

    options = {"max_multiplexing": 8, "max_concurrency": 1}
    blocking = function("current", host=host, **options)(meet)
    awaiting = function("current", host=host, **options)(meet_as_task)

    futures = [blocking.submit(f"thread {number}") for number in range(4)]
    futures += [awaiting.submit(f"task {number}") for number in range(4)]
    pids = {future.result() for future in futures}

    assert len(pids) == 1


def test_cancelling_a_multiplexed_call_leaves_its_neighbours(host, tmp_path: Path):
    """A cancelled thread is abandoned; its worker is replaced once it has drained."""

    def stay(name: str) -> int:
        (tmp_path / name).touch()
        # Until the test lets it go.
        while not (tmp_path / f"{name} may go").exists():
            time.sleep(0.01)
        return os.getpid()

    options = {"max_multiplexing": 4, "max_concurrency": 1}
    isolated = function("current", host=host, **options)(get_pid)
    staying = function("current", host=host, **options)(stay)
    pid = isolated()

    neighbour = staying.submit("neighbour")
    stuck = staying.spawn("stuck")
    assert wait_until(lambda: len(list(tmp_path.iterdir())) == 2, 30)
    # After the grace its worker would be killed, and its neighbour with it.
    stuck.cancel(grace=60)

    with pytest.raises(Cancelled):
        stuck.future.result(timeout=30)
    assert not neighbour.done()
    (tmp_path / "neighbour may go").touch()
    assert neighbour.result(timeout=30) == pid
    assert isolated() != pid
    (tmp_path / "stuck may go").touch()
    assert wait_until(lambda: not is_alive(pid), 30)


def test_an_expected_call_finds_its_worker_started(host):
    """The worker is started once, and it is the one that runs the call."""
    host.expect(CurrentEnvironment(), host.options(), Gateway())
    host.expect(CurrentEnvironment(), host.options(), Gateway())
    assert host.worker_count == 1

    pid = function("current", host=host)(get_pid)()

    assert host.worker_count == 1
    assert function("current", host=host)(get_pid)() == pid


def test_an_expected_call_of_a_wrong_declaration_raises_nothing(host):
    """What is wrong with an environment is left to the call to say."""

    @attrs.frozen(kw_only=True)
    class Missing(CurrentEnvironment):
        kind = "missing"

        @property
        def key(self) -> str:
            raise OptionError("There is no such Python.")

    host.expect(Missing(), HostOptions(), Gateway())
    assert host.worker_count == 0


def test_a_worker_that_ended_before_its_call_is_replaced(host):
    """A call whose expected worker was killed meanwhile runs in another."""
    host.expect(CurrentEnvironment(), host.options(), Gateway())
    (pool,) = host._pools.pools.values()
    (worker,) = pool._roster.workers
    worker.kill()
    assert host._keeper.wait(1, 30) is not None

    assert function("current", host=host)(get_pid)() > 0


def test_the_start_of_a_worker_is_timed_by_itself(host):
    """The start time of a worker does not include the wait until its hello is read."""
    began = time.monotonic()
    host.expect(CurrentEnvironment(), host.options(), Gateway())
    (pool,) = host._pools.pools.values()
    (worker,) = pool._roster.workers

    def has_said_hello() -> bool:
        # A reader of the host's own may come first where the start takes long.
        return bool(worker.hello) or _size_of_what_waits(worker) > len(frames.MAGIC)

    assert wait_until(has_said_hello, 60)
    said = time.monotonic() - began
    # The hello waits to be read.
    time.sleep(1.0)
    function("current", host=host)(get_pid)()

    assert pool.startups.usual <= said


def _size_of_what_waits(worker: Worker) -> int:
    with socket.socket(fileno=os.dup(worker.stream_reader.fileno())) as stream:
        try:
            return len(stream.recv(4096, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return 0


def test_a_worker_without_keep_alive_waits_for_the_call_that_is_expected(host):
    """The worker ends after that call, as it would without having been expected."""
    options = HostOptions(keep_alive=0)
    host.expect(CurrentEnvironment(), options, Gateway())
    # Longer than its keep_alive: it must not end meanwhile.
    time.sleep(0.3)
    assert host.worker_count == 1

    assert function("current", host=host, keep_alive=0)(get_pid)() > 0

    assert wait_until(lambda: not host.worker_count, 30)


@pytest.mark.faults
def test_workers_killed_while_idle_leave_nothing_open():
    """
    A call finds another worker where its own has ended unseen, and nothing stays open
    of that one.
    """

    @function("current", max_concurrency=1, host=LocalHost())
    def pid() -> int:
        return os.getpid()

    ended = pid()
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        before = ended
        os.kill(before, signal.SIGKILL)
        assert wait_until(lambda: not is_alive(before), 30)  # noqa: B023 - asked at once
        try:
            ended = pid()
        except WorkerLost:
            # Its stream is open for a moment longer.
            ended = pid()
        assert ended != before

    assert wait_until(lambda: len(os.listdir("/proc/self/fd")) <= files, 30)
    pid.host.close()


@pytest.mark.faults
def test_an_idle_worker_ends_by_sigterm():
    """SIGTERM ends a worker that has nothing to do, at once; the next call has another."""

    @function("current", max_concurrency=1, host=LocalHost())
    def pid() -> int:
        return os.getpid()

    first = pid()
    os.kill(first, signal.SIGTERM)
    # As long as it is a zombie, a thread of it may still hold its end of the stream.
    assert wait_until(lambda: not (is_alive(first) or os.path.exists(f"/proc/{first}")), 30)
    try:
        assert pid() != first
    finally:
        pid.host.close()


@pytest.mark.faults
def test_a_function_that_ignores_sigterm_returns():
    """A value returned after SIGTERM is the result; the worker takes no other call."""

    @function("current", max_concurrency=1, host=LocalHost())
    def stay() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except SystemExit:
            pass
        return os.getpid()

    try:
        first = stay()
        assert wait_until(lambda: not is_alive(first), 30)
        assert stay() != first
    finally:
        stay.host.close()
