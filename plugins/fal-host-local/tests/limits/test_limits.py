"""Limits: a call on this machine has what its machine type has, and no more."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fal_core import OutOfMemory, UnsupportedError, WorkerLost, function
from fal_core.machines import Machine, count_cpus
from fal_core_worker import trees
from fal_host_local import LocalHost
from fal_host_local.limits import no_network
from fal_host_local.limits.cgroups import find_hierarchies
from fal_host_local.workers.confinement import group_name
from fal_host_local.workers.keepers import Keeper
from fal_testing.harness.devices import machine_with
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

MB = 1000**2
TINY = Machine(name="tiny", cpus=0.5, memory=100 * MB, processes=60)
ROOMY = Machine(name="roomy", cpus=4, memory=400 * MB)
HUGE = Machine(name="huge", memory=4000 * MB)
VAGUE = Machine(name="vague")


@pytest.fixture
def twin() -> Iterator[LocalHost]:
    """A host that enforces limits, on a machine whose types are known."""
    host = LocalHost(enforce=True)
    with machine_with(machines=(TINY, ROOMY, HUGE, VAGUE)):
        yield host
        host.close()


def kept() -> set[str]:
    return {each for found in find_hierarchies() for each in found.controllers}


def needs(*controllers: str) -> None:
    missing = set(controllers) - kept()
    if missing:
        pytest.skip(f"No cgroup with {', '.join(sorted(missing))} can be made here.")


def groups() -> list[Path]:
    """Return the cgroups that keepers have made, those of other programs too."""
    folders = [Path(found.folder) for found in find_hierarchies()]
    return [group for folder in folders for group in folder.glob("fal-core-[0-9]*-*")]


def fill(size: int) -> int:
    return len(bytearray(size))


def test_what_would_be_killed_there_is_killed_here(twin: LocalHost) -> None:
    """
    A call that takes more memory than its machine type has ends with ``OutOfMemory``, which
    names the type that has more; the next call works, and no cgroup is left.
    """
    needs("memory")
    small = function("current", host=twin, machine_type="tiny")(fill)
    assert small(10 * MB) == 10 * MB
    group = Path(function("current", host=twin, machine_type="tiny")(own_group)("")).name
    with pytest.raises(OutOfMemory) as caught:
        small(300 * MB)
    assert str(caught.value).endswith(
        "It used 100 MB, and machine type 'tiny' has 100 MB. The next larger one is 'roomy', "
        "with 400 MB."
    )
    assert (caught.value.peak or 0) > 90 * MB
    assert caught.value.fits == "roomy"
    assert wait_until(lambda: group not in {each.name for each in groups()}, 30)
    assert small(10 * MB) == 10 * MB
    assert function("current", host=twin, machine_type="roomy")(fill)(200 * MB) == 200 * MB


def test_limits_are_said_once(twin: LocalHost, capfd: pytest.CaptureFixture[str]) -> None:
    """Which limits hold, and which do not, is said with the first call."""
    vague = function("current", host=twin, machine_type="vague")(fill)
    vague(1)
    vague(1)
    said = capfd.readouterr().err
    assert said.count("Limits of machine type 'vague': memory not enforced, as none are") == 1


def test_without_a_machine_type_nothing_is_enforced(
    twin: LocalHost, capfd: pytest.CaptureFixture[str]
) -> None:
    """A function that declares no machine type has no limits, which is said."""
    assert function("current", host=twin)(fill)(1) == 1
    assert "No limits hold: no machine type is declared" in capfd.readouterr().err


@pytest.mark.parametrize("machine_type", ["tiny", ["large", "tiny"]], ids=str)
def test_without_enforce_there_are_none(
    host: LocalHost, capfd: pytest.CaptureFixture[str], machine_type: str | list[str]
) -> None:
    """
    A host that does not enforce says that the machine type has no effect, and how it has. So
    it does for one to fall back to, where there are no devices for the others.
    """
    large = Machine(name="large", gpus=1, gpu_model="H100")
    with machine_with(machines=(TINY, large)):
        # It is said once for each function.
        @function("current", host=host, machine_type=machine_type)
        def take(size: int) -> int:
            return len(bytearray(size))

        assert take(300 * MB) == 300 * MB
    told = "Its limits hold with LocalHost(enforce=True), by 'fal-core run --enforce', and in"
    assert told in capfd.readouterr().err


def spin() -> float:
    import time

    began, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 0.3:
        pass
    return (time.process_time() - used) / (time.monotonic() - began)


def test_processors_are_shared_out(twin: LocalHost) -> None:
    """A call on half a processor is given half of one."""
    needs("cpu")
    assert function("current", host=twin, machine_type="tiny")(spin)() < 0.8


def start_many() -> int:
    gate = threading.Event()
    started = []
    try:
        for _ in range(200):
            thread = threading.Thread(target=gate.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    finally:
        gate.set()
    return len(started)


def test_processes_are_counted(twin: LocalHost) -> None:
    """A call may have as many processes and threads as its machine type."""
    needs("pids")
    assert function("current", host=twin, machine_type="tiny")(start_many)() < 60
    assert function("current", host=twin, machine_type="roomy")(start_many)() == 200


def reach() -> str:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), 10).close()
    try:
        socket.create_connection(("192.0.2.1", 80), 10).close()
    except OSError as error:
        return str(error.strerror)
    return "reached"


def test_a_host_without_a_network() -> None:
    """With ``network=False`` a function reaches itself, and nothing else."""
    if no_network.problem():
        pytest.skip(no_network.problem())
    host = LocalHost(network=False)
    try:
        assert function("current", host=host)(reach)() == "Network is unreachable"
        with pytest.raises(UnsupportedError, match="without a network"):
            function("current", host=host, serve=True)(reach).spawn()
    finally:
        host.close()


def test_detached_work_is_treated_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Detached work has no network either, if its host says so."""
    if no_network.problem():
        pytest.skip(no_network.problem())
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    host = LocalHost(network=False)
    detached = function("current", host=host)(reach).with_policy(lifetime="detached")
    assert detached.spawn().return_value == "Network is unreachable"
    host.close()


PROGRAM = textwrap.dedent(
    """
    import sys, time
    from fal_core import function, OutOfMemory
    from fal_core.machines import Machine
    from fal_testing.harness.devices import machine_with
    from fal_host_local import LocalHost
    tiny = Machine(name="tiny", cpus=1, memory=100_000_000, processes=60)
    roomy = Machine(name="roomy", memory=400_000_000)
    host = LocalHost(enforce=True)
    with machine_with(machines=(tiny, roomy)):
        @function("current", host=host, machine_type="tiny")
        def fill(size, seconds):
            import os, time
            held = bytearray(size)
            print("filled", len(os.sched_getaffinity(0)), flush=True)
            time.sleep(seconds)
            return len(held)
        print(fill(1000, int(sys.argv[1])), flush=True)
        try:
            fill(300_000_000, 600)
        except OutOfMemory as error:
            print(error.fits, str(error), flush=True)
        print(fill(1000, 0))
    host.close()
    """
)


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    """The command of a program that calls functions with limits."""
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return [sys.executable, "-u", str(path)]


def test_memory_is_watched_where_there_are_no_cgroups(program: list[str]) -> None:
    """
    Where no cgroup can be made a call that takes too much is ended all the same, a moment
    later, and the processors are those of a set.
    """
    hidden = 'mount -t tmpfs none /sys/fs/cgroup && exec "$@"'
    enter = ["unshare", "--mount", "sh", "-c", hidden, "sh"]
    if subprocess.run([*enter, "true"], capture_output=True, check=False).returncode:
        pytest.skip("The cgroups of this machine cannot be hidden.")
    done = subprocess.run(
        [*enter, *program, "0"], capture_output=True, text=True, timeout=120, check=False
    )
    assert "memory 100 MB (watched, it may be more for a moment)" in done.stderr
    lines = [line for line in done.stdout.splitlines() if not line.startswith("filled")]
    assert [line.split()[0] for line in lines] == ["1000", "roomy", "1000"]
    assert "and machine type 'tiny' has 100 MB." in lines[1]
    assert "filled 1" in done.stdout


@pytest.mark.parametrize("victim", ["caller", "keeper"])
def test_no_cgroup_is_left_behind(program: list[str], victim: str) -> None:
    """
    SIGKILL of the caller leaves no cgroup; what a keeper that was killed has left is empty,
    and removed by a later one.
    """
    needs("memory")
    with subprocess.Popen(
        [*program, "600"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("filled")
        [keeper] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()

        def left() -> list[Path]:
            return [group for group in groups() if group.name.startswith(f"fal-core-{keeper}-")]

        def is_empty() -> bool:
            return not any((group / "cgroup.procs").read_text() for group in left())

        assert left()
        os.kill(process.pid if victim == "caller" else int(keeper), signal.SIGKILL)
        if victim == "caller":
            assert wait_until(lambda: not left(), 30)
        else:
            assert wait_until(is_empty, 30)
            process.kill()
            for group in left():
                os.utime(group, (1, 1))
            host = LocalHost(enforce=True)
            with machine_with(machines=(TINY,)):
                function("current", host=host, machine_type="tiny")(fill)(1)
                host.close()
            assert not left()
        process.kill()


def nest(folder: str) -> str:
    """Start a process in a cgroup of its own below that of the function."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    [own] = {line.rpartition("/")[2] for line in lines if "/fal-core-" in line}
    group = Path(folder, own)
    (group / "inner").mkdir()
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (group / "inner" / "cgroup.procs").write_text(str(process.pid))
    return own


def test_groups_that_a_function_has_made_are_removed(twin: LocalHost) -> None:
    """A cgroup with others in it, and processes in those, is removed with its worker."""
    needs("pids")
    [hierarchy] = [found for found in find_hierarchies() if "pids" in found.controllers]
    if hierarchy.version == 2:
        pytest.skip("Groups of version 2 with limits and processes have no others in them.")
    own = function("current", host=twin, machine_type="tiny")(nest)(hierarchy.folder)
    twin.close()
    assert own not in {group.name for group in groups()}


def own_group(folder: str) -> str:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    [own] = {line.rpartition("/")[2] for line in lines if "/fal-core-" in line}
    return str(Path(folder, own))


def test_a_group_that_stays_busy_is_named(
    twin: LocalHost, capfd: pytest.CaptureFixture[str]
) -> None:
    """
    A cgroup that cannot be removed is named by a warning, and the next call works; it is
    removed by a later one, once that is possible.
    """
    needs("pids")
    [hierarchy] = [found for found in find_hierarchies() if "pids" in found.controllers]
    find = function("current", host=twin, machine_type="tiny")(own_group)
    group = find(hierarchy.folder)
    # What is mounted cannot be removed.
    if subprocess.run(["mount", "--bind", group, group], check=False).returncode:
        pytest.skip("Nothing can be mounted on a cgroup here.")
    try:
        with pytest.raises(WorkerLost):
            function("current", host=twin, machine_type="tiny")(end_worker)()
        assert find(hierarchy.folder) != group
        assert (
            f"The cgroup {group} of a worker that has ended is busy" in capfd.readouterr().err
        )
        assert os.path.isdir(group)
    finally:
        subprocess.run(["umount", group], check=True)
    twin.close()
    os.utime(group, (1, 1))
    later = LocalHost(enforce=True)
    function("current", host=later, machine_type="tiny")(fill)(1)
    later.close()
    assert not os.path.isdir(group)


def end_worker() -> None:
    os._exit(3)


def test_a_limit_that_cannot_be_set_is_an_error() -> None:
    """A worker whose cgroup cannot be made does not run without it, and says why."""
    keeper = Keeper()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", "print('ran')"]
        told = {"groups": [("/proc/nowhere", 1, [])]}
        number = keeper.start(
            command, dict(os.environ), os.getcwd(), [theirs.fileno()], confinement=told
        )
        status = keeper.wait(number, 30)
        assert status is not None
        assert os.waitstatus_to_exitcode(status) == 127
        assert ours.recv(1000).startswith(b"The limits cannot be set: /proc/nowhere/fal-core-")
    keeper.close()


def test_a_group_of_an_earlier_keeper_is_replaced() -> None:
    """A keeper may have the process ID of one that was killed: what that has left is removed."""
    needs("pids")
    [hierarchy] = [found for found in find_hierarchies() if "pids" in found.controllers]
    before = set(trees.children(os.getpid()))
    keeper = Keeper()
    [pid] = set(trees.children(os.getpid())) - before
    group = Path(hierarchy.folder, group_name(pid, 1))
    group.mkdir()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [sys.executable, "-c", "print('ran')"]
        told = {"groups": [(hierarchy.folder, hierarchy.version, [])]}
        number = keeper.start(
            command, dict(os.environ), os.getcwd(), [theirs.fileno()], confinement=told
        )
        status = keeper.wait(number, 30)
        said = ours.recv(1000)
    keeper.close()
    is_left = group.exists()
    if is_left:
        group.rmdir()
    assert (status, said, is_left) == (0, b"ran\n", False)


NARROW = textwrap.dedent(
    """
    from fal_core import function
    from fal_core.machines import Machine
    from fal_testing.harness.devices import machine_with
    from fal_host_local import LocalHost
    host = LocalHost(enforce=True)
    with machine_with(machines=(Machine(name="one", cpus=1),)):
        print(function("current", host=host, machine_type="one")(len)("four"))
    host.close()
    """
)


def test_fewer_processors_around_a_program_hold(tmp_path: Path) -> None:
    """
    A program that has fewer processors than a machine type, as one in a container, runs calls
    of that type with those that it has.
    """
    needs("cpu")
    [hierarchy] = [found for found in find_hierarchies() if "cpu" in found.controllers]
    if hierarchy.version == 2 or count_cpus() < 2:
        pytest.skip("Groups of version 2 take a limit that has no effect.")
    group = Path(hierarchy.folder, f"fal-core-test-{os.getpid()}")
    group.mkdir()
    try:
        (group / "cpu.cfs_quota_us").write_text("50000")
        path = tmp_path / "narrow.py"
        path.write_text(NARROW)
        join = f'echo $$ > {group / "cgroup.procs"} && exec "$@"'
        done = subprocess.run(
            ["sh", "-c", join, "sh", sys.executable, str(path)],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.stdout == "4\n", done.stderr
    finally:
        assert wait_until(lambda: not (group / "cgroup.procs").read_text(), 30)
        group.rmdir()
