"""Laws of detached work: it outlives the process that launched it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import pytest

from fal_core.abilities import detaching
from fal_core.errors import Cancelled, HostError
from fal_core.events import Event, Log
from fal_core.hosts import Host
from fal_core.spawns import SpawnInfo
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_error, expect_printed, result_of
from fal_testing.harness.marks import Isolated
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder

Detach = Callable[..., SpawnInfo]

LOOK = (
    "Number the events of detached work from 0, and keep them where every process of the user "
    "finds them."
)

_OTHER_PROCESS = """\
import sys, threading
from fal_core.events import Exited, Log
from fal_core.plugins import find_host
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
    """The name or URL by which another process finds the host."""
    return host.name


@pytest.fixture
def detach() -> Iterator[Detach]:
    """Spawn detached work, which is ended after the law, also if the law fails."""
    infos: list[SpawnInfo] = []

    def detach(isolated: Any, *args: Any) -> SpawnInfo:
        info: SpawnInfo = isolated.with_policy(lifetime="detached").spawn(*args)
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
    """While its client lives, detached work is followed like any other spawned call."""

    @isolated()
    def work_apart() -> str:
        print("detached")
        return "done"

    info = detach(work_apart)
    result = result_of(info.future, law_timeout, "detached work")
    expect(result, "done", "The result of detached work", LOOK)
    lines = [line.message for line in list(info.logs.queue)]
    assert "detached" in lines, (
        f"The lines of detached work: expected 'detached' among them, found {lines}. {LOOK}"
    )


@requires("detach")
def test_detached_work_is_listed_until_it_ends(
    host: Host[..., Any], isolated: Isolated, detach: Detach, law_timeout: float
) -> None:
    """Detached work is listed under its reference while it runs, and as ended afterwards."""

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

    look = "executions() gives each work under its reference, with the name of its function."
    assert wait_until(lambda: listed() == [False], law_timeout), (
        f"Detached work that runs: expected one that has not ended under its reference, found "
        f"{listed()}. {look}"
    )
    info.cancel(0.5)
    assert wait_until(lambda: listed() in ([True], []), law_timeout), (
        f"Detached work that was cancelled is still listed as running. {look}"
    )


@requires("detach")
def test_detached_work_is_attached_to_again(
    host: Host[..., Any], isolated: Isolated, detach: Detach, law_timeout: float
) -> None:
    """Attaching gives every event from the requested one on."""

    @isolated()
    def speak() -> str:
        for number in range(3):
            print("line", number)
        return "done"

    info = detach(speak)
    result_of(info.future, law_timeout, "detached work")
    whole, part = Recorder(speak.make_launcher()), Recorder(speak.make_launcher())
    detaching(host).attach(info.reference, whole, 0)
    expect(whole.result(law_timeout), "done", "The result, attached to from event 0", LOOK)
    expect_printed(whole, ["line 0", "line 1", "line 2"], LOOK)
    after = whole.events.index(whole.printed[1])
    detaching(host).attach(info.reference, part, after)
    part.wait(law_timeout)
    expect(
        _without_own_lines(part.events),
        _without_own_lines(whole.events[after:]),
        f"The events of work that was attached to from event {after} on",
        LOOK,
    )


@requires("detach")
def test_detached_work_is_attached_to_from_another_process(
    host_url: str, isolated: Isolated, detach: Detach, law_timeout: float
) -> None:
    """Another process attaches by the reference, and sees lines and the end."""

    @isolated()
    def speak_apart() -> None:
        print("seen elsewhere")

    info = detach(speak_apart)
    lines = _in_another_process(host_url, info.reference, "follow", law_timeout)
    what = "The lines, and the class of the reason in Exited, that another process saw"
    expect(lines, ["seen elsewhere", "NoneType"], what, LOOK)


@requires("detach", "cancel")
def test_detached_work_is_cancelled_from_another_process(
    host_url: str, isolated: Isolated, detach: Detach, law_timeout: float
) -> None:
    """Another process ends detached work by its reference."""

    @isolated()
    def wait_apart(seconds: float) -> None:
        import time

        print("waiting")
        time.sleep(seconds)

    info = detach(wait_apart, 10 * law_timeout)
    _wait_for_line(info, "waiting", law_timeout)
    lines = _in_another_process(host_url, info.reference, "cancel", law_timeout)
    what = "The class of the reason in Exited, as seen by the process that cancelled the work"
    expect(lines[-1], "Cancelled", what, LOOK)
    with expect_error(Cancelled, LOOK):
        result_of(info.future, law_timeout, "detached work")


@requires("detach")
def test_attaching_to_no_work_is_an_error(host: Host[..., Any], isolated: Isolated) -> None:
    """An unknown reference is an error that names it."""

    @isolated()
    def give() -> int:
        return 1

    look = "Raise a HostError in attach that names the reference."
    with expect_error(HostError, look, match="no-such-reference"):
        detaching(host).attach("no-such-reference", Recorder(give.make_launcher()), 0)


def _without_own_lines(events: Sequence[Event]) -> list[Event]:
    """Return *events* without lines of the host itself, which need not be in its journal."""
    return [
        event for event in events if not (isinstance(event, Log) and event.source == "BRIDGE")
    ]


def _wait_for_line(info: SpawnInfo, line: str, timeout: float) -> None:
    """Wait until the function of a spawned call has printed *line*."""

    def is_there() -> bool:
        return any((log.message, log.source) == (line, "USER") for log in list(info.logs.queue))

    assert wait_until(is_there, timeout), (
        f"The law waited {timeout:g} s for the line {line!r} of detached work; until then it "
        f"had printed {[log.message for log in list(info.logs.queue)]}."
    )


def _in_another_process(url: str, reference: str, what: str, timeout: float) -> list[str]:
    argv = [sys.executable, "-c", _OTHER_PROCESS, url, reference, what, str(timeout)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=2 * timeout)
    except subprocess.TimeoutExpired as error:
        raise AssertionError(
            f"Another process that attached to {reference} has not ended after {2 * timeout:g} "
            f"s; it printed {error.stdout!r} and {error.stderr!r}. Its events have to end with "
            "Exited."
        ) from None
    # The sentence has the last line alone, which of a traceback is the error.
    sys.stderr.write(done.stderr)
    last = done.stderr.strip().rpartition("\n")[2]
    assert done.returncode == 0, (
        f"Another process could not attach to {reference}, or saw no Exited: {last} "
        f"See that {url!r} finds the host there, or write the fixture host_url. {LOOK}"
    )
    return done.stdout.splitlines()
