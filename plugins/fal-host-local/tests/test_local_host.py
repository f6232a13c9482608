"""
Warm workers on this machine.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fal_core import (
    Cancelled,
    FalSerializationError,
    Gateway,
    HostClosed,
    HostOptions,
    OptionError,
    Timeout,
    function,
)
from fal_core.environments import CurrentEnvironment
from fal_core.explanations import explain
from fal_core.testing.processes import is_alive, wait_until
from fal_host_local import LocalHost


@pytest.fixture
def host():
    """
    A local host of the test's own.
    """
    host = LocalHost()
    yield host
    host.close()


def get_pid() -> int:
    return os.getpid()


def sleep(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_a_worker_is_kept_for_the_next_call(host):
    """
    Calls of one environment and set of options share a warm worker.
    """
    first = function("current", host=host)(get_pid)
    second = function("current", host=host)(sleep)

    assert first() == first() == second(0)
    assert host.worker_count == 1


def test_other_options_have_other_workers(host):
    """
    Functions with different options of the host share no worker.
    """
    plain = function("current", host=host)(get_pid)

    assert plain() != plain.on(keep_alive=5)()


def test_workers_that_have_ended_leave_nothing_open(host):
    """
    What was open for a worker is closed once it has been idle for too long.
    """
    isolated = function("current", host=host, keep_alive=0.05)(get_pid)

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))

    def call() -> None:
        isolated()
        assert wait_until(lambda: not host.worker_count, 30)

    call()
    assert wait_until(lambda: host.worker_count == 0, 30)
    time.sleep(0.2)
    before = open_files()
    for _ in range(5):
        call()

    assert wait_until(lambda: open_files() <= before, 30)


def test_an_idle_worker_ends_after_keep_alive(host):
    """
    ``keep_alive`` is how long a worker stays warm without a call.
    """
    isolated = function("current", host=host, keep_alive=0.2)(get_pid)

    pid = isolated()

    assert wait_until(lambda: not is_alive(pid), 30)
    assert wait_until(lambda: host.worker_count == 0, 30)
    assert isolated() != pid


def test_min_concurrency_outlives_keep_alive(host):
    """
    ``min_concurrency`` workers stay warm however long they are idle.
    """
    isolated = function("current", host=host, keep_alive=0.1, min_concurrency=1)(get_pid)

    pid = isolated()
    time.sleep(0.5)

    assert isolated() == pid


def test_min_concurrency_workers_are_started(host):
    """
    The first call starts ``min_concurrency`` workers.
    """
    isolated = function("current", host=host, min_concurrency=2, max_concurrency=2)(get_pid)

    isolated()

    assert wait_until(lambda: host.worker_count == 2, 30)


def shared_files() -> dict[int, int]:
    """
    Return how many bytes each file of shared memory of this process takes, by its inode.
    """
    sizes = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            if "memfd:fal-core" in os.readlink(f"/proc/self/fd/{name}"):
                status = os.stat(f"/proc/self/fd/{name}")
                sizes[status.st_ino] = status.st_blocks * 512
        except FileNotFoundError:
            pass
    return sizes


def test_shared_memory_of_idle_workers_is_given_back(host):
    """
    A worker that is idle for some seconds keeps no shared memory.
    """
    numpy = pytest.importorskip("numpy")
    # Hosts of other tests may still hold some.
    others = shared_files()

    def held() -> int:
        return sum(size for inode, size in shared_files().items() if inode not in others)

    same = function("current", host=host)(lambda array: array)
    array = same(numpy.ones(1 << 20))
    # What is still looked at is given back by nobody.
    assert held() > 1 << 20
    total = float(array.sum())
    del array

    assert total == 1 << 20
    assert wait_until(lambda: held() < 1 << 20, 30)
    assert float(same(numpy.ones(1 << 20)).sum()) == total


def test_no_more_workers_than_max_concurrency(host):
    """
    Calls beyond ``max_concurrency`` wait for a worker.
    """
    isolated = function("current", host=host, max_concurrency=2)(sleep)

    futures = [isolated.submit(0.1) for _ in range(6)]
    pids = {future.result() for future in futures}

    assert len(pids) <= 2
    assert host.worker_count <= 2


def test_a_second_worker_starts_while_the_first_is_busy(host):
    """
    A call that has waited for long gets a worker of its own.
    """
    isolated = function("current", host=host, max_concurrency=2)(sleep)
    isolated(0)

    long = isolated.submit(600)
    short = isolated.submit(0)

    short.result(timeout=60)
    assert not long.done()
    assert long.cancel()


def test_many_threads_share_the_workers(host):
    """
    Any thread may call at any time.
    """
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
    """
    ``max_multiplexing`` calls run at once in one worker, threads and tasks alike.
    """

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
    """
    A cancelled thread is abandoned; its worker is replaced once it has drained.
    """

    def stay(name: str) -> int:
        (tmp_path / name).touch()
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


def test_setup_runs_once_in_a_worker(host, tmp_path: Path):
    """
    ``setup_function`` runs once per worker; its result is the first argument.
    """
    log = tmp_path / "log"

    def load() -> dict[str, int]:
        with open(log, "a") as file:
            file.write("loaded\n")
        return {"calls": 0}

    @function("current", host=host, setup_function=load)
    def count(state: dict[str, int], step: int) -> int:
        state["calls"] += step
        return state["calls"]

    assert [count(1), count(2), count(3)] == [1, 3, 6]
    assert log.read_text() == "loaded\n"


def test_a_setup_that_raises_is_the_error_of_the_call(host):
    """
    What ``setup_function`` raises arrives as itself.
    """

    def load() -> None:
        raise LookupError("no model")

    isolated = function("current", host=host, setup_function=load)(lambda state: 1)

    with pytest.raises(LookupError, match="no model"):
        isolated()


def test_secrets_come_from_the_environment_and_the_project(
    host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    Only the secrets that are named are seen, under their names.
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAL_TEST_TOKEN", "from-environment")
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / ".env").write_text(
        "# comment\nexport FAL_TEST_FILE='from file'\nFAL_TEST_OTHER=unseen\n"
    )
    isolated = function("current", host=host, secrets=["FAL_TEST_TOKEN", "FAL_TEST_FILE"])(
        lambda: {name: value for name, value in os.environ.items() if "FAL_TEST" in name}
    )

    assert isolated() == {
        "FAL_TEST_TOKEN": "from-environment",
        "FAL_TEST_FILE": "from file",
    }


def test_secrets_lie_beside_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    The project of the function's file is looked at, also from elsewhere; that of the
    working directory comes first. Where neither has it, the file is named.
    """
    sub = tmp_path / "sub"
    sub.mkdir()
    (tmp_path / ".git").mkdir()
    (sub / ".env").write_text("FAL_TEST_BESIDE=beside\nFAL_TEST_BOTH=beside\n")
    (sub / "s.py").write_text(
        "import os, sys\n"
        "from fal_core import function\n"
        "names = ['FAL_TEST_BESIDE', 'FAL_TEST_BOTH', *sys.argv[1:]]\n"
        "@function('current', host='local', secrets=names)\n"
        "def read(): return [os.environ[name] for name in names]\n"
        "apart = read.with_policy(lifetime='detached')\n"
        "print(*read(), *apart.spawn().future.result(60))\n"
    )

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "sub/s.py", *arguments]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)

    assert run().stdout.split() == ["beside"] * 4
    (tmp_path / ".env").write_text("FAL_TEST_BOTH=around\n")
    assert run().stdout.split() == ["beside", "around"] * 2
    told = run("FAL_TEST_NOWHERE").stderr.splitlines()[-1]
    assert "Secret 'FAL_TEST_NOWHERE', which a function in" in told
    assert str(sub / "s.py") in told
    assert ".env beside that file" in told


def test_a_secret_is_nowhere_to_be_read(host, monkeypatch: pytest.MonkeyPatch):
    """
    The value of a secret is not in the worker's argv or initial environment.
    """
    monkeypatch.setenv("FAL_TEST_TOKEN", "the-secret-value")
    isolated = function("current", host=host, secrets=["FAL_TEST_TOKEN"])(get_pid)

    pid = isolated()

    for name in ("cmdline", "environ"):
        assert b"the-secret-value" not in Path(f"/proc/{pid}/{name}").read_bytes()
    assert "the-secret-value" not in repr(isolated)


def test_a_missing_secret_is_named(host):
    """
    A secret that is set nowhere is an error that says where to set it.
    """
    isolated = function("current", host=host, secrets=["FAL_TEST_NOWHERE"])(get_pid)

    with pytest.raises(Exception, match=r"FAL_TEST_NOWHERE.*\.env"):
        isolated()


@pytest.mark.parametrize(
    "options",
    [
        {"secrets": ["FAL_TEST_NOWHERE"]},
        {"exposed_port": 8123, "health_check_config": {}},
    ],
)
def test_a_call_is_refused_as_it_is_explained(host, monkeypatch, options):
    """
    What this machine cannot give is refused before anything is built, in the words of
    the explanation.
    """

    def build(*_):
        raise AssertionError("nothing is built")

    monkeypatch.setattr(CurrentEnvironment, "build", build)
    isolated = function("current", host=host, **options)(get_pid)
    (reason,) = explain(isolated).reasons

    with pytest.raises(OptionError) as caught:
        isolated()

    assert str(caught.value) == reason


def test_a_closed_host_takes_no_calls(host):
    """
    Closing a host ends its workers and refuses calls.
    """
    isolated = function("current", host=host)(get_pid)
    pid = isolated()

    host.close()

    assert wait_until(lambda: not is_alive(pid), 30)
    with pytest.raises(HostClosed):
        isolated()


def test_a_call_that_takes_too_long_is_ended(host):
    """
    A timeout ends the call, and its worker serves the next one.
    """
    options = {"max_concurrency": 1, "timeout": 0.3}
    # After the grace its worker would be killed.
    isolated = function("current", host=host, grace=60, **options)(sleep)
    in_time = isolated.with_policy(timeout=None)
    pid = in_time(0)

    with pytest.raises(Timeout, match=r"0\.3 s"):
        isolated(300)
    with pytest.raises(Timeout):
        isolated.submit(300).result(timeout=60)
    assert in_time(0) == pid


def test_a_function_that_does_not_listen_is_killed(host):
    """
    What an interrupt does not end is killed after the grace.
    """

    def stubborn() -> None:
        while True:
            try:
                time.sleep(30)
            except BaseException:
                pass

    isolated = function("current", host=host)(stubborn).with_policy(grace=0.2)
    info = isolated.spawn()
    time.sleep(0.3)
    info.cancel(grace=0.2)

    with pytest.raises(Cancelled):
        info.future.result(timeout=30)


def test_large_arrays_are_read_in_place(host):
    """
    Large buffers come through shared memory, read-only, and hold their values
    for as long as they are held, whatever comes after them.
    """
    numpy = pytest.importorskip("numpy")
    double = function("current", host=host)(lambda array: array * 2)

    results = [double(numpy.full(200_000, number)) for number in range(40)]

    assert [int(result[-1]) for result in results] == [2 * number for number in range(40)]
    assert not results[0].flags.writeable


def test_shared_memory_is_used_again(host):
    """
    Blocks whose views have died are used again: arenas do not grow.
    """
    numpy = pytest.importorskip("numpy")
    same = function("current", host=host)(lambda array: array)
    array = numpy.ones(1 << 20)

    def sizes() -> list[int]:
        found = []
        for name in os.listdir("/proc/self/fd"):
            try:
                if "memfd:fal-core" in os.readlink(f"/proc/self/fd/{name}"):
                    found.append(os.stat(f"/proc/self/fd/{name}").st_size)
            except FileNotFoundError:
                pass
        return found

    for _ in range(3):
        same(array)
    before = sizes()
    for _ in range(100):
        same(array)

    assert before
    # Workers of other hosts may end meanwhile, and theirs go with them.
    assert sum(sizes()) <= sum(before)


def test_a_local_host_takes_no_address():
    """
    ``local://somewhere`` is refused where it is written.
    """
    with pytest.raises(OptionError, match="takes no address"):
        function("current", host="local://elsewhere")


def test_an_expected_call_finds_its_worker_started(host):
    """
    The worker is started once, and it is the one that runs the call.
    """
    host.expect(CurrentEnvironment(), HostOptions(), Gateway())
    host.expect(CurrentEnvironment(), HostOptions(), Gateway())
    assert host.worker_count == 1

    pid = function("current", host=host)(get_pid)()

    assert host.worker_count == 1
    assert function("current", host=host)(get_pid)() == pid


def test_a_function_that_cannot_travel_costs_no_worker_for_long(host):
    """
    A worker whose call never comes ends as any other that is idle.
    """
    isolated = function("current", host=host, keep_alive=0)(lambda: lock)
    lock = threading.Lock()

    with pytest.raises(FalSerializationError):
        isolated()

    assert wait_until(lambda: not host.worker_count, 30)


def test_a_worker_that_ended_before_its_call_is_replaced(host):
    """
    A call whose expected worker was killed meanwhile runs in another.
    """
    host.expect(CurrentEnvironment(), HostOptions(), Gateway())
    (pool,) = host._pools.values()
    (worker,) = pool._roster.workers
    worker.kill()
    assert host._keeper.wait(1, 30) is not None

    assert function("current", host=host)(get_pid)() > 0


def test_the_start_of_a_worker_is_timed_by_itself(host):
    """
    That its hello is read late, at the first call, does not count.
    """
    began = time.monotonic()
    host.expect(CurrentEnvironment(), HostOptions(), Gateway())
    (pool,) = host._pools.values()
    (worker,) = pool._roster.workers
    # A reader of the host's own may come first where the start takes long.
    assert wait_until(lambda: worker.hello or select.select([worker.reading], [], [], 0)[0], 60)
    said = time.monotonic() - began
    time.sleep(1.0)
    function("current", host=host)(get_pid)()

    assert next(iter(pool._starts)) <= said


def test_a_worker_without_keep_alive_waits_for_the_call_that_is_expected(host):
    """
    It ends after that call, as it would without having been expected.
    """
    options = HostOptions(keep_alive=0)
    host.expect(CurrentEnvironment(), options, Gateway())
    time.sleep(0.3)
    assert host.worker_count == 1

    assert function("current", host=host, keep_alive=0)(get_pid)() > 0

    assert wait_until(lambda: not host.worker_count, 30)


def test_a_service_that_is_expected_runs_in_the_worker_that_was_started(
    host, monkeypatch: pytest.MonkeyPatch
):
    """
    Its worker is started once, and is the service's alone.
    """
    # A busy machine takes longer for what is done meanwhile.
    monkeypatch.setattr("fal_host_local.pools.pools._EXPECTED", 60.0)
    options, gateway = HostOptions(), Gateway(serve=True)
    host.expect(CurrentEnvironment(), options, gateway)
    assert host.worker_count == 1

    assert function("current", host=host)(get_pid)() > 0
    assert host.worker_count == 2
    pool = host._take_expected(CurrentEnvironment(), options)

    assert pool is not None
    assert pool.worker_count == 1
    assert host._take_expected(CurrentEnvironment(), options) is None
    pool.close()


def test_a_closed_host_expects_nothing(host):
    """
    A host that was closed tells it at the call, and starts nothing.
    """
    host.close()
    host.expect(CurrentEnvironment(), HostOptions(), Gateway())

    with pytest.raises(HostClosed):
        function("current", host=host)(get_pid)()


def parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])
