"""The conformance suite on the hosts that ``docs/write-a-host.md`` shows."""

from __future__ import annotations

import ast
import io
import os
import re
import threading
import tokenize
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, get_args

import attrs
import pytest

from fal_core import function
from fal_core.environments import CurrentEnvironment, Environment
from fal_core.errors import HostError, WorkerLost
from fal_core.events import Phase
from fal_core.hooks import hookimpl
from fal_core.hosts import Capabilities, Host
from fal_core.plugins import registered
from fal_core.pools import Start, WorkerHost
from fal_core.pools.worker_pools import _OF_CALLS
from fal_core.sinks import get_event_thread
from fal_core.workers import ARGUMENTS, Worker
from fal_host_local import LocalHost
from fal_testing.harness.recorders import Recorder
from fal_testing.suite import *  # noqa: F403  # every law
from fal_testing.suite import GROUPS

#: What the examples do themselves; the rest is that of the worker and the inner host.
OWN = {"events", "detach", "serve", "own servers", "groups"}

if "all" not in (os.environ.get("FAL_CORE_LAWS"), os.environ.get("FAL_CORE_FAULTS")):
    for group in GROUPS.keys() - OWN:
        for law in [name for name in vars(GROUPS[group]) if name.startswith("test_")]:
            globals().pop(law, None)

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "write-a-host.md"
PAGE_OF_CLUSTERS = ROOT / "docs" / "write-a-slurm-host.md"
PAGE_OF_NODES = ROOT / "docs" / "build-elsewhere.md"
#: The lines of code that the host of a cluster may have, and one that builds elsewhere.
MOST, MOST_OF_NODES = 110, 60


def example(name: str) -> Any:
    """Return the class *name* of the page's block that defines it."""
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S)
    block = next(block for block in blocks if f"class {name}(" in block)
    namespace: dict[str, Any] = {"__name__": "write_a_host"}
    exec(compile(block, str(PAGE), "exec"), namespace)
    return namespace[name]


#: How the hosts are made whose promises are their own, not those of workers.
HOSTS: dict[str, Callable[[Any], Host[..., Any]]] = {
    "ServiceHost": lambda cls: cls(),
    "ClusterHost": lambda cls: cls(),
    "CountingHost": lambda cls: cls(LocalHost()),
    "FallbackHost": lambda cls: cls(LocalHost(), example("ServiceHost")()),
}


@pytest.fixture(scope="session", params=HOSTS)
def host(request: pytest.FixtureRequest) -> Iterator[Host[..., Any]]:
    host = HOSTS[request.param](example(request.param))
    yield host
    host.close()


@pytest.fixture(scope="session")
def host_url() -> str:
    return "local"


@pytest.fixture(scope="session")
def law_timeout() -> float:
    return 30.0


# -- what the page says ------------------------------------------------------------


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table under *heading* of the page, without its head."""
    section = PAGE.read_text("utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = re.findall(r"^\| (.*) \|$", section, re.M)
    return [line.split(" | ") for line in lines[1:]]


def test_phases_of_the_page_are_all_there_are() -> None:
    """The table has every phase, in the order in which calls enter them."""
    assert [row[0] for row in rows("Phases")] == [f"`{name}`" for name in get_args(Phase)]


def test_options_of_the_page_that_do_not_count_are_those() -> None:
    """The page names each option that calls may differ in and still share workers."""
    [line] = re.findall(
        r"^- \*\*The options\*\*.*do not count: (.*)\.$", PAGE.read_text(), re.M
    )
    # Its setup is told apart by what it was sealed to.
    assert re.findall(r"`(\w+)`", line) == sorted(_OF_CALLS - {"setup_function"})


def lines_of_code(path: Path) -> int:
    """Return how many lines of a module have a token of code, docstrings aside."""
    source = path.read_text("utf-8")
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT)
    none = {*layout, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in none:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def test_examples_are_as_long_as_the_page_says() -> None:
    """
    The number of lines that a page names for an example is that of its code; a host with
    warm workers, GPUs, queue states, cancellation and services has at most 110, and one that
    builds elsewhere at most 60.
    """
    pages = (PAGE, PAGE_OF_CLUSTERS, PAGE_OF_NODES)
    text = "".join(page.read_text("utf-8") for page in pages)
    named = re.findall(r"`examples/(\w+\.py)`.* (\d+) lines of code", text)
    examples = ("ssh_host.py", "directory_host.py", "slurm_host.py", "building_host.py")
    assert {name for name, _ in named} == set(examples)
    for name, number in named:
        assert lines_of_code(ROOT / "examples" / name) == int(number), name
    assert lines_of_code(ROOT / "examples" / "slurm_host.py") <= MOST
    assert lines_of_code(ROOT / "examples" / "building_host.py") <= MOST_OF_NODES


@attrs.frozen(kw_only=True)
class Unbuilt(CurrentEnvironment):
    """An environment that is built each time."""

    kind: ClassVar[str] = "unbuilt"

    def is_built(self) -> bool:
        return False


class UnbuiltPlugin:
    """Provides the kind ``unbuilt``."""

    fal_core_api = 1

    @hookimpl
    def fal_register_environments(self) -> list[type[Environment]]:
        return [Unbuilt]


@attrs.define(eq=False, slots=False)
class WatchingHost(WorkerHost[..., Any]):
    """Notes on which thread each of its methods is called."""

    name: ClassVar[str] = "watching"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(kinds=None, serve=True)

    threads: dict[str, set[str]] = attrs.field(factory=dict)
    caller: threading.Thread = attrs.field(factory=threading.current_thread)

    def note(self, method: str) -> None:
        where = "one of its own"
        if threading.current_thread() is self.caller:
            where = "the caller's"
        elif get_event_thread().is_current_thread():
            where = "that of events"
        self.threads.setdefault(method, set()).add(where)

    def check(self, *arguments: Any) -> None:
        self.note("check")

    def expect(self, *arguments: Any) -> None:
        self.note("expect")
        super().expect(*arguments)

    def launch(self, call: Any, sink: Any) -> Any:
        self.note("launch")
        return super().launch(call, sink)

    def shared_by(self, call: Any) -> Any:
        self.note("shared_by")
        return super().shared_by(call)

    def begin(self, start: Start) -> Worker:
        self.note("begin")
        return Worker.start(start.build().command(ARGUMENTS), explain=self.explain)

    def explain(self, code: int, said: str) -> HostError | None:
        self.note("explain")
        return None

    def reach(self, worker: Worker, urls: Mapping[str, str]) -> Mapping[str, str]:
        self.note("reach")
        return urls

    def close(self) -> None:
        self.note("close")
        super().close()


@pytest.fixture
def watching() -> Iterator[WatchingHost]:
    host = WatchingHost()
    yield host
    host.close()


def exit_at_once() -> None:
    os._exit(7)


def greet() -> str:
    return "hello"


def test_a_service_goes_through_the_phases_of_the_page(
    watching: WatchingHost, law_timeout: float
) -> None:
    """A service whose environment must be built goes through each phase, in their order."""
    with registered(UnbuiltPlugin()):
        served = function("unbuilt", host=watching, serve=True)(greet)
        recorder = Recorder(served.make_launcher())
        recorder.launch()
        assert recorder.wait_for_url(law_timeout)
        assert recorder.execution is not None
        recorder.execution.drain()
        recorder.wait(law_timeout)
    assert [f"`{name}`" for name in recorder.phases] == [row[0] for row in rows("Phases")]


def test_methods_are_called_on_the_threads_that_the_page_says(watching: WatchingHost) -> None:
    """
    Each method of the table is called where it says: on the caller's thread, or on one of
    its own, and on the one that delivers the events of all calls where it says *any*.
    """
    with pytest.raises(WorkerLost):
        function("current", host=watching)(exit_at_once)()
    with pytest.raises(WorkerLost):
        function("current", host=watching)(exit_at_once).submit().result()
    greeting = function("current", host=watching)(greet)
    futures = [greeting.submit() for _ in range(20)]
    assert {future.result() for future in futures} == {"hello"}
    service = function("current", host=watching, serve=True)(greet).spawn()
    assert service.url
    service.stream.drain()
    assert service.return_value is None
    watching.close()
    watching.close()

    told = {row[0]: row[1] for row in rows("Threads")}
    for method, threads in watching.threads.items():
        where = told[f"`{method}`"]
        assert where == "any" or all(each in where for each in threads), method
    assert watching.threads.keys() == {
        *("check", "expect", "launch", "shared_by", "begin", "explain", "reach", "close")
    }


@attrs.define(eq=False, slots=False)
class FailingHost(WorkerHost[..., Any]):
    """Can start no worker."""

    name: ClassVar[str] = "failing"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(kinds=None)

    def begin(self, start: Start) -> Worker:
        raise HostError("The cluster is closed for the night.")


def test_a_call_falls_back_before_it_runs_and_not_later() -> None:
    """
    A call whose first host fails before the function runs goes to the second one; if that
    fails too, its error is raised. A function that ran is not run again.
    """
    fallback, small = example("FallbackHost"), example("SmallHost")
    good, bad = small(), small()
    bad.close()
    try:
        for first in (FailingHost(), bad):
            assert function("current", host=fallback(first, good))(greet)() == "hello"
        with pytest.raises(HostError, match="closed for the night"):
            function("current", host=fallback(bad, FailingHost()))(greet)()
        with pytest.raises(WorkerLost):
            function("current", host=fallback(good, bad))(exit_at_once)()
    finally:
        good.close()


LOOK = """
import os

def look():
    return os.getpid()
"""


def test_workers_are_shared_as_the_page_says(tmp_path: Path) -> None:
    """
    The host that tells calls apart by their files has a worker for each, which the
    functions of a file share.
    """
    functions = []
    for name in ("one.py", "one.py", "other.py"):
        path = tmp_path / name
        path.write_text(LOOK)
        namespace: dict[str, Any] = {"__name__": path.stem}
        exec(compile(LOOK, str(path), "exec"), namespace)
        functions.append(namespace["look"])
    host = example("ApartHost")()
    try:
        one, again, other = (
            function("current", host=host, keep_alive=60)(each)() for each in functions
        )
        assert one == again != other
    finally:
        host.close()
