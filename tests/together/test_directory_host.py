"""The example of a host that detaches work: the conformance suite, and what is its own."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core import attach, function
from fal_core.abilities import DetachingHost, detaching
from fal_core.errors import Timeout, WorkerLost
from fal_core.hosts import Host
from fal_testing.harness.processes import wait_until
from fal_testing.suite import *  # noqa: F403  # every law
from fal_testing.suite import GROUPS

#: What the example does itself; the rest is that of hosts of workers.
OWN = {"detach", "events", "claims"}

if "all" not in (os.environ.get("FAL_CORE_LAWS"), os.environ.get("FAL_CORE_FAULTS")):
    for group in GROUPS.keys() - OWN:
        for law in [name for name in vars(GROUPS[group]) if name.startswith("test_")]:
            globals().pop(law, None)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("directory-host")


@pytest.fixture(scope="session")
def host(root: Path, directory_example: ModuleType) -> Iterator[Host[..., Any]]:
    host = directory_example.DirectoryHost(root)
    yield host
    host.close()


@pytest.fixture(scope="session")
def host_url(root: Path) -> str:
    return f"directory://{root}"


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 30.0


@pytest.fixture(scope="module", autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have the processes of laws find the example as an installed plugin."""
    site = tmp_path_factory.mktemp("site")
    information = site / "directory_host-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: directory-host\n")
    (information / "entry_points.txt").write_text("[fal_core]\ndirectory = directory_host\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", f"{site}{os.pathsep}{ROOT / 'examples'}")
        yield


def detached(func: Any, host: Host[..., Any], **policy: Any) -> Any:
    """Return *func* as an isolated function whose spawned calls are detached."""
    return function("current", host=host)(func).with_policy(lifetime="detached", **policy)


def count(up_to: int) -> Iterator[int]:
    yield from range(up_to)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def double(number: int) -> int:
    return 2 * number


def test_items_are_kept_though_nobody_reads_them(host: Host[..., Any], law_timeout: float):
    """
    A detached generator goes on without anybody who takes its items; who attaches later
    has them all.
    """
    number = 200
    info = detached(count, host).spawn(number)
    status = [each for each in detaching(host).executions() if each.reference == info.reference]
    assert status[0].name == "count"
    later = attach(host, info.reference)
    assert later.future is not None
    assert later.future.result(law_timeout) == list(range(number))


def test_timeout_of_detached_work_is_kept(host: Host[..., Any], law_timeout: float):
    """The supervisor ends work whose time is up, as nobody else may be there."""
    info = detached(sleep, host, timeout=0.2).spawn(10 * law_timeout)
    assert info.future is not None
    with pytest.raises(Timeout):
        info.future.result(law_timeout)


def test_detached_function_calls_home(host: Host[..., Any], law_timeout: float):
    """What a detached function asks of its caller is answered through the files."""
    doubled = function("current", host="local")(double)

    def ask() -> int:
        return doubled(21)

    info = detached(ask, host).spawn()
    assert info.future is not None
    assert info.future.result(law_timeout) == 42


class Buffer:
    """Bytes that are pickled out of band."""

    def __init__(self, data: bytearray) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return bytearray, (pickle.PickleBuffer(self.data),)


def make_buffer(size: int) -> Any:
    return Buffer(bytearray(size))


def test_large_answers_reach_a_detached_function(host: Host[..., Any], law_timeout: float):
    """What is answered may be large, and hold views of memory."""
    at_home = function("current", host="local")(make_buffer)

    def ask(size: int) -> int:
        return len(at_home(size))

    info = detached(ask, host).spawn(1 << 17)
    assert info.future is not None
    assert info.future.result(law_timeout) == 1 << 17


def supervisors(folder: Path) -> list[int]:
    """Return the processes that were started with *folder* as an argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if bytes(folder) in words:
            found.append(int(path.parent.name))
    return found


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="It finds the process in /proc.")
def test_lost_supervisor_is_told(host: Any, law_timeout: float):
    """
    Where the supervisor is killed, whoever follows the work is told, and it is listed as
    ended.
    """
    assert isinstance(host, DetachingHost)
    info = detached(sleep, host).spawn(10 * law_timeout)
    folder = host.root / info.reference
    assert wait_until(lambda: bool(supervisors(folder)), law_timeout)
    for number in supervisors(folder):
        os.kill(number, signal.SIGKILL)
    assert info.future is not None
    with pytest.raises(WorkerLost, match="Its supervisor has ended"):
        info.future.result(law_timeout)
    [status] = [each for each in host.executions() if each.reference == info.reference]
    assert status.ended
