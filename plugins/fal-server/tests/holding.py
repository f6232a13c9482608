"""
Applications that hold their requests until the test releases them.

The application and the test share files in one directory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import cloudpickle
import grpc
import httpx
from isolate_proto import RegisterApplicationRequest, RunnerInfo
from isolate_proto import controller_pb2 as wire
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from polling import PATIENCE
from programs import connect, to_metadata


def make_server(folder: str, release: int, port: int | None = None) -> Callable[..., Any]:
    """
    Return an application that needs only the standard library.

    Its paths: ``/hold/WORD`` responds once there is a file *WORD*. ``/health`` responds 200,
    or 500 if there is a file ``sick`` or ``sick-PID``, and does not respond while there is a
    file ``mute-PID``.

    While there is a file ``starting-RELEASE`` it does not listen, and prints a line about
    that. When it is asked to end it writes a file ``told-PID``, finishes its requests, and
    ends once there is no file ``stays``.

    Arguments:
        port: The only port at which it can listen.
    """

    async def serve_at(at: int) -> None:
        import asyncio
        import json
        import os
        import signal
        from pathlib import Path

        files = Path(folder)
        pid = os.getpid()
        ended = asyncio.Event()
        asked: set[bytes] = set()

        def end() -> None:
            (files / f"told-{pid}").touch()
            ended.set()

        async def reply(path: str, reader: Any) -> int:
            if path == "/health":
                while (files / f"mute-{pid}").exists() and not reader.at_eof():
                    (files / f"asked-{pid}").touch()
                    # Until it is no longer mute.
                    await asyncio.sleep(0.01)
                sick = (files / "sick").exists() or (files / f"sick-{pid}").exists()
                return 500 if sick else 200
            if path.startswith("/hold/"):
                word = path.removeprefix("/hold/")
                while not (files / word).exists():
                    if reader.at_eof():
                        (files / f"left-{word}").touch()
                        return 499
                    # Until the test lets the request go.
                    await asyncio.sleep(0.01)
            return 200

        async def take(reader: Any, writer: Any) -> None:
            while words := (await reader.readline()).split():
                size = 0
                while (line := await reader.readline()).strip():
                    name, _, value = line.partition(b":")
                    size = int(value) if name.lower() == b"content-length" else size
                await reader.readexactly(size)
                asked.add(words[1])
                status = await reply(words[1].decode(), reader)
                body = json.dumps({"pid": pid, "release": release}).encode()
                head = f"HTTP/1.1 {status} It\r\nContent-Length: {len(body)}\r\n"
                writer.write(f"{head}Content-Type: application/json\r\n\r\n".encode() + body)
                await writer.drain()
                asked.discard(words[1])
            writer.close()

        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        if (files / f"starting-{release}").exists():
            print(f"{pid} waits", flush=True)
        # Until the test lets it start.
        while (files / f"starting-{release}").exists() and not ended.is_set():
            await asyncio.sleep(0.01)
        server = await asyncio.start_server(take, "127.0.0.1", at)
        print(f"{pid} serves")
        await ended.wait()
        # Until the requests are done, and it may go.
        while asked or (files / "stays").exists():
            await asyncio.sleep(0.01)
        server.close()
        (files / f"ended-{pid}").touch()

    async def serve(*, exposed_port: int, exposed_metrics_port: int | None = None) -> None:
        await serve_at(exposed_port)

    async def serve_own() -> None:
        assert port is not None
        await serve_at(port)

    chosen: Callable[..., Any] = serve if port is None else serve_own
    vars(chosen)["_run_on_main_thread"] = True
    return chosen


def make_plain_server(port: int) -> Callable[[], None]:
    """Return a function that serves on *port* for as long as it runs, and answers GET."""

    def serve() -> None:
        from http.server import BaseHTTPRequestHandler, HTTPServer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(204)
                self.end_headers()

        HTTPServer(("127.0.0.1", port), Handler).serve_forever()

    return serve


def make_failure() -> Callable[[], None]:
    """Return an application that fails before it serves anything."""

    def fail() -> None:
        raise LookupError("no weights")

    return fail


def make_wanting(folder: str, word: str) -> Callable[..., Any]:
    """Return an application that fails until *word* is written in *folder*, and serves then."""
    serve = make_server(folder, 1)

    async def serve_once_there(*, exposed_port: int) -> None:
        import os

        if not os.path.exists(os.path.join(folder, word)):
            raise LookupError("no weights")
        await serve(exposed_port=exposed_port)

    return serve_once_there


class Holder:
    """
    A client that deploys such applications on a control plane, and sends them requests.

    Attributes:
        told: The log lines of the last deployment.
    """

    states = RunnerInfo

    def __init__(self, plane: Any, folder: Path) -> None:
        self.folder = folder
        self.told: list[str] = []
        self._threads = ThreadPoolExecutor(16)
        self.connect(plane)

    def connect(self, plane: Any) -> None:
        """Go on with another control plane of the same data, or begin with the first."""
        self.plane = plane
        self._channel = grpc.insecure_channel(plane.address)
        self._stub = IsolateControllerStub(self._channel)
        self._client = connect(f"127.0.0.1:{plane.plane.ports['run']}", plane.key)

    def close(self) -> None:
        """Remove all that was deployed; its runners are ended by their records."""
        for word in ("stays", "sick"):
            self.lift(word)
        for environment in self.call("ListEnvironments", wire.ListEnvironmentsRequest()):
            for alias in self.aliases(environment.name):
                self.delete(alias.alias, environment.name)
        self.disconnect()
        self._threads.shutdown()

    def disconnect(self) -> None:
        """Leave the control plane, which is to end."""
        self._client.close()
        self._channel.close()

    def call(self, name: str, request: Any) -> Any:
        """
        Call a procedure, and return the value of the only field of its response, if it has
        one.
        """
        answer = getattr(self._stub, name)(
            request, metadata=to_metadata(self.plane.key), timeout=PATIENCE
        )
        (field,) = answer.DESCRIPTOR.fields or [None]
        return answer if field is None else getattr(answer, field.name)

    # -- applications ------------------------------------------------------------------

    def deploy(
        self, name: str, release: int = 1, *, attach: bool | None = False, **given: Any
    ) -> str:
        """
        Deploy what :meth:`registration` describes, and return the id of its revision.

        Arguments:
            attach: Wait until it has taken over; None leaves it to the server.
        """
        request = self.registration(name, release, attach=attach, **given)
        self.told = []
        for each in self._register(request):
            if each.HasField("result"):
                return str(each.result.application_id)
            self.told += [log.message for log in each.logs]
        raise AssertionError("The server did not confirm the deployment.")

    def begin(self, name: str, release: int) -> Any:
        """Begin to deploy a release, and return the stream of its messages."""
        return self._register(self.registration(name, release, attach=True))

    def registration(
        self,
        name: str,
        release: int,
        *,
        strategy: str = "ROLLING",
        attach: bool | None,
        environment: str | None = None,
        reset: bool = False,
        grace: int | None = None,
        health: Any = None,
        port: int | None = None,
        function: Any = None,
        auth: int | None = None,
        **machine: Any,
    ) -> RegisterApplicationRequest:
        """Return the request that deploys a release, or *function*."""
        cloudpickle.register_pickle_by_value(sys.modules[__name__])
        request = RegisterApplicationRequest(
            application_name=name,
            environment_name=environment,
            deployment_strategy=getattr(wire, strategy),
            attach_to_deployment=attach,
            scale=reset,
            termination_grace_period_seconds=grace,
            health_check_config=health,
            auth_mode=auth,
        )
        request.environments.add(kind="virtualenv")
        request.machine_requirements.keep_alive = 300
        request.machine_requirements.exposed_port = port or 8080
        for key, value in machine.items():
            setattr(request.machine_requirements, key, value)
        request.function.method = "cloudpickle"
        request.function.definition = cloudpickle.dumps(
            function or make_server(str(self.folder), release, port)
        )
        return request

    def _register(self, request: RegisterApplicationRequest) -> Any:
        return self._stub.RegisterApplication(
            request, metadata=to_metadata(self.plane.key), timeout=PATIENCE
        )

    def set(self, name: str, **settings: Any) -> Any:
        """Change how an application scales."""
        return self.call(
            "UpdateApplication",
            wire.UpdateApplicationRequest(application_name=name, **settings),
        )

    def aliases(self, environment: str | None = None) -> Any:
        """Return the descriptions of the aliases of a stage."""
        return self.call("ListAliases", wire.ListAliasesRequest(environment_name=environment))

    def alias(self, name: str) -> Any:
        """Return the description of one alias."""
        (found,) = [each for each in self.aliases() if each.alias == name]
        return found

    def delete(self, name: str, environment: str | None = None) -> str:
        """Delete an alias, and return the revision that it stood for."""
        request = wire.DeleteAliasRequest(alias=name, environment_name=environment)
        return str(self.call("DeleteAlias", request))

    # -- runners -----------------------------------------------------------------------

    def runners(self, name: str, environment: str | None = None) -> list[RunnerInfo]:
        """Return the runners of an application."""
        request = wire.ListAliasRunnersRequest(
            alias=name, list_pending=True, environment_name=environment
        )
        return list(self.call("ListAliasRunners", request))

    def ready(self, name: str) -> list[RunnerInfo]:
        """Return the runners that take requests."""
        taking = (RunnerInfo.RUNNING, RunnerInfo.IDLE)
        return [each for each in self.runners(name) if each.state in taking]

    def stop(self, runner_id: str, *, replace_first: bool = False) -> None:
        """Ask a runner to end."""
        request = wire.StopRunnerRequest(runner_id=runner_id, replace_first=replace_first)
        self.call("StopRunner", request)

    def kill(self, runner_id: str) -> None:
        """End a runner now."""
        self.call("KillRunner", wire.KillRunnerRequest(runner_id=runner_id))

    def in_flight(self, name: str) -> list[int]:
        """Return how many requests each runner has, the busiest last."""
        return sorted(each.in_flight_requests for each in self.runners(name))

    def waiting(self, name: str) -> int:
        """Return how many requests wait for a runner."""
        pool = self.plane.plane.catalog.find("owner", name).pool
        return int(self.plane.here(lambda: pool.waiting))

    def lines(self, runner_id: str) -> list[str]:
        """Return the lines of a runner, the newest first."""
        with self.plane.client() as client:
            told = client.post("/logs/history", params={"job_id": runner_id}).json()
        return [each["message"] for each in told["items"]]

    def times(self, runner_id: str) -> tuple[float, float | None]:
        """Return when a runner was started and has ended, by the server's clock."""
        with self.plane.client() as client:
            told = client.get(f"/runners/{runner_id}").json()
        began, ended = (
            text and datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
            for text in (told["started_at"], told["ended_at"])
        )
        return began, ended

    # -- requests ----------------------------------------------------------------------

    def get(self, name: str) -> httpx.Response:
        """Send a request that has no body, and return its answer."""
        return self._client.get(f"/owner/{name}")

    def ask(self, name: str, path: str = "/", **headers: str) -> httpx.Response:
        """Send a request, and return its answer."""
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        return self._client.post(f"/owner/{name}{path}", headers=named)

    def hold(self, name: str, word: str) -> Future[httpx.Response]:
        """Send a request that is held until the file *word* is written."""
        return self._threads.submit(self.ask, name, f"/hold/{word}")

    def later(self, work: Callable[..., Any], *arguments: Any, **named: Any) -> Future[Any]:
        """Do *work* on a thread."""
        return self._threads.submit(work, *arguments, **named)

    def write(self, word: str) -> None:
        """Write a file, which releases the requests that are held by it."""
        (self.folder / word).touch()

    def lift(self, word: str) -> None:
        """Remove a file."""
        (self.folder / word).unlink(missing_ok=True)

    def has(self, word: str) -> bool:
        """Return whether there is a file."""
        return (self.folder / word).exists()

    @contextmanager
    def load(self, name: str, senders: int = 4) -> Iterator[list[httpx.Response]]:
        """
        Send requests one after the other while the block runs, and yield the list of all
        their responses.
        """
        answers: list[httpx.Response] = []
        over: list[bool] = []

        def send() -> None:
            while not over:
                answers.append(self.ask(name))

        senders_of_it = [self._threads.submit(send) for _ in range(senders)]
        try:
            yield answers
        finally:
            over.append(True)
            for each in senders_of_it:
                each.result()
