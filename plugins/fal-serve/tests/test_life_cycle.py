"""
The life of a service: setup, requests, drain, teardown.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from fal_core_worker.serving.ports import free_port
from fal_core_worker.serving.routes import RouteSignature
from fal_serve import FalServer
from fal_serve.servables import BaseServable
from fal_serve.startups import SetupTimeout

PATIENCE = 30


class Living(BaseServable):
    """
    A servable that tells of its life; *func* is its setup.
    """

    def __init__(self, func: Any) -> None:
        self._setup = func

    def collect_routes(self) -> dict[RouteSignature, Any]:
        return {RouteSignature("/sleep"): self.sleep, RouteSignature("/forever"): self.forever}

    @asynccontextmanager
    async def lifespan(self, app: Any) -> AsyncIterator[None]:
        answer = self._setup()
        if answer is not None:
            await answer
        yield
        print("teardown")

    def handle_exit(self) -> None:
        print("handle_exit")

    async def sleep(self, seconds: float = 0, until: str = "/") -> str:
        print("sleeps")
        await asyncio.sleep(seconds)
        while not os.path.exists(until):
            await asyncio.sleep(0.01)
        return "slept"

    async def forever(self) -> None:
        print("for ever")
        try:
            await asyncio.sleep(3600)
        finally:
            print("cancelled")


def set_up() -> None:
    print("setup")


def wait_for_print(info: Any, text: str) -> None:
    while info.logs.get(timeout=PATIENCE).message != text:
        pass


def printed(info: Any) -> list[str]:
    """
    Return all that was printed, once the service has ended.
    """
    lines = []
    while not info.logs.empty():
        lines.append(info.logs.get().message)
    return [line for line in lines if not line.startswith("{")]


def post_beside(url: str) -> tuple[threading.Thread, list[Any]]:
    """
    Post on a thread, and return it with what comes of it.
    """
    answers: list[Any] = []

    def post() -> None:
        try:
            answers.append(httpx.post(url, timeout=PATIENCE))
        except httpx.HTTPError as error:
            answers.append(error)

    thread = threading.Thread(target=post)
    thread.start()
    return thread, answers


@pytest.mark.parametrize("asynchronous", [False, True])
def test_setup_that_raises_ends_the_call_with_its_error(
    serve_with, wait_for_line, asynchronous
):
    """
    The caller has the user's own exception, and the log its traceback.
    """

    def fail() -> None:
        raise LookupError("no weights")

    async def fail_later() -> None:
        raise LookupError("no weights")

    service = serve_with(fail_later if asynchronous else fail, Living)
    with pytest.raises(LookupError, match="no weights") as caught:
        _ = service.url
    assert "in fail" in str(caught.value.__cause__)
    line = wait_for_line(service, message="The setup failed.")
    assert "LookupError: no weights" in line["traceback"]


def hang_in_sleep() -> None:
    time.sleep(3600)


def hang_in_loop() -> None:
    while True:
        try:
            sum(range(1000))
        except Exception:
            continue


async def hang_in_await() -> None:
    await asyncio.sleep(3600)


async def hang_on_thread() -> None:
    await asyncio.to_thread(hang_in_sleep)


class OpensSlowly:
    """
    A value that takes the worker longer to open than it had to start, as on a busy machine.
    """

    def __reduce__(self) -> Any:
        return time.sleep, (2.0,)


slow = OpensSlowly()


async def hang_after_a_slow_start() -> None:
    _ = slow
    await asyncio.sleep(3600)


def hang_for_a_port() -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", 1), 1)
        except Exception:
            time.sleep(0.1)


@pytest.mark.parametrize(
    "hang",
    [
        *(hang_in_sleep, hang_in_loop, hang_in_await, hang_on_thread, hang_for_a_port),
        hang_after_a_slow_start,
    ],
)
def test_setup_that_never_ends_is_named(serve_with, hang):
    """
    Within startup_timeout the call ends with an error that says where its setup hangs.
    """
    service = serve_with(hang, Living, startup_timeout=1.5)
    with pytest.raises(SetupTimeout, match=r"startup_timeout of 1.5 s") as caught:
        _ = service.url
    assert f"in {hang.__name__}" in str(caught.value)
    if hang is hang_on_thread:
        assert "in hang_in_sleep" in str(caught.value)


def test_setup_in_time_is_not_interrupted(serve_with):
    """
    A timeout that has not passed leaves the service as it is, also later.
    """
    service = serve_with(set_up, Living, startup_timeout=5)
    assert httpx.post(service.url + "/sleep?seconds=5.5", timeout=PATIENCE).json() == "slept"


def test_drained_service_finishes_its_requests(serve_with, tmp_path):
    """
    What runs is answered, idle connections are closed, and the teardown runs.
    """
    service = serve_with(set_up, Living)
    with httpx.Client(timeout=PATIENCE) as idle:
        idle.post(service.url + "/nowhere")
        end = tmp_path / "end"
        thread, answers = post_beside(f"{service.url}/sleep?until={end}")
        wait_for_print(service, "sleeps")
        service.stream.drain()
        wait_for_print(service, "handle_exit")
        end.touch()
        thread.join(PATIENCE)
        assert answers[0].json() == "slept"
        assert answers[0].headers["connection"] == "close"
        assert service.future.result(PATIENCE) is None
    assert printed(service) == ["teardown"]


def test_requests_that_outlast_the_grace_are_cancelled(serve_with, wait_for_line):
    """
    After the grace what still runs is cancelled, told so, and the service ends.
    """
    service = serve_with(set_up, Living, termination_grace=0.3)
    thread, answers = post_beside(service.url + "/forever")
    wait_for_print(service, "for ever")
    service.stream.drain()
    assert service.future.result(PATIENCE) is None
    thread.join(PATIENCE)
    assert answers[0].status_code == 503
    assert printed(service) == ["handle_exit", "cancelled", "teardown"]


def test_second_request_to_drain_hastens(serve_with):
    """
    Who asks twice does not wait, and handle_exit is called once.
    """
    service = serve_with(set_up, Living)
    thread, answers = post_beside(service.url + "/forever")
    wait_for_print(service, "for ever")
    service.stream.drain()
    wait_for_print(service, "handle_exit")
    service.stream.drain()
    assert service.future.result(PATIENCE) is None
    thread.join(PATIENCE)
    assert answers[0].status_code == 503
    assert printed(service) == ["cancelled", "teardown"]


def test_cancelled_service_tears_down(serve_with):
    """
    The end of the call cancels what runs, and still tears down.
    """
    service = serve_with(set_up, Living)
    thread, _ = post_beside(service.url + "/forever")
    wait_for_print(service, "for ever")
    service.cancel(grace=PATIENCE)
    assert service.future.exception(PATIENCE) is not None
    thread.join(PATIENCE)
    assert printed(service) == ["cancelled", "teardown"]


def test_service_that_drains_in_its_setup_ends(serve_with):
    """
    A setup that awaits something is not waited for.
    """

    async def wait() -> None:
        print("waits")
        await asyncio.sleep(3600)

    service = serve_with(wait, Living)
    wait_for_print(service, "waits")
    service.stream.drain()
    assert service.future.result(PATIENCE) is None


def test_service_lives_the_same_in_an_environment_of_its_own(serve_with, wait_for_line):
    """
    What a service needs beside its own requirements is installed, and all of it works.
    """
    service = serve_with(set_up, Living, kind="virtualenv")
    answer = httpx.post(service.url + "/sleep", headers={"x-fal-request-id": "mine"})
    assert (answer.json(), answer.headers["x-fal-request-id"]) == ("slept", "mine")
    assert wait_for_line(service, request_id="mine")["status"] == 200
    metrics = service.urls["metrics"]
    assert httpx.get(metrics + "/ready").json() == {"ready": True}
    assert 'path="/sleep"' in httpx.get(metrics + "/metrics").text
    service.stream.drain()
    assert service.future.result(PATIENCE) is None
    assert printed(service) == ["handle_exit", "teardown"]


# -- outside a worker --------------------------------------------------------------


@pytest.fixture
def run_script(tmp_path: Path) -> Any:
    """
    Run a script in a process of its own, which ends with the test.
    """
    processes: list[subprocess.Popen[str]] = []

    def run(source: str) -> subprocess.Popen[str]:
        path = tmp_path / f"script{len(processes)}.py"
        path.write_text(textwrap.dedent(source))
        process = subprocess.Popen(
            [sys.executable, "-u", "-W", "error", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


SERVED = """
import asyncio, os
from contextlib import asynccontextmanager
import fal_serve.settings as settings
settings.PORT, settings.METRICS_PORT = PORTS
from fal_serve import BaseServable
from fal_core_worker.serving.routes import RouteSignature

def hello() -> str:
    return "hello"

class Mine(BaseServable):
    def collect_routes(self):
        return {RouteSignature("/"): hello}

    @asynccontextmanager
    async def lifespan(self, app):
        yield
        print("teardown")

    def handle_exit(self):
        print("handle_exit")
"""


def free_ports() -> tuple[int, int]:
    return free_port(), free_port()


def wait_for_service(url: str, process: subprocess.Popen[str]) -> None:
    while True:
        try:
            httpx.get(url)
            return
        except httpx.ConnectError:
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)


def test_serve_ends_after_so_many_requests(run_script):
    """
    A servable that is served in a loop of the user's ends after limit_max_requests.
    """
    ports = free_ports()
    process = run_script(
        f"PORTS = {ports}\n{SERVED}\n"
        "asyncio.run(Mine().serve(limit_max_requests=2))\nprint('after')"
    )
    url = f"http://127.0.0.1:{ports[0]}/"
    wait_for_service(f"http://127.0.0.1:{ports[1]}/ready", process)
    while httpx.get(f"http://127.0.0.1:{ports[1]}/ready").status_code != 200:
        time.sleep(0.02)
    for _ in range(2):
        assert httpx.post(url).json() == "hello"
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    lines = [line for line in out.splitlines() if not line.startswith("{")]
    assert lines == ["teardown", "after"]
    assert f"run: {url[:-1]}" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_drain_a_service_outside_a_worker(run_script, number):
    """
    A process that serves on its own ends as it should when it is asked to.
    """
    ports = free_ports()
    process = run_script(
        f"PORTS = {ports}\n{SERVED}\nasyncio.run(Mine().serve())\nprint('after')"
    )
    wait_for_service(f"http://127.0.0.1:{ports[0]}/", process)
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE)
    lines = [line for line in out.splitlines() if not line.startswith("{")]
    assert lines == ["handle_exit", "teardown", "after"]
    assert process.returncode == 0


def test_port_that_is_taken_is_one_sentence(run_script):
    """
    The error says which address, for what, and who has it.
    """
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        taken = holder.getsockname()[1]
        for ports, what, remedy in (
            (
                (taken, free_ports()[0]),
                "service",
                "Give it another port, as by 'fal-core run --port'.",
            ),
            ((free_ports()[0], taken), "port of its metrics", "Declare another metrics_port."),
        ):
            process = run_script(f"PORTS = {ports}\n{SERVED}\nasyncio.run(Mine().serve())")
            _, err = process.communicate(timeout=PATIENCE)
            sentence = f"The {what} cannot listen on 127.0.0.1:{taken}: Address already in use"
            *_, last = err.splitlines()
            assert f"CannotListen: {sentence} by process {os.getpid()} (" in last
            assert last.endswith(f"). {remedy}")


def test_fal_server_tells_that_it_is_asked_to_end():
    """
    ``set_handle_exit`` takes what is called, once, before requests finish.
    """
    called: list[str] = []
    server = FalServer(uvicorn.Config(lambda scope: None))
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    server = FalServer(uvicorn.Config(lambda scope: None))
    server.set_handle_exit(lambda: called.append("exit"))
    server.handle_exit(signal.SIGTERM, None)
    server.handle_exit(signal.SIGTERM, None)
    assert called == ["exit"]


def test_handle_exit_that_fails_keeps_no_service_from_ending(caplog):
    """
    Its error is logged.
    """

    def fail() -> None:
        raise LookupError("gone")

    server = FalServer(uvicorn.Config(lambda scope: None))
    server.set_handle_exit(fail)
    server.handle_exit(signal.SIGTERM, None)
    assert server.should_exit
    assert "LookupError: gone" in caplog.text
