"""
What happens to builds: many at once, killed, cancelled, without space.

A tenth of the sweep of kills runs by default; FAL_CORE_FAULTS=all runs it all.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fal_core.environments import Interpreter
from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log
from fal_env_virtualenv import Virtualenv, leftovers, records

if TYPE_CHECKING:
    from conftest import Builder, Project

KILLS = 20 if os.environ.get("FAL_CORE_FAULTS") == "all" else 2

pytestmark = pytest.mark.faults


@pytest.fixture
def started(project: Project) -> Path:
    """
    Make the project take its time to build, and return a file that is there by then.
    """
    path = project.path.parent / "started"
    backend = f"open({str(path)!r}, 'w').close()\nimport time\ntime.sleep(600)\n"
    (project.path / "backend.py").write_text(backend)
    return path


RACE = """
    import sys, threading
    from fal_env_virtualenv import Virtualenv

    found, lines = set(), []
    barrier = threading.Barrier(16)

    def build():
        barrier.wait()
        environment = Virtualenv(requirements=["gamma", "beta"])
        found.add(environment.build(lambda line: lines.append(line.message), threading.Event()))

    threads = [threading.Thread(target=build) for _ in range(16)]
    print("ready", flush=True)
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (interpreter,) = found
    print(interpreter.executable)
    print(sum(line.startswith("Building a virtual environment") for line in lines))
"""


@pytest.mark.usefixtures("cache")
def test_racing_builders_build_once(run_python: Callable[..., subprocess.Popen[str]]) -> None:
    """
    Sixteen threads of each of four processes ask at once, and one of them builds.
    """
    processes = [run_python(RACE) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [process.communicate(timeout=280)[0].split() for process in processes]
    assert all(process.returncode == 0 for process in processes)
    assert len({executable for executable, _ in answers}) == 1
    assert sum(int(built) for _, built in answers) == 1


def test_waiting_builder_says_so_and_can_be_cancelled(
    cache: Path, project: Project, started: Path
) -> None:
    """
    Who waits for another's build is told, and need not wait to the end.
    """
    environment = Virtualenv(requirements=[str(project.path)])
    stop, waiting = threading.Event(), threading.Event()

    def first() -> None:
        with pytest.raises(Cancelled):
            environment.build(lambda line: None, stop)

    builder = threading.Thread(target=first)
    builder.start()
    wait_until(started.exists)

    def heard(line: Log) -> None:
        assert line.message.startswith("Waiting for another build")
        waiting.set()

    try:
        with pytest.raises(Cancelled):
            environment.build(heard, waiting)
    finally:
        stop.set()
        builder.join(60)
    assert not builder.is_alive()


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes_below(path: Path) -> list[int]:
    """
    Return the processes whose command lines or directories are below *path*.
    """
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            command = (place / "cmdline").read_bytes().decode(errors="replace")
            if str(path) in command or str(path) in os.readlink(place / "cwd"):
                found.append(int(place.name))
        except OSError:
            continue
    return found


def test_cancel_ends_the_builder_at_once(cache: Path, project: Project, started: Path) -> None:
    """
    A build ends with all it started, which would have gone on for minutes.
    """
    environment = Virtualenv(requirements=[str(project.path)])
    cancelled = threading.Event()
    ended = threading.Event()

    def run() -> None:
        with pytest.raises(Cancelled):
            environment.build(lambda line: None, cancelled)
        ended.set()

    builder = threading.Thread(target=run)
    builder.start()
    wait_until(started.exists)
    assert processes_below(cache)
    cancelled.set()
    assert ended.wait(60)
    builder.join()
    wait_until(lambda: not processes_below(cache))
    wait_until(lambda: not list((cache / "building").iterdir()))
    assert not environment.is_built()


def places_of_builds(uv_cache: Path) -> list[Path]:
    """
    Return the places with anything in them: while other programs run uv, an empty one may stay.
    """
    return [place for place in uv_cache.glob("builds-v*/.tmp*") if list(place.iterdir())]


def test_cancelled_build_leaves_nothing_in_the_cache_of_uv(
    cache: Path, project: Project, started: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """
    The place where uv built a project goes with the build that is cancelled.
    """
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    environment = Virtualenv(requirements=[str(project.path)])
    cancelled = threading.Event()

    def cancel() -> None:
        wait_until(started.exists)
        assert places_of_builds(tmp_path / "uv")
        cancelled.set()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        environment.build(lambda line: None, cancelled)
    canceller.join()
    assert places_of_builds(tmp_path / "uv") == []


INTERRUPTED = """
    import sys, threading
    from fal_env_virtualenv import Virtualenv

    environment = Virtualenv(requirements=[sys.argv[1]])
    build = threading.Thread(
        target=environment.build, args=(print, threading.Event()), daemon=True
    )
    threading.excepthook = lambda _: None
    build.start()
    sys.stdin.readline()
"""


def test_build_of_a_process_that_ends_leaves_nothing(
    cache: Path,
    project: Project,
    started: Path,
    tmp_path: Path,
    monkeypatch: Any,
    run_python: Callable[..., subprocess.Popen[str]],
) -> None:
    """
    A process that ends while a thread of it builds ends the build, and tidies up first.
    """
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    process = run_python(INTERRUPTED, str(project.path))
    wait_until(started.exists)
    assert list((cache / "building").iterdir())
    process.communicate("end\n", timeout=60)
    assert process.returncode == 0
    assert list((cache / "building").iterdir()) == []
    assert places_of_builds(tmp_path / "uv") == []


def test_collection_takes_what_killed_builds_left_in_the_cache_of_uv(
    cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """
    A place of a build that nobody has touched for long goes, unless some uv runs.
    """
    from fal_env_virtualenv.store import collect

    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    old, new = (tmp_path / "uv" / "builds-v0" / name for name in (".tmpOLD", ".tmpNEW"))
    for place in (old, new):
        place.mkdir(parents=True)
        (place / "file").write_bytes(bytes(10_000))
    os.utime(old, (0, 0))
    busy = tmp_path / "uv-program"
    (busy / "bin").mkdir(parents=True)
    (busy / "bin" / "uv").symlink_to("/bin/sleep")
    process = subprocess.Popen([busy / "bin" / "uv", "600"])
    try:
        wait_until(lambda: b"uv" in Path(f"/proc/{process.pid}/cmdline").read_bytes())
        assert collect(1 << 40).freed == 0
        assert old.exists()
    finally:
        process.kill()
        process.wait()
    # Other programs of this machine may build with uv as well; it is not ours to end them.
    wait_until(lambda: collect(1 << 40, dry_run=True).freed >= 10_000, seconds=120)
    assert old.exists()
    wait_until(lambda: collect(1 << 40).freed >= 10_000 or not old.exists(), seconds=120)
    assert not old.exists()
    assert new.exists()


def test_places_of_a_uv_that_is_started_meanwhile_are_left(
    cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """
    What is new stays, also where the first uv is started while that is looked for.
    """
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    (tmp_path / "uv" / "builds-v0" / ".tmpNEW").mkdir(parents=True)
    seen = iter([False])
    monkeypatch.setattr(leftovers, "_is_uv_running", lambda: next(seen, True))
    assert leftovers.old_places() == []


KILLED = """
    import sys, threading
    from fal_env_virtualenv import Virtualenv

    environment = Virtualenv(requirements=[["gamma"], ["beta"]], tags=[sys.argv[1]])
    print("ready", flush=True)
    environment.build(lambda line: None, threading.Event())
    print("built", flush=True)
    sys.stdin.readline()
"""


def test_killed_build_is_not_taken_for_finished(
    build: Builder,
    cache: Path,
    evaluate: Callable[..., str],
    run_python: Callable[..., subprocess.Popen[str]],
) -> None:
    """
    A build killed at any moment leaves nothing false, and the next one works.
    """
    points = random.Random(20)
    for point in range(KILLS):
        process = run_python(KILLED, str(point))
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(points.uniform(0, 0.2))
        process.send_signal(signal.SIGKILL)
        process.communicate(timeout=60)
        environment = Virtualenv(requirements=[["gamma"], ["beta"]], tags=[str(point)])
        interpreter = build(environment)
        found = "gamma.version, beta.version, alpha_one.version"
        assert evaluate(interpreter, found, "gamma beta alpha_one") == "3.1 1.0 1.0"
        wait_until(lambda: not processes_below(cache))
        # A second sweep takes what a dying uv may have written after the first.
        from fal_env_virtualenv.store import collect

        collect(1 << 40)
        assert list((cache / "building").iterdir()) == []
        assert list((cache / "trash").iterdir()) == []


def test_builder_ends_with_its_killed_client(
    cache: Path,
    project: Project,
    started: Path,
    run_python: Callable[..., subprocess.Popen[str]],
) -> None:
    """
    Neither uv nor what it started outlives a client that is killed.
    """
    script = """
        import sys, threading
        from fal_env_virtualenv import Virtualenv

        environment = Virtualenv(requirements=[sys.argv[1]])
        environment.build(lambda line: None, threading.Event())
    """
    process = run_python(script, str(project.path))
    wait_until(started.exists)
    assert len(processes_below(project.path)) > 1
    process.kill()
    process.communicate(timeout=60)
    wait_until(lambda: not processes_below(project.path) + processes_below(cache))


def test_child_of_a_fork_leaves_the_locks_to_its_parent(build: Builder) -> None:
    """
    A forked child does not hold what its parent held.
    """
    environment = Virtualenv(requirements=["gamma"])
    path = os.path.dirname(os.path.dirname(build(environment).executable))
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        records.release(path)
        from fal_env_virtualenv.store import find_entry

        assert not find_entry(environment.key).in_use
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


# -- The disk ---------------------------------------------------------------------


@pytest.fixture
def mounted(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Path]]:
    """
    Mount a file system in memory and keep the cache there.
    """
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("file systems can be mounted by root alone")
        monkeypatch.setenv("FAL_CORE_CACHE", str(place / "cache"))
        return place

    yield mount
    for path in list(records._in_use):
        records.release(path)
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def one_sentence(error: EnvironmentBuildError) -> str:
    reason = error.reason
    assert "\n" not in reason
    assert reason.endswith(".")
    return reason


def test_disk_that_is_full(build: Builder, mounted: Callable[[str], Path]) -> None:
    """
    A disk without space is one sentence, whether uv meets it or we do.
    """
    place = mounted("size=256k")
    with pytest.raises(EnvironmentBuildError, match="disk is full") as caught:
        build(Virtualenv(requirements=["heavy"]))
    one_sentence(caught.value)
    with suppress(OSError), open(place / "filler", "wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    with pytest.raises(EnvironmentBuildError, match="disk is full") as caught:
        build(Virtualenv(requirements=["gamma"]))
    one_sentence(caught.value)
    (place / "filler").unlink()
    build(Virtualenv(requirements=["gamma"]))


def test_cache_that_is_read_only(
    build: Builder, mounted: Callable[[str], Path], evaluate: Callable[[Interpreter, str], str]
) -> None:
    """
    What is built is used from a read-only cache; what is not is one sentence.
    """
    place = mounted("size=16m")
    environment = Virtualenv(requirements=["gamma"])
    interpreter = build(environment)
    records.release(os.path.dirname(os.path.dirname(interpreter.executable)))
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True, timeout=60)
    assert build(environment) == interpreter
    with pytest.raises(EnvironmentBuildError, match="cannot be written") as caught:
        build(Virtualenv(requirements=["beta"]))
    assert "FAL_CORE_CACHE" in one_sentence(caught.value)


def test_cache_that_is_no_directory(
    build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    A cache where a file is in the way is one sentence, which names that file.
    """
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EnvironmentBuildError, match="A file is where") as caught:
        build(Virtualenv(requirements=["gamma"]))
    assert f"a directory: {tmp_path}/file. Remove it" in one_sentence(caught.value)


def test_cache_that_cannot_be_made_names_the_variable(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Where the cache directory cannot be made the error says what names another.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", "/proc/nope")
    with pytest.raises(EnvironmentBuildError, match="FAL_CORE_CACHE") as caught:
        build(Virtualenv(requirements=["gamma"]))
    one_sentence(caught.value)
