"""
What the local host survives.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fal_core import Cancelled, HostError, OutOfMemory, WorkerLost, function
from fal_core.testing.processes import is_alive, wait_until
from fal_host_local import LocalHost

pytestmark = pytest.mark.faults


def inc(x: int) -> int:
    return x + 1


def test_worker_killed_mid_call_is_named_and_the_next_call_works():
    """
    A worker that SIGKILL ends is a host error that names the signal.
    """

    @function("current")
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLost, match="SIGKILL") as caught:
        kill()

    assert caught.value.signal == signal.SIGKILL
    assert function("current")(inc)(1) == 2


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


def test_workers_that_end_while_their_streams_are_read(monkeypatch: pytest.MonkeyPatch):
    """
    Calls that find their worker gone are answered by another, and those that it had are
    lost, however long a thread has been about to read its stream.
    """
    from fal_core_worker.stream import frames

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(os, name)

        @staticmethod
        def read(descriptor: int, size: int) -> bytes:
            time.sleep(0.03)
            return os.read(descriptor, size)

    failures: list[str] = []
    monkeypatch.setattr(frames, "os", Slow())
    monkeypatch.setattr(
        threading, "excepthook", lambda args: failures.append(repr(args.exc_value))
    )
    host = LocalHost()

    @function("current", max_concurrency=2, max_multiplexing=4, host=host)
    def work(number: int) -> int:
        time.sleep(0.02)
        if number == 39:
            os.kill(os.getpid(), signal.SIGKILL)
        return number

    ended = []
    for moment in range(6):
        futures = [work.submit(number) for number in range(40)]
        assert futures[0].result(timeout=60) == 0
        time.sleep(moment / 200)
        for pool in host._pools.values():
            for worker in list(pool._roster.workers):
                worker.close()
        ended += [future.exception(timeout=60) for future in futures]

    host.close()
    assert all(error is None or isinstance(error, WorkerLost) for error in ended), ended
    assert not failures


@pytest.mark.parametrize("way", ["itself", "outside", "stream", "batch", "async", "shared"])
def test_a_worker_that_is_told_to_end_is_lost(tmp_path: Path, way: str):
    """
    SIGTERM that nobody of ours has sent is a host error that names it, after the function
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


def test_a_worker_that_is_told_to_end_while_idle_ends():
    """
    SIGTERM ends a worker that has nothing to do, at once; the next call has another.
    """

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


def test_a_function_that_takes_no_notice_of_being_told_to_end_answers():
    """
    What a function returns after SIGTERM is its result; its worker takes no other call.
    """

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


def test_exit_in_the_function_is_told_with_its_code():
    """
    ``os._exit`` in the function is a host error that names the code.
    """

    @function("current")
    def leave() -> None:
        os._exit(7)

    with pytest.raises(WorkerLost, match="code 7") as caught:
        leave()

    assert caught.value.code == 7


@pytest.mark.parametrize("end", ["exit", "kill", "crash"])
@pytest.mark.parametrize("way", ["print", "error", "below", "part"])
def test_what_a_worker_prints_last_arrives(capfd, way, end):
    """
    What was printed before a worker ends on the way, and is flushed as a program's own
    output would be, is there before the error is.
    """

    @function("current")
    def leave(way: str, end: str) -> None:
        import ctypes
        import signal
        import sys

        if way == "print":
            print("the last words", flush=True)
        elif way == "error":
            print("the last words", file=sys.stderr)
        elif way == "below":
            os.write(1, b"the last words\n")
        elif end == "exit":
            print("the last", "words", end="")
        else:
            print("the last words")
            print("and more", end="", flush=True)
        if end == "exit":
            os._exit(1)
        elif end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        ctypes.string_at(0)

    with pytest.raises(WorkerLost):
        leave(way, end)

    out, errors = capfd.readouterr()
    assert "the last words" in (errors if way == "error" else out)


def test_lines_before_an_exit_arrive(capfd):
    """
    ``os._exit`` loses none of the lines that were printed before, flushed or not.
    """

    @function("current")
    def leave() -> None:
        for number in range(1000):
            print("line", number)
        os._exit(1)

    with pytest.raises(WorkerLost):
        leave()

    assert capfd.readouterr().out.splitlines() == [f"line {number}" for number in range(1000)]


def test_what_a_crash_tells_of_itself_arrives(capfd):
    """
    The stacks that ``faulthandler`` writes while a worker crashes are seen.
    """

    @function("current")
    def crash() -> None:
        import ctypes
        import faulthandler

        faulthandler.enable(open(2, "w", closefd=False))  # noqa: SIM115  # to the end
        ctypes.string_at(0)

    with pytest.raises(WorkerLost):
        crash()

    assert "in crash" in capfd.readouterr().err


def test_segfault_is_told():
    """
    A crash below Python is a host error that names SIGSEGV.
    """

    @function("current")
    def crash() -> None:
        import ctypes

        ctypes.string_at(0)

    with pytest.raises(WorkerLost, match="SIGSEGV"):
        crash()


def test_memory_limit_is_an_error_of_the_function():
    """
    A worker that may take no more memory raises, and lives on.
    """

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


def test_a_worker_killed_for_want_of_memory_is_named(tmp_path: Path):
    """
    A worker that the system ends for the memory it uses is an ``OutOfMemory``.
    """
    group = Path("/sys/fs/cgroup/memory") / f"fal-core-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"A memory cgroup cannot be made here: {error.strerror}.")

    @function("current", keep_alive=0)
    def fill(group: str) -> None:
        with open(f"{group}/memory.limit_in_bytes", "w") as file:
            file.write(str(64 << 20))
        with open(f"{group}/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
        held = []
        while True:
            held.append(os.urandom(1 << 20))

    try:
        with pytest.raises(OutOfMemory, match="out of memory"):
            fill(str(group))
    finally:
        assert wait_until(lambda: not (group / "cgroup.procs").read_text(), 30)
        group.rmdir()


DAEMON = """
def start_daemons(path):
    import os, subprocess, sys, time
    code = "import os, sys, time\\n"
    code += "file = os.open(%r, os.O_APPEND | os.O_CREAT | os.O_WRONLY)\\n" % path
    code += "os.write(file, b'%d ' % os.getpid()); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-c", code])
        os._exit(0)
    while count(path) < 2:
        time.sleep(0.01)

def count(path):
    try:
        with open(path) as file:
            return len(file.read().split())
    except FileNotFoundError:
        return 0
"""


@pytest.mark.parametrize(
    ("end", "error"), [("exit", WorkerLost), ("kill", WorkerLost), ("cancel", Cancelled)]
)
def test_children_end_with_their_worker(tmp_path: Path, end: str, error: type[Exception]):
    """
    Children that were double-forked or called setsid do not outlive their work.
    """
    path = str(tmp_path / "pids")
    space: dict[str, Any] = {}
    exec(DAEMON, space)
    start_daemons, count = space["start_daemons"], space["count"]

    @function("current")
    def work(path: str, end: str) -> None:
        start_daemons(path)
        if end == "exit":
            os._exit(1)
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)

    info = work.spawn(path, end)
    assert info.future is not None
    if end == "cancel":
        assert wait_until(lambda: count(path) == 2, 30)
        info.cancel()
    with pytest.raises(error):
        info.future.result(timeout=60)

    pids = [int(pid) for pid in Path(path).read_text().split()]
    assert len(pids) == 2
    assert wait_until(lambda: not any(map(is_alive, pids)), 30)


def test_a_child_of_a_call_that_kept_its_worker_busy_ends_with_it(tmp_path: Path):
    """
    A cancelled call's child ends also where no other thread ran for long after its start.
    """
    pid, ready = tmp_path / "pid", tmp_path / "ready"

    @function("current")
    def work(pid: str, ready: str) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(60)
        child = os.fork()
        if not child:
            time.sleep(600)
            os._exit(0)
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            pass
        sys.setswitchinterval(interval)
        Path(pid).write_text(str(child))
        # The thread that hears of the cancel takes over now.
        time.sleep(0.3)
        Path(ready).touch()
        time.sleep(60)

    info = work.spawn(str(pid), str(ready))
    assert info.future is not None
    assert wait_until(ready.exists, 60)
    info.cancel()
    with pytest.raises(Cancelled):
        info.future.result(timeout=60)
    assert wait_until(lambda: not is_alive(int(pid.read_text())), 30)


def test_closing_stdout_harms_nobody():
    """
    A function may close its standard streams and descriptors 0, 1 and 2.
    """

    @function("current")
    def close() -> int:
        sys.stdout.close()
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        return 1

    assert close() == 1
    assert function("current")(inc)(1) == 2


SUBSETS = [tuple(n for n in (0, 1, 2) if bits >> n & 1) for bits in range(8)]


@pytest.mark.parametrize("way", ["print", "below", "silent"])
@pytest.mark.parametrize("closed", SUBSETS, ids=str)
def test_closed_descriptors_harm_no_call(
    capfd: pytest.CaptureFixture[str], closed: tuple[int, ...], way: str
):
    """
    A function may close any of the descriptors 0, 1 and 2 and go on, as it would in a
    program; the next one in its worker has all that it prints to.
    """

    def write(way: str) -> None:
        for descriptor, stream in ((1, sys.stdout), (2, sys.stderr)):
            if way == "print":
                print("printed", file=stream, flush=True)
            elif way == "below":
                os.write(descriptor, b"written\n")

    @function("current", max_concurrency=1, host=LocalHost())
    def work(closed: tuple[int, ...], way: str) -> int:
        for descriptor in closed:
            os.close(descriptor)
        try:
            write(way)
        except OSError:
            assert way == "below"
        return os.getpid()

    try:
        pid = work(closed, way)
        capfd.readouterr()
        for _ in range(2):
            assert work((), way) == pid
            text = {"print": "printed\n", "below": "written\n", "silent": ""}[way]
            assert capfd.readouterr() == (text, text)
    finally:
        work.host.close()


def test_what_a_function_puts_in_place_of_its_output_stays_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    """
    A file that a function puts at descriptor 1 gets what is printed there below Python;
    that is caught again once the function has closed it.
    """
    path = tmp_path / "mine"

    @function("current", max_concurrency=1, host=LocalHost())
    def work(path: str) -> float:
        with open(path, "w") as file:
            os.dup2(file.fileno(), 1)
        print("printed", flush=True)
        taken = []
        for _ in range(3):
            began = time.process_time()
            time.sleep(0.1)
            taken.append(time.process_time() - began)
        os.write(1, b"mine\n")
        os.close(1)
        # A machine that stands still may count that as time of who ran.
        return min(taken)

    @function("current", max_concurrency=1, host=work.host)
    def write() -> None:
        os.write(1, b"written\n")

    try:
        # Nothing of ours is kept busy by what was closed.
        assert work(str(path)) < 0.05
        write()
    finally:
        work.host.close()
    assert path.read_text() == "mine\n"
    assert capfd.readouterr().out == "printed\nwritten\n"


def test_much_output_arrives_whole():
    """
    100 MB of output all arrive, before the result.
    """

    @function("current")
    def shout() -> str:
        line = "x" * 999_999
        for _ in range(100):
            print(line)
        return "done"

    info = shout.spawn()
    assert info.future is not None
    assert info.future.result(timeout=60) == "done"
    size = 0
    while not info.logs.empty():
        size += len(info.logs.get().message)
    assert size == 99_999_900


def test_output_that_is_no_text_arrives():
    """
    Bytes that are not UTF-8 arrive as escapes, from Python and below it.
    """

    @function("current")
    def print_bytes() -> None:
        os.write(1, b"below \xff\n")
        sys.stdout.buffer.write(b"above \xfe\n")

    info = print_bytes.spawn()
    assert info.return_value is None
    lines = sorted(info.logs.get().message for _ in range(2))
    assert lines == [r"above \xfe", r"below \xff"]


CLIENT = """
import os, sys, time
from fal_core import function

@function("current")
def work(path):
    import os, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(path, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    time.sleep(600)

@function("current")
def idle():
    import os
    return os.getpid()

@function("current")
def hold(path):
    # Holds the GIL below Python, so that nothing of ours can run in the worker.
    import ctypes, os
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    ctypes.PyDLL(None).sleep(600)

print(idle(), flush=True)
work.spawn(sys.argv[1])
hold.spawn(sys.argv[2])
time.sleep(600)
"""


def test_nothing_is_left_of_a_client_that_was_killed(tmp_path: Path):
    """
    SIGKILL on the client ends its workers, their children and the keeper within 2 s.
    """
    # A machine that stands still for so long ends nothing meanwhile.
    assert any(outlive_a_client(tmp_path / str(number)) < 2 for number in range(3))


def outlive_a_client(folder: Path) -> float:
    """
    Kill a client at work, and return after how many seconds nothing was left of it.
    """
    folder.mkdir()
    paths = [folder / "work", folder / "hold"]
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, *map(str, paths)], stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    pids = [int(client.stdout.readline())]
    assert wait_until(lambda: all(path.exists() and path.read_text() for path in paths), 60)
    time.sleep(0.1)
    pids += [int(pid) for path in paths for pid in path.read_text().split()]
    keeper = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
    assert keeper != client.pid
    pids.append(keeper)

    client.kill()
    client.wait()
    client.stdout.close()
    killed = time.monotonic()

    assert wait_until(lambda: not any(map(is_alive, pids)), 60), pids
    return time.monotonic() - killed


def test_a_forked_client_calls_from_both_sides(run_script):
    """
    A child that was forked starts workers of its own; the parent's go on.
    """
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


def test_what_prints_before_the_worker_becomes_a_log(tmp_path: Path):
    """
    A banner printed by a ``.pth`` file does not disturb the stream.
    """
    from fal_core.environments import CurrentEnvironment, LocalInterpreter

    path = tmp_path / "python"
    path.write_text(f'#!/bin/sh\necho "a banner"\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)

    class Banner(CurrentEnvironment):
        key = "banner"

        def build(self, log, cancelled):
            return LocalInterpreter(str(path), None)

    import attrs

    isolated = function("current")(inc)
    launcher = isolated.make_launcher()
    logs: list[object] = []
    ended = threading.Event()

    def sink(event: object) -> None:
        logs.append(event)
        if type(event).__name__ == "Exited":
            ended.set()

    call = attrs.evolve(launcher.call(((1,), {})), environment=Banner())
    isolated.host.launch(call, sink)
    assert ended.wait(60)
    messages = [event.message for event in logs if type(event).__name__ == "Log"]
    assert messages == ["a banner"]


@pytest.mark.parametrize("size", [1, 1 << 22])
def test_last_words_of_a_python_that_does_not_start(tmp_path: Path, size: int):
    """
    What a Python prints that ends before there is a worker in it is told to its call,
    whether all of that was sent or not.
    """
    import attrs

    from fal_core.environments import CurrentEnvironment, LocalInterpreter
    from fal_core.events import Exited, Log

    path = tmp_path / "python"
    path.write_text("#!/bin/sh\necho 'last words' >&2\nexit 3\n")
    path.chmod(0o755)

    class Ending(CurrentEnvironment):
        key = f"ending {size}"

        def build(self, log, cancelled):
            return LocalInterpreter(str(path), None)

    isolated = function("current")(inc)
    events: list[object] = []
    ended = threading.Event()

    def sink(event: object) -> None:
        events.append(event)
        if isinstance(event, Exited):
            ended.set()

    call = isolated.make_launcher().call(((b"x" * size,), {}))
    isolated.host.launch(attrs.evolve(call, environment=Ending()), sink)
    assert ended.wait(60)
    messages = [event.message for event in events if isinstance(event, Log)]
    assert messages == ["last words"]
    assert isinstance(events[-1], Exited)
    assert "exited with code 3" in str(events[-1].reason)


def test_an_interpreter_that_cannot_start_is_told(tmp_path: Path):
    """
    A worker that does not start is a host error, not a hang.
    """
    import attrs

    from fal_core.calling.waiting import Waiter
    from fal_core.environments import CurrentEnvironment, LocalInterpreter

    class Broken(CurrentEnvironment):
        key = "broken"

        def build(self, log, cancelled):
            return LocalInterpreter(str(tmp_path / "nothing"), None)

    isolated = function("current")(inc)
    launcher = isolated.make_launcher()
    call = attrs.evolve(launcher.call(((1,), {})), environment=Broken())
    waiter = Waiter(launcher)
    waiter.wait(launcher.launch(call, waiter))
    with pytest.raises(HostError, match="127"):
        waiter.result()


def test_a_worker_that_ended_before_it_was_spoken_to_is_told_by_a_call():
    """
    What cannot be written to a process that is gone is no error until a call is made.
    """
    from fal_core.workers import Worker

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
    """
    10,000 calls do not let open files, threads or memory files grow.
    """
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
    """
    A function that calls itself needs no second worker.
    """

    @function("current", max_concurrency=1)
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert factorial(5) == 120


def test_a_call_to_another_place_goes_home():
    """
    A function of another place is called by the process that launched.
    """
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


def test_the_fork_of_a_worker_does_not_answer_twice():
    """
    A function that forks and returns on both sides answers once.
    """

    @function("current")
    def fork() -> int:
        return 1 if os.fork() else 2

    assert fork() == 1
    assert function("current")(inc)(1) == 2


INCREMENTS = """
from fal_core import function
@function("current")
def inc(x):
    import fal_core_worker
    print(fal_core_worker.__file__)
    return x + 1
print(inc(1))
"""


def test_a_source_cache_that_cannot_be_written_is_done_without(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    """
    Workers start from memory where their sources cannot be kept.
    """
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = {"FAL_CORE_CACHE": str(blocked / "cache"), "TMPDIR": str(blocked)}
    result = run_script(INCREMENTS, env={**os.environ, **cache})
    path, number = result.stdout.splitlines()
    assert (path.startswith("/proc/self/fd/"), number, result.stderr) == (True, "2", "")


def test_workers_keep_their_sources_where_the_core_keeps_things(
    run_script: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    """
    A tilde in the variable that names the cache is the home directory for workers too.
    """
    cache = {"FAL_CORE_CACHE": "~/kept", "HOME": str(tmp_path)}
    result = run_script(INCREMENTS, env={**os.environ, **cache}, cwd=tmp_path)
    path, number = result.stdout.splitlines()
    assert (number, result.stderr) == ("2", "")
    assert Path(path).is_relative_to(tmp_path / "kept" / "sources")


def test_a_lost_batch_runs_no_item_twice(tmp_path: Path):
    """
    When a worker is lost in a map, each item has run once, or is told as lost.
    """
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
