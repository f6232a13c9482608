"""
Laws of detached work: it outlives the process that launched it.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from fal_core.abilities import detaching
from fal_core.calling.spawning import spawn
from fal_core.errors import Cancelled, HostError
from fal_core.events import Event, Log
from fal_core.hosts import Host
from fal_core.spawns import SpawnInfo
from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.marks import Isolated
from fal_core.testing.harness.processes import wait_until
from fal_core.testing.harness.recorders import Recorder

Detach = Callable[..., SpawnInfo]

_OTHER_PROCESS = """\
import sys, threading
from fal_core.events import Exited, Log
from fal_core.plugins.installed import find_host
ended = threading.Event()
def sink(event):
    if isinstance(event, Log) and event.source == "USER":
        print(event.message, flush=True)
    if isinstance(event, Exited):
        print(type(event.reason).__name__, flush=True)
        ended.set()
execution = find_host(sys.argv[1]).attach(sys.argv[2], sink, 0)
if sys.argv[3] == "cancel":
    execution.cancel(1.0)
sys.exit(0 if ended.wait(float(sys.argv[4])) else 3)
"""


@pytest.fixture(scope="session")
def host_url(host: Host[..., Any]) -> str:
    """
    The name or URL by which another process finds the host.
    """
    return host.name


@pytest.fixture
def detach() -> Iterator[Detach]:
    """
    Spawn detached work, which is ended after the law, also if the law fails.
    """
    infos: list[SpawnInfo] = []

    def detach(isolated: Any, *args: Any) -> SpawnInfo:
        info = spawn(isolated.make_launcher(), args, {}, lifetime="detached")
        infos.append(info)
        return info

    yield detach
    for info in infos:
        if info.future is not None and not info.future.done():
            with suppress(Exception):
                info.cancel(0.5)


@requires("detach")
def test_detached_work_gives_its_result(
    isolated: Isolated, detach: Detach, law_timeout: float
) -> None:
    """
    While its client lives, detached work is followed like any other spawned call.
    """

    @isolated()
    def work_apart() -> str:
        print("detached")
        return "done"

    info = detach(work_apart)
    assert info.future is not None
    assert info.future.result(law_timeout) == "done"
    assert "detached" in [line.message for line in list(info.logs.queue)]


@requires("detach")
def test_detached_work_is_listed_until_it_ends(
    host: Host[..., Any], isolated: Isolated, detach: Detach, law_timeout: float
) -> None:
    """
    Detached work is listed under its reference while it runs, and as ended afterwards.
    """

    @isolated()
    def wait(seconds: float) -> None:
        import time

        time.sleep(seconds)

    info = detach(wait, 10 * law_timeout)

    def listed() -> list[bool]:
        return [
            status.ended
            for status in detaching(host).executions()
            if status.reference == info.reference and status.name == "wait"
        ]

    assert wait_until(lambda: listed() == [False], law_timeout)
    info.cancel(0.5)
    assert wait_until(lambda: listed() in ([True], []), law_timeout)


@requires("detach")
def test_detached_work_is_attached_to_again(
    host: Host[..., Any], isolated: Isolated, detach: Detach, law_timeout: float
) -> None:
    """
    Attaching gives every event from the requested one on.
    """

    @isolated()
    def speak() -> str:
        for number in range(3):
            print("line", number)
        return "done"

    info = detach(speak)
    assert info.future is not None
    info.future.result(law_timeout)
    whole, part = Recorder(speak.make_launcher()), Recorder(speak.make_launcher())
    detaching(host).attach(info.reference, whole, 0)
    assert whole.result(law_timeout) == "done"
    assert [log.message for log in whole.printed] == ["line 0", "line 1", "line 2"]
    after = whole.events.index(whole.printed[1])
    detaching(host).attach(info.reference, part, after)
    part.wait(law_timeout)
    assert _without_own_lines(part.events) == _without_own_lines(whole.events[after:])


@requires("detach")
def test_detached_work_is_attached_to_from_another_process(
    host_url: str, isolated: Isolated, detach: Detach, law_timeout: float
) -> None:
    """
    Another process attaches by the reference, and sees lines and the end.
    """

    @isolated()
    def speak_apart() -> None:
        print("seen elsewhere")

    info = detach(speak_apart)
    lines = _in_another_process(host_url, info.reference, "follow", law_timeout)
    assert lines == ["seen elsewhere", "NoneType"]


@requires("detach", "cancel")
def test_detached_work_is_cancelled_from_another_process(
    host_url: str, isolated: Isolated, detach: Detach, law_timeout: float
) -> None:
    """
    Another process ends detached work by its reference.
    """

    @isolated()
    def wait_apart(seconds: float) -> None:
        import time

        print("waiting")
        time.sleep(seconds)

    info = detach(wait_apart, 10 * law_timeout)
    _wait_for_line(info, "waiting", law_timeout)
    lines = _in_another_process(host_url, info.reference, "cancel", law_timeout)
    assert lines[-1] == "Cancelled"
    assert info.future is not None
    with pytest.raises(Cancelled):
        info.future.result(law_timeout)


@requires("detach")
def test_attaching_to_no_work_is_an_error(host: Host[..., Any], isolated: Isolated) -> None:
    """
    An unknown reference is an error that names it.
    """

    @isolated()
    def give() -> int:
        return 1

    with pytest.raises(HostError, match="no-such-reference"):
        detaching(host).attach("no-such-reference", Recorder(give.make_launcher()), 0)


def _without_own_lines(events: Sequence[Event]) -> list[Event]:
    """
    Return *events* without lines of the host itself, which need not be in its journal.
    """
    return [
        event for event in events if not (isinstance(event, Log) and event.source == "BRIDGE")
    ]


def _wait_for_line(info: SpawnInfo, line: str, timeout: float) -> None:
    """
    Wait until the function of a spawned call has printed *line*.
    """

    def is_there() -> bool:
        return any((log.message, log.source) == (line, "USER") for log in list(info.logs.queue))

    assert wait_until(is_there, timeout), (
        f"The law waited {timeout:g} s for the line {line!r} of detached work; until then it "
        f"had printed {[log.message for log in list(info.logs.queue)]}."
    )


def _in_another_process(url: str, reference: str, what: str, timeout: float) -> list[str]:
    argv = [sys.executable, "-c", _OTHER_PROCESS, url, reference, what, str(timeout)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=2 * timeout)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
