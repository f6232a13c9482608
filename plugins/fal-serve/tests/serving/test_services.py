"""The life of a service: setup, requests, drain, teardown."""

import asyncio
import os
import signal
import socket
import subprocess
import textwrap
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_core_worker.serving.ports import free_port
from fal_core_worker.serving.routes import RouteSignature
from fal_serve.servables import BaseServable
from fal_testing.harness.processes import python_programs

PATIENCE = 30


class Living(BaseServable):
    """A servable that prints the events of its life; *func* is its setup."""

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
        # Until the test lets it go.
        while not os.path.exists(until):
            await asyncio.sleep(0.01)
        return "slept"

    async def forever(self) -> None:
        print("for ever")
        try:
            # Ends by being cancelled.
            await asyncio.sleep(3600)
        finally:
            print("cancelled")


def set_up() -> None:
    print("setup")


def wait_for_print(info: Any, text: str) -> None:
    while info.logs.get(timeout=PATIENCE).message != text:
        pass


def printed(info: Any) -> list[str]:
    """Return the printed lines, once the service has ended."""
    lines = []
    while not info.logs.empty():
        lines.append(info.logs.get().message)
    return [line for line in lines if not line.startswith("{")]


def post_beside(url: str) -> tuple[threading.Thread, list[Any]]:
    """Send a POST request on a thread; return both the thread and a list for the response."""
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
    """The caller gets the user's exception, and the log its traceback."""

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


def test_drained_service_finishes_its_requests(serve_with, tmp_path):
    """Running requests are answered, idle connections closed, and the teardown runs."""
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
    """After the grace, running requests are cancelled with 503, and the service ends."""
    service = serve_with(set_up, Living, termination_grace=0.3)
    thread, answers = post_beside(service.url + "/forever")
    wait_for_print(service, "for ever")
    service.stream.drain()
    assert service.future.result(PATIENCE) is None
    thread.join(PATIENCE)
    assert answers[0].status_code == 503
    assert printed(service) == ["handle_exit", "cancelled", "teardown"]


def test_second_request_to_drain_hastens(serve_with):
    """A second drain does not wait, and handle_exit is called only once."""
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
    """Cancelling the call cancels running requests, and the teardown still runs."""
    service = serve_with(set_up, Living)
    thread, _ = post_beside(service.url + "/forever")
    wait_for_print(service, "for ever")
    service.cancel(grace=PATIENCE)
    assert service.future.exception(PATIENCE) is not None
    thread.join(PATIENCE)
    assert printed(service) == ["cancelled", "teardown"]


def test_service_that_drains_in_its_setup_ends(serve_with):
    """A drain cancels a setup that awaits something."""

    async def wait() -> None:
        print("waits")
        # Ends by being cancelled.
        await asyncio.sleep(3600)

    service = serve_with(wait, Living)
    wait_for_print(service, "waits")
    service.stream.drain()
    assert service.future.result(PATIENCE) is None


def test_service_lives_the_same_in_an_environment_of_its_own(serve_with, wait_for_line):
    """The requirements of serving are installed in an environment, where everything works."""
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
    """Run a script in a process of its own, which ends with the test."""
    with python_programs() as start_python:

        def run(source: str) -> subprocess.Popen[str]:
            path = tmp_path / "script.py"
            path.write_text(textwrap.dedent(source))
            return start_python("-u", "-W", "error", str(path))

        yield run


SERVED = """
import asyncio, os
from contextlib import asynccontextmanager
PORTS = dict(zip(("port", "metrics_port"), GIVEN))
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
            # Until something listens.
            time.sleep(0.02)


def test_serve_ends_after_so_many_requests(run_script):
    """A servable that is served in the user's own event loop ends after limit_max_requests."""
    ports = free_ports()
    process = run_script(
        f"GIVEN = {ports}\n{SERVED}\n"
        "asyncio.run(Mine().serve(limit_max_requests=2, host='127.0.0.1', **PORTS))\n"
        "print('after')"
    )
    url = f"http://127.0.0.1:{ports[0]}/"
    wait_for_service(f"http://127.0.0.1:{ports[1]}/ready", process)
    # Until it is ready.
    while httpx.get(f"http://127.0.0.1:{ports[1]}/ready").status_code != 200:
        time.sleep(0.02)
    for _ in range(2):
        assert httpx.post(url).json() == "hello"
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    lines = [line for line in out.splitlines() if not line.startswith("{")]
    assert lines == ["teardown", "after"]
    assert f"run: {url[:-1]}" in err


def test_serve_listens_where_it_is_told(run_script):
    """The address and both ports may be given; 0 is a free port, which is told."""
    process = run_script(
        f"GIVEN = (0, 0)\n{SERVED}\nasyncio.run(Mine().serve(host='127.0.0.2', **PORTS))"
    )
    urls = dict(process.stderr.readline().split(": ") for _ in range(2))
    assert urls.keys() == {"run", "metrics"}
    assert all(url.startswith("http://127.0.0.2:") for url in urls.values())
    assert httpx.post(urls["run"].strip()).json() == "hello"
    assert httpx.get(f"{urls['metrics'].strip()}/ready").json() == {"ready": True}


def test_application_that_serves_itself_has_its_options(run_script):
    """``serve`` of an application keeps the limits that its class declares."""
    ports = free_ports()
    process = run_script(
        f"""
        import asyncio
        from fal_serve import App, endpoint

        class Slow(App, request_timeout=0.05, metrics_port={ports[1]}):
            @endpoint("/")
            async def wait(self) -> None:
                await asyncio.sleep(60)

        asyncio.run(Slow().serve(port={ports[0]}))
        """
    )
    wait_for_service(f"http://127.0.0.1:{ports[1]}/ready", process)
    wait_for_service(f"http://127.0.0.1:{ports[0]}/", process)
    assert httpx.post(f"http://127.0.0.1:{ports[0]}/", timeout=PATIENCE).status_code == 504


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_drain_a_service_outside_a_worker(run_script, number):
    """Signals drain a service in a process of the user's own."""
    ports = free_ports()
    process = run_script(
        f"GIVEN = {ports}\n{SERVED}\nasyncio.run(Mine().serve(**PORTS))\nprint('after')"
    )
    wait_for_service(f"http://127.0.0.1:{ports[0]}/", process)
    process.send_signal(number)
    out, _ = process.communicate(timeout=PATIENCE)
    lines = [line for line in out.splitlines() if not line.startswith("{")]
    assert lines == ["handle_exit", "teardown", "after"]
    assert process.returncode == 0


def test_port_that_is_taken_is_one_sentence(run_script):
    """The error names the address, its purpose, and the process that has it."""
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
            process = run_script(
                f"GIVEN = {ports}\n{SERVED}\n"
                "asyncio.run(Mine().serve(host='127.0.0.1', **PORTS))"
            )
            _, err = process.communicate(timeout=PATIENCE)
            sentence = f"The {what} cannot listen on 127.0.0.1:{taken}: Address already in use"
            *_, last = err.splitlines()
            assert f"CannotListen: {sentence} by process {os.getpid()} (" in last
            assert last.endswith(f"). {remedy}")
