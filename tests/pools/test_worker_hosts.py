"""Hosts whose authors write how a worker is started, and nothing else."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import Cancelled, Gateway, function
from fal_core.calls import Call
from fal_core.environments import Command, CurrentEnvironment, LocalInterpreter
from fal_core.errors import (
    EnvironmentBuildError,
    HostClosed,
    HostError,
    PluginError,
    Timeout,
    UnsupportedError,
)
from fal_core.events import Log, Sink, State
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities, Execution
from fal_core.options import HostOptions
from fal_core.plugins.installed import registered
from fal_core.pools import ServiceExecution, Start, WorkerHost, WorkerPools, worker_hosts
from fal_core.workers import ARGUMENTS, Worker
from fal_testing import InProcessHost
from fal_testing.harness.processes import wait_until
from fal_testing.harness.recorders import Recorder
from fal_testing.launchers import launched_python

PATIENCE = 60.0


@attrs.frozen(kw_only=True)
class GreetingOptions(HostOptions):
    """Options with one of its own."""

    greeting: str | None = None


@attrs.define(eq=False, slots=False)
class ScriptedHost(WorkerHost[..., Any]):
    """Starts workers as a test says."""

    name: ClassVar[str] = "scripted"
    options: ClassVar[type[HostOptions]] = GreetingOptions
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None, options=frozenset({"startup_timeout"}), concurrency=2, serve=True
    )

    before: Callable[[Start], object] = lambda start: None
    starts: list[Start] = attrs.field(factory=list)

    def begin(self, start: Start) -> Worker:
        self.starts.append(start)
        self.before(start)
        greeting = GreetingOptions.of(start).greeting or ""
        command = start.build().command(ARGUMENTS)
        return Worker.start(attrs.evolve(command, variables={"GREETING": greeting}))


@attrs.define(eq=False, slots=False)
class KeepingHost(ScriptedHost):
    """Keeps its workers."""

    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None,
        options=frozenset({"keep_alive", "max_concurrency", "min_concurrency"}),
        concurrency=2,
        keep_alive=True,
    )


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """Makes hosts that are closed after the test."""
    hosts: list[ScriptedHost] = []

    def make(cls: type[ScriptedHost] = ScriptedHost, **fields: Any) -> ScriptedHost:
        hosts.append(cls(**fields))
        return hosts[-1]

    yield make
    for host in hosts:
        host.close()


def greet() -> tuple[int, str]:
    return os.getpid(), os.environ["GREETING"]


def sleep() -> None:
    time.sleep(PATIENCE)


def follow(isolated: Any, *arguments: Any) -> Recorder:
    """Launch a call and return what records its events."""
    recorder = Recorder(isolated.make_launcher())
    recorder.launch(*arguments)
    return recorder


def test_an_idle_worker_makes_room(make: Callable[..., Any]) -> None:
    """
    A host whose place is full ends an idle worker, none that runs a call, and says whether
    there was one.
    """
    host = make(KeepingHost)
    assert not host.make_room()
    keeping = function("current", host=host, keep_alive=600)
    assert keeping(os.getpid)()
    waiting = Recorder(keeping(time.sleep).make_launcher())
    waiting.launch(600)
    assert wait_until(lambda: "running" in waiting.phases, PATIENCE)
    assert not host.make_room()
    waiting.execution.cancel(0.1)
    waiting.wait(PATIENCE)
    assert keeping(os.getpid)()
    assert host.make_room()
    # On a busy machine another worker may have been started for the last call.
    assert wait_until(lambda: not host.make_room() and host.worker_count == 0, PATIENCE)


def test_each_call_has_a_worker_of_its_own(make: Callable[..., Any]) -> None:
    """Without ``keep_alive`` a worker ends after its first call."""
    host = make()
    isolated = function("current", host=host)(greet)

    assert isolated()[0] != isolated()[0]
    assert wait_until(lambda: not host.worker_count, PATIENCE)


def test_a_kept_worker_takes_the_next_call(make: Callable[..., Any]) -> None:
    """
    With ``keep_alive`` the worker takes the next call, unless an option of the host's own
    differs.
    """
    host = make(KeepingHost)
    isolated = function("current", host=host, keep_alive=60)(greet)

    pid, greeting = isolated()
    assert greeting == ""
    assert isolated() == (pid, "")
    plugin = ModuleType("greeting_plugin")
    plugin.fal_core_api = 1  # type: ignore[attr-defined]  # as a plugin states it
    plugin.fal_register_hosts = hookimpl(lambda: [KeepingHost])  # type: ignore[attr-defined]
    with registered(plugin):
        other, greeting = isolated.on(greeting="hello")()
    assert greeting == "hello"
    assert other != pid


def test_some_workers_stay_whatever_happens(make: Callable[..., Any]) -> None:
    """``min_concurrency`` workers are started, though one call needs one."""
    host = make(KeepingHost)
    isolated = function("current", host=host, keep_alive=0, min_concurrency=2)(greet)

    isolated()

    assert wait_until(lambda: host.worker_count == 2, PATIENCE)


def test_as_many_run_at_once_as_the_host_has_room_for(make: Callable[..., Any]) -> None:
    """Further calls wait, and none is lost."""
    most = 0
    lock = threading.Lock()

    def count(start: Start) -> None:
        nonlocal most
        with lock:
            most = max(most, host.worker_count)

    host = make(before=count)
    isolated = function("current", host=host)(greet)

    futures = [isolated.submit() for _ in range(12)]

    pids = {future.result(PATIENCE)[0] for future in futures}
    assert most <= 2
    assert len(pids) >= 2


def test_launching_does_not_wait_for_the_start(make: Callable[..., Any]) -> None:
    """
    A call is launched while its worker waits for a machine; it says that it is queued, and
    what the host says.
    """
    go = threading.Event()

    def wait(start: Start) -> None:
        start.report(State("queued"))
        start.say("You are number 7.")
        assert go.wait(PATIENCE)

    host = make(before=wait)
    recorder = follow(function("current", host=host)(greet))
    (log,) = [recorder.wait_for(Log, PATIENCE)]
    assert (log.message, log.source) == ("You are number 7.", "BRIDGE")
    assert not recorder.ended

    go.set()

    recorder.wait(PATIENCE)
    assert recorder.phases == ["queued", "queued", "starting", "running"]
    assert not recorder.overlapped


def test_a_call_is_cancelled_while_its_worker_starts(make: Callable[..., Any]) -> None:
    """It ends at once, and the host is told that nobody waits any more."""
    cancelled = threading.Event()

    def wait(start: Start) -> None:
        assert start.cancelled.wait(PATIENCE)
        cancelled.set()
        raise Cancelled

    host = make(before=wait)
    recorder = follow(function("current", host=host)(greet))
    assert wait_until(lambda: bool(host.starts), PATIENCE)

    recorder.cancel(0)

    assert isinstance(recorder.wait(PATIENCE).reason, Cancelled)
    assert cancelled.wait(PATIENCE)


def test_a_call_after_a_cancelled_one_has_a_start_of_its_own(
    make: Callable[..., Any],
) -> None:
    """A start that was given up is no reason for a call that came since."""
    given_up, go = threading.Event(), threading.Event()

    def wait(start: Start) -> None:
        if len(host.starts) == 1:
            assert start.cancelled.wait(PATIENCE)
            given_up.set()
            assert go.wait(PATIENCE)
            raise Cancelled

    host = make(before=wait)
    isolated = function("current", host=host)(greet)
    first = follow(isolated)
    assert wait_until(lambda: bool(host.starts), PATIENCE)
    first.cancel(0)
    assert given_up.wait(PATIENCE)

    second = follow(isolated)
    go.set()

    assert second.result(PATIENCE)[1] == ""


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (HostClosed("scripted", "It is full."), HostClosed, "It is full."),
        (LookupError("no such partition"), HostError, "LookupError: no such partition"),
        (SystemExit(3), HostError, "SystemExit: 3"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_start_raises_ends_its_calls(
    make: Callable[..., Any], error: BaseException, kind: type[HostError], text: str
) -> None:
    """A :class:`HostError` is the reason as it is, and any other error is named in one."""

    def fail(start: Start) -> None:
        raise error

    isolated = function("current", host=make(before=fail))(greet)

    with pytest.raises(kind, match=text):
        isolated()
    assert isinstance(isolated.submit().exception(PATIENCE), kind)


def test_a_host_that_returns_no_worker_is_told(make: Callable[..., Any]) -> None:
    """The error names the host and what it returned."""

    class Forgetful(ScriptedHost):
        def begin(self, start: Start) -> Worker:
            return None  # type: ignore[return-value]  # broken

    isolated = function("current", host=make(Forgetful))(greet)

    with pytest.raises(PluginError, match=r"Host 'scripted': begin\(\).*a Worker.*None\."):
        isolated()


@pytest.mark.parametrize(
    ("returned", "named"),
    [
        (Command(argv=("ssh", "secret")), "Command. Write Worker.start(command)."),
        (Worker, "the class Worker."),
        ({"token": "secret"}, "dict."),
    ],
    ids=["command", "class", "other"],
)
def test_what_a_host_returned_is_named_by_its_type(
    make: Callable[..., Any], returned: Any, named: str
) -> None:
    """It may hold what nobody is to read, and be long."""

    class Mistaken(ScriptedHost):
        def begin(self, start: Start) -> Worker:
            return returned  # type: ignore[no-any-return]  # broken

    with pytest.raises(PluginError) as caught:
        function("current", host=make(Mistaken))(greet)()
    said = "Host 'scripted': begin() has to return a Worker, and returned "
    assert str(caught.value) == said + named


def test_a_call_that_waits_for_a_start_says_so(make: Callable[..., Any]) -> None:
    """A call whose time is up before there is a worker has waited for one."""
    go = threading.Event()
    host = make(before=lambda start: go.wait(PATIENCE))
    try:
        with pytest.raises(
            Timeout, match="as it waited for a worker of host 'scripted' to start"
        ):
            function("current", host=host, timeout=0.1)(greet)()
    finally:
        go.set()


@pytest.mark.parametrize("shared", ["raises", "unhashable"])
def test_what_tells_calls_apart_may_fail(make: Callable[..., Any], shared: str) -> None:
    """The error names the host and its method."""

    class Choosy(ScriptedHost):
        def shared_by(self, call: Any) -> Any:
            return {"raises": {}, "unhashable": {"unhashable": []}}[shared][shared]

    with pytest.raises(HostError, match=r"Host 'scripted': its shared_by raised (Key|Type)Err"):
        function("current", host=make(Choosy))(greet)()


def test_what_launches_a_call_apart_may_fail(make: Callable[..., Any]) -> None:
    """The error names the host and its method."""

    class Apart(ScriptedHost):
        def launch_apart(self, call: Any, sink: Any) -> Any:
            raise FileNotFoundError("/srv/work")

    isolated = function("current", host=make(Apart), exposed_port=8123)(greet)
    said = r"Host 'scripted': its launch_apart raised FileNotFoundError: /srv/work\."
    with pytest.raises(HostError, match=said):
        isolated()


@attrs.frozen(kw_only=True)
class Unbuildable(CurrentEnvironment):
    """An environment whose build says something and fails."""

    kind: ClassVar[str] = "unbuildable"

    def is_built(self) -> bool:
        return False

    def build(self, log: Any, cancelled: Any) -> LocalInterpreter:
        log(Log("resolving", "STDOUT", "BUILDER"))
        raise EnvironmentBuildError("unbuildable", "It has no such version.")


@attrs.define(eq=False, slots=False)
class ForgetfulHost(ScriptedHost):
    """Claims nodes, and does not say how they are had."""

    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None, serve=True, nodes=4
    )


@pytest.mark.parametrize("options", [{}, {"exposed_port": 8123}], ids=["call", "service"])
def test_a_call_over_several_nodes_is_not_run_on_one(
    make: Callable[..., Any], options: dict[str, Any]
) -> None:
    """A host that claims nodes and does not group them is told so: a result would be wrong."""
    host = make(ForgetfulHost)
    isolated = function("current", host=host, nodes=2, **options)(greet)
    for _ in range(2):
        with pytest.raises(
            PluginError, match=r"would run a call over 2 in one worker\. Its laun"
        ):
            isolated()
    assert host.starts == []


def test_a_build_that_fails_is_the_reason(make: Callable[..., Any]) -> None:
    """The call is told that its environment is built, and gets the lines of the builder."""
    host = make()
    isolated = function("current", host=host)(greet)
    launcher = isolated.make_launcher()
    call = attrs.evolve(launcher.call(((), {})), environment=Unbuildable())
    recorder = Recorder(launcher)

    recorder.follow(host.launch(call, recorder))

    exited = recorder.wait(PATIENCE)
    assert isinstance(exited.reason, EnvironmentBuildError)
    assert recorder.phases == ["queued", "building"]
    assert [log.message for log in recorder.logs] == ["resolving"]


def test_closing_a_host_ends_what_starts(make: Callable[..., Any]) -> None:
    """Calls that wait are refused, and a worker that comes up later is ended."""
    go = threading.Event()
    host = make(before=lambda start: go.wait(PATIENCE))
    recorder = follow(function("current", host=host)(greet))
    assert wait_until(lambda: bool(host.starts), PATIENCE)

    host.close()

    assert isinstance(recorder.wait(PATIENCE).reason, HostClosed)
    assert host.starts[0].cancelled.is_set()
    go.set()
    assert host.worker_count == 0
    with pytest.raises(HostClosed):
        function("current", host=host)(greet)()


def test_a_copy_of_a_host_has_workers_of_its_own(make: Callable[..., Any]) -> None:
    """A host that is pickled leaves its workers behind."""
    host = make(KeepingHost, before=print)
    isolated = function("current", host=host, keep_alive=60)(greet)
    pid, _ = isolated()
    host.starts.clear()

    copy = pickle.loads(pickle.dumps(host))

    try:
        assert copy.before is print
        assert copy.worker_count == 0
        assert function("current", host=copy)(greet)()[0] != pid
    finally:
        copy.close()


def test_a_service_is_reached_where_its_host_says(make: Callable[..., Any]) -> None:
    """The host is given its URLs as the worker sees them, and returns those to call."""
    pytest.importorskip("fal_serve")
    seen: list[Any] = []

    class Elsewhere(ScriptedHost):
        def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
            seen.append(worker.hello)
            return {name: url.replace("127.0.0.1", "localhost") for name, url in urls.items()}

    isolated = function("current", host=make(Elsewhere), serve=True)(sys.getrecursionlimit)
    service = isolated.spawn()
    try:
        assert "localhost" in service.url
        request = urllib.request.Request(service.url, method="POST")
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert int(answer.read()) == sys.getrecursionlimit()
        assert seen[0]["pid"] > 0
    finally:
        service.stream.drain()
    assert service.return_value is None


def test_a_service_in_a_network_of_its_own_is_refused(make: Callable[..., Any]) -> None:
    """
    A host that leads no ports to its workers does not serve in an environment with a network of
    its own, where nobody would reach the service; other calls run there.
    """
    host = make()
    with launched_python() as launched:
        options = {"law_folder": launched.folder, "law_network": True, "host": host}
        isolated = function("launched-python", **options)(sys.getrecursionlimit)
        with pytest.raises(UnsupportedError, match="kind 'launched-python', which has a net"):
            isolated.on(exposed_port=8000)()
        assert not host.starts
        assert isolated() == sys.getrecursionlimit()


def test_a_service_that_cannot_be_reached_ends(make: Callable[..., Any]) -> None:
    """What the host raises there is the reason."""
    pytest.importorskip("fal_serve")

    class Unreachable(ScriptedHost):
        def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
            raise HostClosed(self.name, "The tunnel broke.")

    isolated = function("current", host=make(Unreachable), serve=True)(os.getpid)
    service = isolated.spawn()

    with pytest.raises(HostClosed, match=r"The tunnel broke\."):
        service.future.result(PATIENCE)


@pytest.mark.parametrize(
    ("returned", "kind", "said"),
    [
        (None, PluginError, "its reach returned None. Return a mapping of the URLs"),
        ({}, PluginError, "its reach returned no URL for 'run'. Return one for each"),
        ({"run": 8080}, PluginError, "its reach returned no URL for 'run'. Return one for"),
        (KeyError("token"), HostError, "its reach raised KeyError: 'token'."),
    ],
    ids=["none", "empty", "number", "raises"],
)
def test_a_service_ends_where_its_urls_are_none(
    make: Callable[..., Any], returned: Any, kind: type[HostError], said: str
) -> None:
    """The error names the host, and says what it has to return."""

    class Nowhere(ScriptedHost):
        def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
            if isinstance(returned, Exception):
                raise returned
            return returned  # type: ignore[no-any-return]  # broken

    service = function("current", host=make(Nowhere), exposed_port=8123)(sleep).spawn()
    with pytest.raises(kind) as caught:
        service.future.result(PATIENCE)
    assert str(caught.value).startswith(f"Host 'scripted': {said}")


class ReleasingService(ServiceExecution):
    """Fails to give up what it claimed."""

    def release(self) -> None:
        raise LookupError("no such tunnel")


class ReleasingHost(ScriptedHost):
    """Runs such services."""

    def launch_apart(self, call: Call, sink: Sink) -> Execution:
        pools = self._find_pools()
        pool = pools.make_service_pool(call)
        service = ReleasingService(call, sink, pool, lambda: pools.forget_service(call))
        pools.add_service(call, pool)
        service.start()
        return service


def test_a_service_whose_host_cannot_release_it_ends(
    make: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """What the host raises there is logged."""
    service = function("current", host=make(ReleasingHost), exposed_port=8123)(os.getpid)

    assert service.spawn().future.result(PATIENCE) > 0

    assert "its release raised LookupError: no such tunnel." in caplog.text


def test_a_start_that_fails_early_is_made_once(make: Callable[..., Any]) -> None:
    """A start for a call that is expected is that call's: it gets what was said, and its end."""

    def fail(start: Start) -> None:
        start.say("The cluster is asked.")
        raise HostClosed("scripted", "It is full.")

    host = make(before=fail)
    isolated = function("current", host=host)(greet)
    isolated.make_launcher()
    assert wait_until(lambda: bool(host.starts), PATIENCE)

    recorder = follow(isolated)

    assert isinstance(recorder.wait(PATIENCE).reason, HostClosed)
    assert [log.message for log in recorder.logs] == ["The cluster is asked."]
    assert len(host.starts) == 1


@pytest.mark.parametrize(
    ("tell", "sentence"),
    [
        (lambda start: start.report(State("waiting")), "no phase 'waiting'"),
        (lambda start: start.report("queued"), "a State or a Log"),
        (lambda start: start.say(b"bytes"), "lines of text"),
    ],
    ids=["phase", "event", "line"],
)
def test_what_a_start_cannot_tell_is_an_error(
    make: Callable[..., Any], tell: Callable[[Start], object], sentence: str
) -> None:
    """The error says what can be told."""
    isolated = function("current", host=make(before=tell))(greet)

    with pytest.raises(HostError, match=sentence):
        isolated()


class LeavingHost(ScriptedHost):
    """Starts a worker, and fails then."""

    made: ClassVar[list[Worker]] = []

    def begin(self, start: Start) -> Worker:
        self.made.append(super().begin(start))
        raise HostClosed(self.name, "The queue cannot be asked.")


def test_a_worker_of_a_start_that_fails_is_ended(make: Callable[..., Any]) -> None:
    """A worker that the host has started before is not left behind."""
    isolated = function("current", host=make(LeavingHost))(greet)

    with pytest.raises(HostClosed, match="cannot be asked"):
        isolated()
    assert LeavingHost.made
    assert wait_until(lambda: all(worker.gone for worker in LeavingHost.made), PATIENCE)


def test_a_process_that_never_comes_up_ends_with_its_host(make: Callable[..., Any]) -> None:
    """It reads nothing, so it cannot be asked to stop."""
    started: list[subprocess.Popen[bytes]] = []

    class Sleepy(ScriptedHost):
        def begin(self, start: Start) -> Worker:
            pipe = subprocess.PIPE
            started.append(subprocess.Popen(["sleep", "600"], stdin=pipe, stdout=pipe))
            return Worker.of(started[-1])

    host = make(Sleepy)
    recorder = follow(function("current", host=host)(greet))
    assert wait_until(lambda: bool(started), PATIENCE)
    recorder.cancel(60)
    host.close()

    assert wait_until(lambda: all(each.poll() is not None for each in started), PATIENCE)
    recorder.wait(PATIENCE)


def test_a_worker_that_was_waited_for_runs_several_calls(make: Callable[..., Any]) -> None:
    """What the options say reaches a worker that the host has waited for itself."""

    class Waiting(KeepingHost):
        capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
            kinds=None,
            options=frozenset({"max_multiplexing", "max_concurrency"}),
            keep_alive=True,
            multiplex=True,
        )

        def begin(self, start: Start) -> Worker:
            worker = super().begin(start)
            worker.wait_until_up(start.cancelled)
            return worker

    @function("current", host=make(Waiting), max_multiplexing=2, max_concurrency=1)
    def meet() -> None:
        # Setting a default is atomic: both calls get one barrier.
        here = vars(sys.modules.setdefault("meeting", ModuleType("meeting")))
        here.setdefault("barrier", threading.Barrier(2)).wait(PATIENCE)

    futures = [meet.submit(), meet.submit()]
    for future in futures:
        future.result(PATIENCE)


def test_calls_wait_for_the_workers_that_there_are(make: Callable[..., Any]) -> None:
    """A further worker that cannot be started takes no calls with it."""

    def fail_later(start: Start) -> None:
        if len(host.starts) > 1:
            raise HostClosed("scripted", "There is no second GPU.")

    host = make(KeepingHost, before=fail_later)
    isolated = function("current", host=host, keep_alive=60)(greet)
    isolated()

    futures = [isolated.submit() for _ in range(30)]

    assert len({future.result(PATIENCE)[0] for future in futures}) == 1


def test_workers_that_do_not_come_up_are_not_started_over_and_over(
    make: Callable[..., Any],
) -> None:
    """Where no call waits, a worker that is lost before it is up has no successor for a while."""

    is_up = threading.Event()

    class Failing(KeepingHost):
        def begin(self, start: Start) -> Worker:
            if not self.starts:
                return super().begin(start)
            # The call would not wait for the first, which is slower than this one.
            assert is_up.wait(PATIENCE)
            self.starts.append(start)
            return Worker.start(("sh", "-c", "exit 7"))

    host = make(Failing)
    isolated = function("current", host=host, keep_alive=60, min_concurrency=2)(greet)
    isolated()
    is_up.set()

    assert wait_until(lambda: len(host.starts) > 1, PATIENCE)
    # A pool that tried again without a pause would have started hundreds by then.
    time.sleep(1)
    assert len(host.starts) < 5


def test_a_worker_that_is_up_is_preferred(make: Callable[..., Any], tmp_path: Path) -> None:
    """A call does not wait for a worker that starts beside one that is idle."""
    go = tmp_path / "go"

    class Slow(KeepingHost):
        def begin(self, start: Start) -> Worker:
            self.starts.append(start)
            argv = start.build().command(ARGUMENTS).argv
            script = 'while [ ! -e "$0" ]; do sleep 0.01; done; exec "$@"'
            held = argv if start is self.starts[0] else ("sh", "-c", script, str(go), *argv)
            return Worker.start(held)

    host = make(Slow)
    isolated = function("current", host=host, keep_alive=60, min_concurrency=2)(os.getpid)
    pid = isolated()
    assert wait_until(lambda: host.worker_count == 2, PATIENCE)

    assert [isolated(), isolated()] == [pid, pid]
    go.touch()


def test_the_worker_that_was_started_first_is_preferred_where_none_is_up(
    make: Callable[..., Any], tmp_path: Path
) -> None:
    """Of workers that start, a call waits for the one that is up first."""
    gone = tmp_path / "first", tmp_path / "second"

    class Slow(KeepingHost):
        def begin(self, start: Start) -> Worker:
            go = gone[len(self.starts)]
            self.starts.append(start)
            script = 'while [ ! -e "$0" ]; do sleep 0.01; done; exec "$@"'
            argv = start.build().command(ARGUMENTS).argv
            return Worker.start(("sh", "-c", script, str(go), *argv))

    host = make(Slow)
    options = host.options(keep_alive=60, min_concurrency=2)
    host.expect(CurrentEnvironment(), options, Gateway())
    assert wait_until(lambda: host.worker_count == 2, PATIENCE)
    isolated = function("current", host=host, keep_alive=60, min_concurrency=2)(os.getpid)
    recorder = follow(isolated)
    gone[0].touch()

    assert wait_until(lambda: recorder.ended, PATIENCE)
    gone[1].touch()


def test_an_interrupt_of_a_quick_start_is_the_callers() -> None:
    """Ctrl-C while the caller's own thread starts a worker interrupts the caller."""

    def interrupt(start: Start) -> Worker:
        raise KeyboardInterrupt

    pools = WorkerPools("quick", interrupt, quick=True)
    isolated = function("current", host=InProcessHost())(greet)
    recorder = Recorder(isolated.make_launcher())
    call = isolated.make_launcher().call(((), {}))

    with pytest.raises(KeyboardInterrupt):
        pools.launch(call, recorder)
    assert recorder.ended


def test_a_pool_that_is_closed_takes_no_call(make: Callable[..., Any]) -> None:
    """A call that has found its pool before is refused too."""
    host = make()
    isolated = function("current", host=host)(greet)
    isolated()
    (pool,) = host._pools.pools.values()
    host.close()

    with pytest.raises(HostClosed):
        pool.launch(isolated.make_launcher().call(((), {})), lambda event: None)


def test_calls_are_told_of_their_own_starts(make: Callable[..., Any]) -> None:
    """A call that waits for a place is told nothing of a worker that starts for another."""

    class Narrow(ScriptedHost):
        capabilities: ClassVar[Capabilities] = Capabilities.of_workers(kinds=None)

    host = make(Narrow, before=lambda start: start.say("queued in the cluster"))
    isolated = function("current", host=host)(greet)
    launcher = isolated.make_launcher()
    recorders = [Recorder(launcher) for _ in range(3)]
    for recorder in recorders:
        recorder.launch()

    for recorder in recorders:
        recorder.wait(PATIENCE)
    # The worker of the first call may be up before it comes, as it is expected.
    assert recorders[0].phases[-1] == "running"
    for recorder in recorders[1:]:
        assert recorder.phases == ["queued", "starting", "running"]
        assert [log.message for log in recorder.logs] == ["queued in the cluster"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_waits_for_no_thread_of_its_parent(make: Callable[..., Any]) -> None:
    """A thread may have been making the pools of a host when the process was forked."""
    host = make()
    with worker_hosts._making:
        child = os.fork()
        if not child:
            host.close()
            os._exit(0)

    def has_ended() -> bool:
        return os.waitpid(child, os.WNOHANG) != (0, 0)

    ended = wait_until(has_ended, PATIENCE)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended
