"""
An application of the standard library alone, and a control plane that serves it.

The path and the body of a request choose its behaviour. The test and the application signal
each other with files in one folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cloudpickle
import httpx
from isolate_proto import HostedRun, HostedRunStatus, RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire
from polling import PATIENCE, settle
from programs import connect


def make_application(folder: str) -> Callable[..., None]:
    """Return the function that serves the application."""

    def serve(*, exposed_port: int, exposed_metrics_port: int = 0) -> None:
        import json
        import os
        import pathlib
        import time
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        place = pathlib.Path(folder)

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.extra: dict[str, str] = {}
                self.gate: pathlib.Path | None = None
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = self.headers["x-fal-request-id"]
                told = json.loads(body or b"{}")
                path = self.path.partition("?")[0].strip("/")
                with (place / "order").open("a") as order:
                    order.write(f"{path or 'echo'} {told.get('name', request)}\n")
                getattr(self, path or "echo", self.echo)(request, told)

            def echo(self, request: str, told: dict[str, Any]) -> None:
                self.answer({"told": told, "path": self.path, "headers": dict(self.headers)})

            def look(self, request: str, told: dict[str, Any]) -> None:
                found = dict(os.environ)
                self.answer({"variables": found, "directory": os.getcwd(), "pid": os.getpid()})

            def hold(self, request: str, told: dict[str, Any]) -> None:
                gate, cancelled = place / told["gate"], place / f"cancelled {request}"
                # Until the test lets the request go, or it is cancelled.
                while not gate.exists() and not cancelled.exists():
                    time.sleep(0.01)
                self.answer({"cancelled": cancelled.exists()})

            def cancel(self, request: str, told: dict[str, Any]) -> None:
                (place / f"cancelled {request}").touch()
                self.answer({})

            def die(self, request: str, told: dict[str, Any]) -> None:
                attempt = int(self.headers.get("x-fal-request-attempt") or 1)
                if attempt <= told["times"]:
                    os._exit(9)
                self.answer({"attempt": attempt})

            def fail(self, request: str, told: dict[str, Any]) -> None:
                self.answer({"detail": "It is wrong."}, 422)

            def attempts(self, request: str, told: dict[str, Any]) -> None:
                """Answer each attempt with the next status; 0 is none at all."""
                attempt = int(self.headers.get("x-fal-request-attempt") or 1)
                status = told["statuses"][min(attempt, len(told["statuses"])) - 1]
                # Gives no answer, and ends with its process.
                while not status:
                    time.sleep(0.05)
                self.extra = told.get("headers", {})
                self.answer({"attempt": attempt, "pid": os.getpid()}, status)

            def part(self, request: str, told: dict[str, Any]) -> None:
                """
                Answer with the head of a response that ends the runner, and with its body
                once the test lets it.
                """
                self.extra, self.gate = {"X-Fal-Stop-Runner": "1"}, place / told["gate"]
                self.answer({"pid": os.getpid()})

            def say(self, request: str, told: dict[str, Any]) -> None:
                from fal_core_worker.serving import services

                services.request_id.set(request)
                print(told["word"])
                self.answer({})

            def text(self, request: str, told: dict[str, Any]) -> None:
                self.send(b"words", 200, "text/plain")

            def answer(self, told: Any, status: int = 200) -> None:
                self.send(json.dumps(told).encode(), status, "application/json")

            def send(self, body: bytes, status: int, kind: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.send_header("X-Fal-Billable-Units", "3")
                for name, value in self.extra.items():
                    self.send_header(name, value)
                self.end_headers()
                while self.gate is not None and not self.gate.exists():
                    time.sleep(0.01)
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        ThreadingHTTPServer(("127.0.0.1", exposed_port), Handler).serve_forever()

    return serve


def fill(request: Any, function: Callable[..., Any]) -> None:
    """Fill *request* with *function*, in an environment without requirements."""
    cloudpickle.register_pickle_by_value(sys.modules[function.__module__])
    version = ".".join(str(each) for each in sys.version_info[:2])
    request.environments.add(kind="virtualenv").configuration["python_version"] = version
    request.function.method = "cloudpickle"
    request.function.definition = cloudpickle.dumps(function)


class ServedPlane:
    """
    A control plane with an application on it.

    Arguments:
        start: Starts a control plane on the directory that this one keeps.
    """

    def __init__(self, folder: Path, start: Callable[[], Any]) -> None:
        self.folder = folder
        self._start = start
        self.plane = start()

    def restart(self) -> None:
        """End the server, and start it once more."""
        self.plane.close()
        self.plane = self._start()

    def deploy(
        self,
        name: str,
        *,
        key: str | None = None,
        auth_mode: int = wire.PRIVATE,
        function: Callable[..., None] | None = None,
        change: Callable[[RegisterApplicationRequest], None] = lambda _: None,
        attach: bool | None = None,
        **machine: Any,
    ) -> str:
        """
        Deploy the application under *name*, and return the id of its revision.

        Arguments:
            attach: Wait until it has come up; None leaves it to the server, which does.
        """
        request = self.registration(name, auth_mode, function, **machine)
        if attach is not None:
            request.attach_to_deployment = attach
        change(request)
        for message in self.plane.stream("RegisterApplication", request, key=key):
            if message.HasField("result"):
                return str(message.result.application_id)
        raise AssertionError("There is no result.")

    def deploy_class(self, name: str, source: str, *arguments: str) -> str:
        """
        Deploy the class ``Served`` of *source* by ``fal-core deploy``, and return the
        output of the command. The name *FOLDER* in the source stands for the folder.
        """
        done = subprocess.run(
            **self.deploying(name, source, *arguments),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def deploying(self, name: str, source: str, *arguments: str) -> dict[str, Any]:
        """
        Return the command of :meth:`deploy_class` and its variables, as `subprocess` takes
        them.
        """
        file = self.folder / f"{name}.py"
        file.write_text(f"FOLDER = {str(self.folder)!r}\n{textwrap.dedent(source)}")
        ports = self.plane.plane.ports
        variables = {
            "ISOLATE_TEST_MODE": "1",
            "FAL_GRPC_HOST": f"127.0.0.1:{ports['api']}",
            "FAL_REST_HOST": f"127.0.0.1:{ports['api']}",
            "FAL_KEY": self.plane.key,
        }
        command = [sys.executable, "-m", "fal_core.cli", "deploy", f"{file}::Served"]
        return {
            "args": [*command, "--app-name", name, *arguments],
            "env": {**os.environ, **variables},
        }

    def registration(
        self,
        name: str,
        auth_mode: int = wire.PRIVATE,
        function: Callable[..., None] | None = None,
        **machine: Any,
    ) -> RegisterApplicationRequest:
        """Return the request that registers the application under *name*."""
        request = RegisterApplicationRequest(
            application_name=name, auth_mode=auth_mode, termination_grace_period_seconds=0
        )
        fill(request, function or make_application(str(self.folder)))
        settings = {"keep_alive": 300, "max_concurrency": 1, **machine}
        for field, value in settings.items():
            setattr(request.machine_requirements, field, value)
        return request

    def run(
        self,
        function: Callable[[], Any],
        *,
        key: str | None = None,
        change: Callable[[HostedRun], Any] = lambda _: None,
        keep_alive: int = 300,
        **metadata: str,
    ) -> Any:
        """Run a function, and return its result; *metadata* is sent with the call."""
        request = HostedRun(application_name=function.__name__)
        fill(request, function)
        request.machine_requirements.keep_alive = keep_alive
        change(request)
        last = [*self.plane.stream("Run", request, key=key, **metadata)][-1]
        assert last.status.state == HostedRunStatus.SUCCESS, last
        assert not last.return_value.was_it_raised, last.return_value.stringized_traceback
        return cloudpickle.loads(last.return_value.definition)

    def client(self, listener: str = "queue", key: str | None = None) -> httpx.Client:
        """Return a client of a gateway, with the key of the owner unless another is given."""
        shown = self.plane.key if key is None else key
        return connect(f"127.0.0.1:{self.plane.plane.ports[listener]}", shown)

    def submit(
        self, path: str, told: Any = None, *, key: str | None = None, **headers: str
    ) -> str:
        """Submit a request of the owner, and return its id."""
        shown = {name.replace("_", "-"): value for name, value in headers.items()}
        with self.client(key=key) as client:
            answer = client.post(f"/owner/{path}", json=told or {}, headers=shown)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["request_id"])

    def status(self, name: str, request: str) -> httpx.Response:
        """Return the response for the status of a request to the application *name*."""
        with self.client() as client:
            return client.get(f"/owner/{name}/requests/{request}/status")

    def finish(self, name: str, request: str) -> httpx.Response:
        """Wait until a request is answered, and return its answer."""
        self.settle(lambda: self.status(name, request).status_code == 200)
        with self.client() as client:
            return client.get(f"/owner/{name}/requests/{request}")

    def find(self, request: str) -> Any:
        """Return a request as the queue keeps it."""
        return self.plane.run(self.plane.plane.queue.requests.find(request))

    def begin(self, name: str, request: str) -> None:
        """Wait until a runner has the request."""
        self.settle(lambda: self.status(name, request).json()["status"] == "IN_PROGRESS")

    def lines(self, name: str) -> list[str]:
        """Return the lines of the runners of an application, the newest first."""
        with self.plane.client() as client:
            told = client.post("/logs/history", params={"app_name": name}).json()
        return [str(each["message"]) for each in told["items"]]

    def open(self, gate: str) -> None:
        """Release the requests that are held at *gate*."""
        (self.folder / gate).touch()

    def order(self) -> list[str]:
        """Return the path and the name of each request that has reached the application."""
        try:
            return (self.folder / "order").read_text().splitlines()
        except FileNotFoundError:
            # The first is on its way.
            return []

    def waiting(self, app: str) -> int:
        """Return how many requests wait for a runner of an application, as the metrics tell."""
        metrics = f"http://127.0.0.1:{self.plane.ports['metrics']}/metrics"
        label = f'fal_server_requests_waiting{{application="owner/{app}"}} '
        told = httpx.get(metrics, trust_env=False, timeout=PATIENCE).text.splitlines()
        return sum(int(float(line.removeprefix(label))) for line in told if label in line)

    settle = staticmethod(settle)
