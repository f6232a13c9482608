"""Faults that calls survive."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fal_core import WorkerLost, function
from fal_host_local import LocalHost
from fal_testing.harness.processes import is_alive, wait_until

pytestmark = pytest.mark.faults


def inc(x: int) -> int:
    return x + 1


def test_workers_that_end_while_their_streams_are_read(monkeypatch: pytest.MonkeyPatch):
    """
    Calls that find their worker gone are answered by another, and those that it had are
    lost, however long a thread has been about to read its stream.
    """
    from fal_core_worker.stream import streams

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        @staticmethod
        def read(descriptor: int, size: int) -> bytes:
            # Its worker may end before it is read.
            time.sleep(0.03)
            return os.read(descriptor, size)

    failures: list[str] = []
    monkeypatch.setattr(streams, "os", Slow())
    monkeypatch.setattr(
        threading, "excepthook", lambda args: failures.append(repr(args.exc_value))
    )
    host = LocalHost()

    @function("current", max_concurrency=2, max_multiplexing=4, host=host)
    def work(number: int) -> int:
        # Some calls run while the workers are closed.
        time.sleep(0.02)
        if number == 39:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    ended = []
    for moment in range(6):
        futures = [work.submit(number) for number in range(40)]
        assert futures[0].result(timeout=60) == 0
        # The workers are closed at another moment each time.
        time.sleep(moment / 200)
        for pool in host._pools.pools.values():
            for worker in list(pool._roster.workers):
                worker.close()
        ended += [future.exception(timeout=60) for future in futures]

    host.close()
    assert all(error is None or isinstance(error, WorkerLost) for error in ended), ended
    assert not failures


@pytest.mark.parametrize("way", ["itself", "outside", "stream", "batch", "async", "shared"])
def test_a_worker_ended_by_sigterm_is_lost(tmp_path: Path, way: str):
    """
    SIGTERM from another process is a host error that names the signal, after the function
    has cleaned up; it does not end the caller.
    """
    options: dict[str, Any] = (
        {"max_multiplexing": 2} if way == "shared" else {"max_concurrency": 1}
    )
    started, cleaned = tmp_path / "started", tmp_path / "cleaned"

    def work(number: int) -> int:
        try:
            if way == "itself":
                os.kill(os.getpid(), signal.SIGTERM)
            if number == 1:
                started.write_text(str(os.getpid()))
                # Ends by the signal that its worker gets.
                time.sleep(100)
        finally:
            cleaned.touch()
        return number

    async def work_async(number: int) -> int:
        return work(number)

    def items() -> Iterator[int]:
        yield 0
        yield work(1)

    host = LocalHost()
    at_host = function("current", host=host, **options)

    def run() -> None:
        if way == "stream":
            list(at_host(items)())
        elif way == "batch":
            list(at_host(work).map(range(4)))
        else:
            at_host(work_async if way == "async" else work)(1)

    try:
        with ThreadPoolExecutor(1) as pool:
            future = pool.submit(run)
            if way != "itself":
                assert wait_until(lambda: started.exists() and started.read_text(), 60)
                os.kill(int(started.read_text()), signal.SIGTERM)
            with pytest.raises(WorkerLost, match="SIGTERM") as caught:
                future.result(timeout=60)

        assert caught.value.signal == signal.SIGTERM
        # A thread cannot be interrupted.
        assert cleaned.exists() == (way != "shared")
        assert at_host(inc)(1) == 2
    finally:
        host.close()


def test_memory_limit_is_an_error_of_the_function():
    """A worker that may take no more memory raises, and lives on."""

    @function("current")
    def fill() -> None:
        import resource

        limit = 600 << 20
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        try:
            bytearray(1 << 30)
        finally:
            resource.setrlimit(
                resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            )

    with pytest.raises(MemoryError):
        fill()
    assert function("current")(inc)(1) == 2


def test_a_forked_client_calls_from_both_sides(run_script):
    """A child that was forked starts workers of its own; the parent's go on."""
    result = run_script(
        """
        import os, sys
        from fal_core import function

        @function("current", keep_alive=600)
        def pid():
            import os
            return os.getpid()

        first = pid()
        child = os.fork()
        if not child:
            mine = pid()
            assert mine != first and pid() == mine
            assert [f.result() for f in [pid.submit() for _ in range(3)]]
            os._exit(0)
        assert pid() == first
        assert os.waitpid(child, 0)[1] == 0
        assert pid() == first

        import multiprocessing
        with multiprocessing.get_context("fork").Pool(2) as pool:
            pids = pool.map(pid, range(0)) or pool.starmap(pid, [(), ()])
        assert first not in pids
        print("fine")
        """
    )
    assert (result.stdout, result.returncode) == ("fine\n", 0), result.stderr


def test_a_worker_that_ended_before_its_first_call_is_reported_by_the_call():
    """Failing to write to a process that has ended is no error until a call is made."""
    from fal_core.workers.worker import Worker

    ours, theirs = socket.socketpair()
    theirs.close()
    descriptor = ours.detach()
    worker = Worker(descriptor, descriptor)
    worker.send_secrets({"TOKEN": "1"})

    launcher = function("current")(inc).make_launcher()
    with pytest.raises(ConnectionError):
        worker.launch(launcher.call(((1,), {})), lambda event: None)
    worker.close()


def test_many_calls_leave_nothing_open():
    """10,000 calls do not let open files, threads or memory files grow."""
    isolated = function("current")(inc)
    isolated(1)
    count = 10_000

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    [isolated(number) for number in range(100)]
    [future.result() for future in [isolated.submit(number) for number in range(100)]]
    before = held()
    for number in range(count // 2):
        assert isolated(number) == number + 1
    futures = [isolated.submit(number) for number in range(count // 2)]
    assert sum(future.result() for future in futures) == sum(range(1, count // 2 + 1))

    def is_as_before() -> bool:
        files, threads = held()
        # Another worker may have been started for the futures: it has a stream and
        # two arenas.
        return files <= before[0] + 4 * (os.cpu_count() or 1) and threads <= before[1]

    # A thread that starts a worker may still be at it.
    assert wait_until(is_as_before, 30), (before, held())


def test_recursion_needs_one_worker():
    """A function that calls itself needs no second worker."""

    @function("current", max_concurrency=1)
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert factorial(5) == 120


def test_a_call_to_another_place_goes_home():
    """A function of another place is called by the process that launched."""
    elsewhere = LocalHost()

    @function("current", max_concurrency=1)
    def outer(x: int) -> tuple[int, int]:
        return other(x), os.getpid()

    @function("current", max_concurrency=1, host=elsewhere)
    def other(x: int) -> int:
        return x + os.getpid()

    try:
        first, second = outer(0)
        assert first != second
        assert first == other(0)
    finally:
        elsewhere.close()


def test_a_lost_batch_runs_no_item_twice(tmp_path: Path):
    """When a worker is lost in a map, each item has run once, or is reported as lost."""
    ran = tmp_path / "ran"

    @function("current", max_concurrency=1)
    def work(item: int) -> int:
        with open(ran, "a") as file:
            file.write(f"{item}\n")
        if item == 137:
            os._exit(1)
        return item

    results = list(work.map(range(300), return_exceptions=True))

    items = [int(line) for line in ran.read_text().split()]
    assert sorted(items) == list(range(300))
    lost = [index for index, value in enumerate(results) if isinstance(value, WorkerLost)]
    assert lost
    assert lost[-1] == 137
    assert [value for value in results if isinstance(value, int)] == [
        item for item in range(300) if item not in lost
    ]


def test_a_worker_that_sends_rubbish_is_replaced(tmp_path: Path):
    """
    A worker whose stream cannot be read is ended with its child processes, its call is lost
    with the reason, and the next call works.
    """
    host = LocalHost()
    started = tmp_path / "started"

    @function("current", host=host, max_concurrency=1)
    def send(rubbish: bytes) -> None:
        import subprocess
        import sys

        from fal_core_worker import current

        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        started.write_text(f"{os.getpid()} {child.pid}")
        assert current.runtime is not None
        os.write(current.runtime.stream.writer, rubbish)
        time.sleep(600)

    # One call waits for the worker of the other.
    find_pid = function("current", host=host, max_concurrency=1)(os.getpid)
    try:
        for rubbish in (b"\x26" * 300, b"\x26\x01\0\0" + b"\xff" * 20):
            lost, waiting = send.submit(rubbish), find_pid.submit()
            with pytest.raises(WorkerLost, match="sent what cannot be read"):
                lost.result(timeout=60)
            pids = [int(pid) for pid in started.read_text().split()]
            assert waiting.result(timeout=60) not in pids
            assert wait_until(lambda pids=pids: not any(map(is_alive, pids)), 60)
    finally:
        host.close()


def test_shared_memory_cannot_be_taken_from_the_caller():
    """
    A function that shortens the memory which carries arrays fails, and its caller reads what
    it was sent.
    """
    numpy = pytest.importorskip("numpy")
    host = LocalHost()

    @function("current", host=host)
    def shorten(sent: Any) -> Any:
        from fal_core_worker import current

        runtime: Any = current.runtime
        failures = 0
        for memory in (runtime.stream.outbound.descriptor, runtime.stream.inbound.descriptor):
            try:
                os.ftruncate(memory, 0)
            except PermissionError:
                failures += 1
        return failures, sent + 1

    try:
        # It has not sent anything through shared memory before the first call ends.
        for expected in (1, 2, 2):
            failures, ones = shorten(numpy.zeros(1 << 20))
            assert (failures, ones.sum()) == (expected, 1 << 20)
            del ones
            (pool,) = host._pools.pools.values()
            (worker,) = pool._roster.workers
            assert wait_until(lambda worker=worker: not worker.trim(), 60)
    finally:
        host.close()
