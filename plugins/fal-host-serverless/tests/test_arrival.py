"""
The far end: what a stock isolate agent does with a call.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import isolate_proto
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fal_core import function
from fal_core.calls import Call
from fal_core.errors import (
    FalCoreError,
    FalSerializationError,
    OptionError,
    UnsupportedError,
)
from fal_core.events import Log
from fal_core.explanations.explaining import explain
from fal_host_serverless import (
    FalServerlessHost,
    arrival,
    attending,
    channels,
    envelopes,
    printing,
)
from fal_host_serverless.deliveries import Deliveries
from fal_host_serverless.failures import RunFailedInside
from fal_host_serverless.messages import Lines, read_urls

FOREIGN = "3.13"


def test_agent_has_nothing_of_ours(host: Any, agent_python: Path):
    """
    The function runs in an agent that cannot import fal_core, and says so itself.
    """
    done = subprocess.run([agent_python, "-c", "import fal_core"], capture_output=True)
    assert b"ModuleNotFoundError" in done.stderr

    @function("virtualenv", host=host)
    def look() -> tuple[bool, str | None, bool]:
        import os
        import sys

        # What this module imports travels beside, from a checkout; it is not used.
        agent = os.environ.get("IS_ISOLATE_AGENT")
        return "fal_core" not in sys.modules, agent, "isolate" in sys.modules

    assert look() == (True, "1", True)


def test_function_is_opened_once_in_an_agent(host: Any):
    """
    Calls that follow in one agent find the function and the setup of the first.
    """

    def prepare() -> list[int]:
        return []

    @function("virtualenv", host=host, setup_function=prepare)
    def count(seen: list[int]) -> tuple[int, int]:
        import os

        seen.append(1)
        return os.getpid(), len(seen)

    first, second = count(), count()
    assert first[0] == second[0]
    assert (first[1], second[1]) == (1, 2)


def test_line_that_is_flushed_before_its_end_comes_once(host: Any):
    """
    What is shown of a line before it ends is for who watches, not for who gets lines.
    """

    @function("virtualenv", host=host)
    def count() -> None:
        import time

        for number in range(3):
            print(f"\r{number} of 3", end="", flush=True)
            time.sleep(0.1)
        print(", done")

    spawned = count.spawn()
    spawned.future.result()
    lines: list[Log] = []
    while not spawned.logs.empty():
        lines.append(spawned.logs.get())
    assert [line.message for line in lines if line.source == "USER"] == ["2 of 3, done"]


def sizes_sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """
    Return a list that grows by the size of each function that is sent.
    """
    sizes: list[int] = []
    seal = envelopes.seal

    def measured(*args: Any, **kwargs: Any) -> bytes:
        sealed = seal(*args, **kwargs)
        sizes.append(len(sealed))
        return sealed

    monkeypatch.setattr(envelopes, "seal", measured)
    return sizes


def test_sources_travel_once(host: Any, monkeypatch: pytest.MonkeyPatch):
    """
    What a runner has already is not sent again with the next call.
    """

    @function("virtualenv", host=host)
    def double(x: int) -> int:
        return x * 2

    sizes = sizes_sent(monkeypatch)
    assert [double(1), double(2), double(3)] == [2, 4, 6]

    whole, *lean = sizes
    assert len(lean) == 2
    assert all(size * 2 < whole for size in lean)


def test_runner_that_lacks_sources_is_sent_them(
    address: str, rest: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    A call that left out what its runner lacks runs all the same, and once; what was
    uploaded for it is not uploaded again.
    """
    name = f"beside_{os.urandom(4).hex()}"
    (tmp_path / f"{name}.py").write_text("ANSWER = 42\n")
    monkeypatch.syspath_prepend(tmp_path)
    marks = tmp_path / "marks"
    host = FalServerlessHost(address)

    def answer(path: str) -> int:
        with open(path, "a") as file:
            file.write("run\n")
        return int(__import__(name).ANSWER)

    isolated = function(
        "virtualenv",
        host=host,
        local_python_modules=[name],
        app_files=[f"{name}.py"],
        app_files_context_dir=str(tmp_path),
    )(answer)
    # As if another runner had had it.
    monkeypatch.setattr(host.deliveries, "may_be_lean", lambda call: not sizes)
    sizes = sizes_sent(monkeypatch)

    assert isolated(str(marks)) == 42
    assert rest.asked.count(("POST", "/files/missing_hashes")) == 1

    assert len(sizes) == 2
    assert marks.read_text() == "run\n"


def test_many_runners_are_sent_all_of_each_call(host: Any):
    """
    Where runners lack what others have again and again, nothing is left out any more.
    """

    @function("virtualenv", host=host)
    def nothing() -> None: ...

    deliveries = Deliveries()
    call = nothing.make_launcher().call(((), {}))
    assert not deliveries.may_be_lean(call)
    for _ in range(2):
        deliveries.note(call)
        assert deliveries.may_be_lean(call)
        deliveries.miss(call)
        assert not deliveries.may_be_lean(call)

    deliveries.note(call)
    assert not deliveries.may_be_lean(call)


def test_call_to_home_says_that_there_is_none(host: Any):
    """
    A function that would have to be called at home is told that it cannot be.
    """

    @function("virtualenv", host=host, machine_type="L")
    def other() -> int:
        return 1

    @function("virtualenv", host=host)
    def outer() -> int:
        return other()

    with pytest.raises(RuntimeError, match="cannot call home"):
        outer()


def test_generator_is_refused_with_what_to_do(host: Any):
    """
    A function that yields cannot run there, and the error says what can.
    """

    @function("virtualenv", host=host)
    def count() -> Iterator[int]:
        yield 1

    with pytest.raises(UnsupportedError, match="Return a list, or serve"):
        list(count())

    @function("virtualenv", host=host)
    def give() -> Any:
        return (number for number in range(3))

    with pytest.raises(TypeError, match="Return a list, or serve"):
        give()


@pytest.mark.parametrize(
    "options",
    [
        {"health_check_config": {}},
        {"health_check_config": {"path": "/", "method": "PUT"}},
        {"keep_alive": 10**30},
        {"scaling_delay": 2**31},
        {"_scheduler_options": {"where": object()}},
        {"metadata": {"when": object()}},
        {"retry_config": {"boredom": {"retries": 1}}},
        {"skip_retry_conditions": ["boredom"]},
        {"app_files": ["nowhere"]},
        {"app_files": ["."], "app_files_ignore": ["("]},
        {"requirements": ["./no-project"]},
    ],
)
def test_what_cannot_be_asked_is_refused_as_it_is_explained(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    What no request can be made of is refused before the service is asked, in the words
    of the explanation.
    """
    (tmp_path / "no-project").mkdir()
    (tmp_path / "no-project/pyproject.toml").touch()
    monkeypatch.chdir(tmp_path)

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"), **options)
    def nothing() -> None:
        return None

    (reason,) = explain(nothing).reasons
    with pytest.raises(OptionError) as caught:
        nothing()
    assert str(caught.value) == reason


def test_a_python_that_is_not_here_may_be_there():
    """
    The service has Pythons of its own: that one is not on this machine is only noted.
    """

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"), python_version="3.99")
    def nothing() -> None:
        return None

    explanation = explain(nothing)
    assert explanation.runs
    assert any("3.99" in note for note in explanation.notes)


def test_tracebacks_have_frames_of_the_user_alone(host: Any):
    """
    What an error shows begins with the function, its setup or its coroutine.
    """

    def prepare() -> None:
        raise LookupError("in the setup")

    @function("virtualenv", host=host, setup_function=prepare)
    def give(prepared: None) -> int:
        return 1

    @function("virtualenv", host=host)
    async def wait() -> None:
        raise LookupError("in the coroutine")

    for isolated, name in ((give, "prepare"), (wait, "wait")):
        with pytest.raises(LookupError) as caught:
            isolated()
        cause = str(caught.value.__cause__)
        assert f"in {name}\n" in cause
        assert cause.count('  File "') == 1, cause


# -- other Pythons -------------------------------------------------------------------


@pytest.fixture(scope="module")
def foreign(relay: Any, tmp_path_factory: pytest.TempPathFactory, relays: Any) -> str:
    """
    A Python of another minor that runs functions.
    """
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    version = FOREIGN if here != FOREIGN else "3.11"
    if shutil.which(f"python{version}") is None:
        pytest.skip(f"There is no Python {version} here.")
    folder = tmp_path_factory.mktemp("foreign") / "venv"
    try:
        relay.pythons[version] = relays.make_agent_environment(folder, version)
    except subprocess.CalledProcessError:
        pytest.skip(f"Python {version} cannot have an environment here.")
    return version


def test_function_runs_on_another_python(host: Any, foreign: str):
    """
    A function travels as source to another minor, and what it raises comes back.
    """

    @function("virtualenv", host=host, python_version=foreign)
    def divide(one: int, other: int) -> tuple[str, float]:
        import sys

        print("dividing")
        return f"{sys.version_info.major}.{sys.version_info.minor}", one / other

    assert divide(1, 2) == (foreign, 0.5)
    with pytest.raises(ZeroDivisionError):
        divide(1, 0)


def test_code_of_another_python_is_refused(host: Any, foreign: str):
    """
    An argument that holds code of this Python is refused with both versions.
    """

    @function("virtualenv", host=host, python_version=foreign)
    def call(what: Any) -> Any:
        return what()

    with pytest.raises(FalSerializationError, match=foreign):
        call(lambda: 1)


# -- what comes back -----------------------------------------------------------------


def make_call() -> Call:
    """
    Return a call, to read the lines of.
    """

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"))
    def nothing() -> None:
        return None

    return nothing.make_launcher().call(((), {}))


CALL = make_call()
LINES = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]))


@example("\t", "STDOUT", 2)
@example('"', "STDOUT", 2)
@given(LINES, st.sampled_from(["STDOUT", "STDERR", "INFO", "ERROR"]), st.integers(0, 2))
@example('"', "STDOUT", 2)
@example("\\\t", "STDERR", 2)
@example("\U0001f600", "INFO", 2)
def test_lines_survive_what_isolate_does_to_them(line: str, level: str, times: int):
    """
    A line comes back whole, at its level and with its owner, however the agent's
    parent takes apart what it reads.
    """
    from fal_core_worker.stream.frames import LEVELS

    line = line * 4000 if times == 2 else line
    owner = "request a:b" if times else ""
    read = Lines(CALL)
    found: list[Log] = []
    for piece in printing.encode(line, LEVELS.index(level), owner):
        assert len(piece) <= 4096
        parts = piece.decode("utf-8", "backslashreplace").splitlines()
        assert len(parts) == 1
        log = read.read(parts[0], "INFO", 1.0)
        found += [] if log is None else [log]
    (log,) = found
    assert (log.message, log.level) == (line, level)
    assert log.request_id == ("a:b" if times else None)


@pytest.mark.parametrize("line", ["plain", "\x1f", "a\x1ffal-core:", "\x1ffal-core:9::", ""])
def test_lines_of_others_are_left_alone(line: str):
    """
    A line that says nothing of itself is a line of the call.
    """
    log = Lines(CALL).read(line, "INFO", 1.0)
    assert log == Log(line, "STDOUT", "USER", 1.0, CALL.id)


def test_outcome_that_is_code_is_not_opened(tmp_path: Path):
    """
    What a service answers runs nothing here, whatever it is.
    """
    import pickle

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    for value in (Evil(), (arrival.OUTCOME, 0, Evil(), []), "word", None):
        with pytest.raises(RunFailedInside, match="no outcome"):
            envelopes.open_outcome(pickle.dumps(value))
    assert not (tmp_path / "ran").exists()


def test_service_that_is_not_there_is_an_error_of_the_host():
    """
    A call to nowhere raises an error that names the address.
    """

    @function("virtualenv", host=FalServerlessHost("127.0.0.1:1"))
    def nothing() -> None:
        return None

    with pytest.raises(FalCoreError, match=r"127\.0\.0\.1:1"):
        nothing()


# -- what is deployed ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "has_page", "shown"),
    [
        ("http://run/me/app/playground#", True, "http://run/me/app/playground"),
        ("http://run/me/app/playground#", False, None),
        ("https://fal.test/models/me/app", False, "https://fal.test/models/me/app"),
        ("", True, None),
    ],
)
def test_page_is_shown_where_there_is_one(page: str, has_page: bool, shown: str | None):
    """
    A page of the application itself is one url, and is shown only where it has one.
    """
    urls = isolate_proto.ServiceURLs(run="http://run/me/app", playground=page)
    assert read_urls(urls, has_page=has_page).get("playground") == shown


def test_deployed_function_serves_in_a_stock_agent(host: Any, recorder: Any, address: str):
    """
    What a deployment registers is run by an agent as it stands, and answers requests.
    """
    import httpx
    import isolate_proto

    from fal_host_serverless import channels

    @function("virtualenv", host=FalServerlessHost(recorder.address), serve=True)
    def double(number: int) -> int:
        print("doubling")
        return 2 * number

    deploying = FalServerlessHost(recorder.address)
    deploying.register(double, double.options, deployment_strategy="rolling")
    registered = recorder.last("RegisterApplication")
    request = isolate_proto.HostedRun(
        environments=registered.environments,
        machine_requirements=registered.machine_requirements,
        function=registered.function,
    )
    run = channels.stub(address).Run(request)
    try:
        url = next(each.service_urls.run for each in run if each.HasField("service_urls"))
        assert httpx.post(url, params={"number": 4}, timeout=30).json() == 8
    finally:
        run.cancel()


def test_call_that_outlives_its_agent_ends_in_silence():
    """
    What a call gives after nobody waits for it any more is dropped.
    """
    begun, over = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def work() -> None:
        threads.append(threading.current_thread())
        begun.set()
        assert over.wait(60)

    async def leave() -> None:
        runner = attending.Runner({"serve": False, "address": "127.0.0.1"})
        call = asyncio.create_task(attending.attend(runner, work))
        await asyncio.to_thread(begun.wait, 60)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(leave())
    (thread,) = threads
    raised: list[threading.ExceptHookArgs] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading, "excepthook", raised.append)
        over.set()
        thread.join(60)
    assert not thread.is_alive()
    assert thread not in [each.thread for each in raised]


def test_streams_that_are_left_are_let_go(monkeypatch: pytest.MonkeyPatch):
    """
    A stream that is not read to its end is cancelled, and gRPC keeps nothing of it.
    """
    cancelled = threading.Event()

    def answer(request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(cancelled.set)
        yield b""
        cancelled.wait()

    service = grpc.method_handlers_generic_handler(
        "controller.IsolateController", {"Run": grpc.unary_stream_rpc_method_handler(answer)}
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("ISOLATE_TEST_MODE", "1")
    try:
        sent = channels.stub(f"127.0.0.1:{port}").Run(isolate_proto.HostedRun())
        with channels.streaming(sent) as stream:
            next(stream)
        assert cancelled.wait(30)
        assert sent.cancelled()
        # What it waits for is what it keeps.
        assert not sent._state.due
    finally:
        server.stop(None)
