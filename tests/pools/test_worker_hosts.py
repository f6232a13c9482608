"""
Hosts whose authors write how a worker is started, and nothing else.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import Cancelled, function
from fal_core.environments import Command, CurrentEnvironment, LocalInterpreter
from fal_core.errors import EnvironmentBuildError, HostClosed, HostError, PluginError, Timeout
from fal_core.events import Log, State
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities
from fal_core.options import HostOptions
from fal_core.plugins.installed import registered
from fal_core.pools import Start, WorkerHost
from fal_core.testing.harness.processes import wait_until
from fal_core.testing.harness.recorders import Recorder
from fal_core.workers import ARGUMENTS, Worker

PATIENCE = 60.0


@attrs.frozen(kw_only=True)
class GreetingOptions(HostOptions):
    """
    Options with one of its own.
    """

    greeting: str | None = None


@attrs.define(eq=False, slots=False)
class ScriptedHost(WorkerHost[..., Any]):
    """
    Starts workers as a test says.
    """

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
    """
    Keeps its workers.
    """

    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None,
        options=frozenset({"keep_alive", "max_concurrency", "min_concurrency"}),
        concurrency=2,
        keep_alive=True,
    )


@pytest.fixture
def make() -> Iterator[Callable[..., Any]]:
    """
    Makes hosts that are closed after the test.
    """
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
    """
    Launch a call and return what records its events.
    """
    recorder = Recorder(isolated.make_launcher())
    recorder.launch(*arguments)
    return recorder


def test_each_call_has_a_worker_of_its_own(make: Callable[..., Any]) -> None:
    """
    Without ``keep_alive`` a worker ends after its first call.
    """
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
    """
    ``min_concurrency`` workers are started, though one call needs one.
    """
    host = make(KeepingHost)
    isolated = function("current", host=host, keep_alive=0, min_concurrency=2)(greet)

    isolated()

    assert wait_until(lambda: host.worker_count == 2, PATIENCE)


def test_as_many_run_at_once_as_the_host_has_room_for(make: Callable[..., Any]) -> None:
    """
    Further calls wait, and none is lost.
    """
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
    """
    It ends at once, and the host is told that nobody waits any more.
    """
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
    """
    A start that was given up is no reason for a call that came since.
    """
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
    """
    A :class:`HostError` is the reason as it is, and any other error is named in one.
    """

    def fail(start: Start) -> None:
        raise error

    isolated = function("current", host=make(before=fail))(greet)

    with pytest.raises(kind, match=text):
        isolated()
    assert isinstance(isolated.submit().exception(PATIENCE), kind)


def test_a_host_that_returns_no_worker_is_told(make: Callable[..., Any]) -> None:
    """
    The error names the host and what it returned.
    """

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
    """
    It may hold what nobody is to read, and be long.
    """

    class Mistaken(ScriptedHost):
        def begin(self, start: Start) -> Worker:
            return returned  # type: ignore[no-any-return]  # broken

    with pytest.raises(PluginError) as caught:
        function("current", host=make(Mistaken))(greet)()
    said = "Host 'scripted': begin() has to return a Worker, and returned "
    assert str(caught.value) == said + named


def test_a_call_that_waits_for_a_start_says_so(make: Callable[..., Any]) -> None:
    """
    A call whose time is up before there is a worker has waited for one.
    """
    go = threading.Event()
    host = make(before=lambda start: go.wait(PATIENCE))
    try:
        with pytest.raises(Timeout, match="as it waited for a worker to start or to be free"):
            function("current", host=host, timeout=0.1)(greet)()
    finally:
        go.set()


@pytest.mark.parametrize("shared", ["raises", "unhashable"])
def test_what_tells_calls_apart_may_fail(make: Callable[..., Any], shared: str) -> None:
    """
    The error names the host and its method.
    """

    class Choosy(ScriptedHost):
        def shared_by(self, call: Any) -> Any:
            return {"raises": {}, "unhashable": {"unhashable": []}}[shared][shared]

    with pytest.raises(HostError, match=r"Host 'scripted': its shared_by raised (Key|Type)Err"):
        function("current", host=make(Choosy))(greet)()


def test_what_launches_a_call_apart_may_fail(make: Callable[..., Any]) -> None:
    """
    The error names the host and its method.
    """

    class Apart(ScriptedHost):
        def launch_apart(self, call: Any, sink: Any) -> Any:
            raise FileNotFoundError("/srv/work")

    isolated = function("current", host=make(Apart), exposed_port=8123)(greet)
    said = r"Host 'scripted': its launch_apart raised FileNotFoundError: /srv/work\."
    with pytest.raises(HostError, match=said):
        isolated()


@attrs.frozen(kw_only=True)
class Unbuildable(CurrentEnvironment):
    """
    An environment whose build says something and fails.
    """

    kind: ClassVar[str] = "unbuildable"

    def is_built(self) -> bool:
        return False

    def build(self, log: Any, cancelled: Any) -> LocalInterpreter:
        log(Log("resolving", "STDOUT", "BUILDER"))
        raise EnvironmentBuildError("unbuildable", "It has no such version.")


@attrs.define(eq=False, slots=False)
class ForgetfulHost(ScriptedHost):
    """
    Claims nodes, and does not say how they are had.
    """

    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None, serve=True, nodes=4
    )


@pytest.mark.parametrize("options", [{}, {"exposed_port": 8123}], ids=["call", "service"])
def test_a_call_over_several_nodes_is_not_run_on_one(
    make: Callable[..., Any], options: dict[str, Any]
) -> None:
    """
    A host that claims nodes and does not group them is told so: a result would be wrong.
    """
    host = make(ForgetfulHost)
    isolated = function("current", host=host, nodes=2, **options)(greet)
    for _ in range(2):
        with pytest.raises(
            PluginError, match=r"would run a call over 2 in one worker\. Its laun"
        ):
            isolated()
    assert host.starts == []


def test_a_build_that_fails_is_the_reason(make: Callable[..., Any]) -> None:
    """
    The call is told that its environment is built, and gets the lines of the builder.
    """
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
    """
    Calls that wait are refused, and a worker that comes up later is ended.
    """
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
    """
    A host that is pickled leaves its workers behind.
    """
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
    """
    The host is given its URLs as the worker sees them, and returns those to call.
    """
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


def test_a_service_that_cannot_be_reached_ends(make: Callable[..., Any]) -> None:
    """
    What the host raises there is the reason.
    """
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
    """
    The error names the host, and says what it has to return.
    """

    class Nowhere(ScriptedHost):
        def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
            if isinstance(returned, Exception):
                raise returned
            return returned  # type: ignore[no-any-return]  # broken

    service = function("current", host=make(Nowhere), exposed_port=8123)(sleep).spawn()
    with pytest.raises(kind) as caught:
        service.future.result(PATIENCE)
    assert str(caught.value).startswith(f"Host 'scripted': {said}")
