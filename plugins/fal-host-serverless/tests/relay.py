"""
A service that has its functions run by unmodified isolate servers.

It speaks the protocol of the hosted service as far as runs go, and forwards each to a
server of ``isolate`` in an environment that has nothing of fal-core. A server and all
that it started are ended together, as the machine of a runner would be.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import isolate_proto
from isolate.server import definitions

from fal_core_worker import trees
from fal_core_worker.serving.ports import free_port

#: Seconds that a server may take to start.
PATIENCE = 60.0
#: How many runs there are at once; others wait.
RUNS = 4

#: Ends all that its server started, orphans too, when it is told to or its parent ends.
GUARD = """
import os, signal, subprocess, sys, threading, time
from fal_core_worker import trees
trees.become_subreaper()
server = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
# No lock: a signal may come while its own handler, or the loop, holds one.
over = []
signal.signal(signal.SIGTERM, lambda *_: over.append("told"))
threading.Thread(
    target=lambda: (sys.stdin.read(), over.append("orphaned")), daemon=True
).start()
while server.poll() is None and not over:
    # Until the server has ended, or is to end.
    time.sleep(0.05)
trees.kill_descendants(os.getpid())
os._exit(0)
"""

_AGENT_NEEDS = ("isolate[build]", "cloudpickle", "tblib")
_SERVER_VARIABLES = {
    "ISOLATE_INHERIT_FROM_LOCAL": "1",
    "ISOLATE_GRPC_CALL_MAX_SEND_MESSAGE_LENGTH": "-1",
    "ISOLATE_GRPC_CALL_MAX_RECEIVE_MESSAGE_LENGTH": "-1",
    "ISOLATE_SHUTDOWN_GRACE_PERIOD": "1",
    # With it gRPC blocks a process of the agent that is forked twice.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def make_agent_environment(folder: Path, python: str) -> Path:
    """Return a Python that has isolate, and nothing of fal-core."""
    from uv import find_uv_bin

    variables = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    uv = find_uv_bin()
    subprocess.run([uv, "venv", "-q", "--python", python, folder], check=True, env=variables)
    executable = folder / "bin/python"
    subprocess.run(
        [uv, "pip", "install", "-q", "--python", executable, *_AGENT_NEEDS],
        check=True,
        env=variables,
    )
    return executable


class IsolateServer:
    """An isolate server, and all that it starts."""

    def __init__(self, python: Path, cache: Path) -> None:
        self.python = python
        self.port = free_port()
        command = [str(python), "-m", "isolate.server.server", "--port", str(self.port)]
        own = {"PATH": f"{python.parent}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(cache)}
        variables = {**os.environ, **_SERVER_VARIABLES, **own}
        variables.pop("PYTHONPATH", None)
        for name in [name for name in variables if name.startswith("FAL_")]:
            del variables[name]
        self.guard = subprocess.Popen(
            [sys.executable, "-c", GUARD, *command],
            env=variables,
            # Its end tells that of this process, however that comes.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.max_receive_message_length", -1),
        ]
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", options=options)
        try:
            grpc.channel_ready_future(self.channel).result(PATIENCE)
        except BaseException:
            self.end()
            raise
        self.stub = definitions.IsolateStub(self.channel)

    def tell_agents(self) -> None:
        """Send the agents SIGTERM, as a machine that stops does."""
        for pid in trees.descendants(self.guard.pid):
            with contextlib.suppress(OSError):
                if b"agent.py" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGTERM)

    def end(self) -> None:
        """End it, and wait until it has."""
        self.guard.terminate()
        self.guard.wait()
        if self.guard.stdin is not None:
            self.guard.stdin.close()
        self.channel.close()


class Composed:
    """A pickle of *expression* over bytes that are not unpickled here."""

    def __init__(self, expression: str, **names: Any) -> None:
        self.names = {**names, "expression": expression}

    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (self.names.pop("expression"), self.names)


_WITH = (
    "(__import__('os').environ.update(secrets), setattr(call := __import__('functools')"
    ".partial(function := __import__('pickle').loads(data), **ports), '_run_on_main_thread',"
    " getattr(function, '_run_on_main_thread', False)), call)[-1]"
)


class Relay(isolate_proto.IsolateControllerServicer):
    """
    A controller whose functions run on isolate servers.

    Attributes:
        requests: The requests, newest last.

        metadata: The metadata of each call.

        secrets: The values that functions may name.
    """

    def __init__(self, pythons: dict[str, Path], cache: Path) -> None:
        self.pythons = pythons
        self.cache = cache
        self.requests: list[Any] = []
        self.metadata: list[dict[str, str]] = []
        self.secrets: dict[str, str] = {}
        self._idle: list[IsolateServer] = []
        self._running: dict[str, IsolateServer] = {}
        self._lock = threading.Lock()
        # Who came first has the first turn.
        self._queue: list[object] = []
        self._turn = threading.Condition()
        self._numbers = iter(range(1, 1 << 30))

    # -- servers -----------------------------------------------------------------

    def _take(self, python: Path) -> IsolateServer:
        with self._lock:
            # The one that was used last has most of what the next call needs.
            for server in reversed(self._idle):
                if server.python == python:
                    self._idle.remove(server)
                    return server
        return IsolateServer(python, self.cache)

    def close(self) -> None:
        """End all servers."""
        with self._lock:
            servers = [*self._idle, *self._running.values()]
            self._idle.clear()
        for server in servers:
            server.end()

    # -- runs --------------------------------------------------------------------

    def Run(self, request: Any, context: Any) -> Iterator[Any]:
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        number = str(next(self._numbers))
        yield isolate_proto.HostedRunResult(run_id=number)
        missing = [name for name in request.secrets.names if name not in self.secrets]
        if missing:
            context.abort(grpc.StatusCode.NOT_FOUND, f"Secret {missing[0]!r} is not set")
        version = request.environments[0].configuration["python_version"]
        python = self.pythons.get(version)
        if python is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"There is no Python {version}")
        over = threading.Event()
        context.add_callback(over.set)
        turn = object()
        with self._turn:
            self._queue.append(turn)
        try:
            with self._turn:
                while turn not in [*itertools.islice(self._queue, RUNS)]:
                    self._turn.wait(0.05)
                    if over.is_set():
                        return
            server = self._take(python)
            yield from self._run(request, context, server, over, number)
        finally:
            with self._turn:
                self._queue.remove(turn)
                self._turn.notify_all()

    def _run(
        self, request: Any, context: Any, server: IsolateServer, over: Any, number: str
    ) -> Any:
        self._running[number] = server
        done = threading.Event()

        def watch() -> None:
            over.wait()
            if not done.is_set():
                server.end()

        threading.Thread(target=watch, daemon=True).start()
        try:
            yield from self._forward(request, context, server, number)
            done.set()
        finally:
            over.set()
            del self._running[number]
            if done.is_set() and not request.secrets.names:
                with self._lock:
                    self._idle.append(server)
            else:
                server.end()

    def _forward(self, request: Any, context: Any, server: IsolateServer, number: str) -> Any:
        machine = request.machine_requirements
        data, url = request.function.definition, None
        names = {name: self.secrets[name] for name in request.secrets.names}
        ports = {}
        if machine.HasField("exposed_port"):
            port = free_port() if machine.exposed_port == 8080 else machine.exposed_port
            ports = {"exposed_port": port, "exposed_metrics_port": free_port()}
            url = f"http://127.0.0.1:{port}"
        if names or ports:
            composed = Composed(_WITH, data=data, secrets=names, ports=ports)
            data = pickle.dumps(composed)
        bound = definitions.BoundFunction(
            environments=request.environments,
            function=definitions.SerializedObject(method="cloudpickle", definition=data),
            stream_logs=True,
        )
        results = server.stub.Run(bound)
        context.add_callback(results.cancel)
        if url is not None:
            yield from self._until_ready(request, context, server, results, url)
        try:
            for partial in results:
                yield _translate(partial)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    def _until_ready(
        self, request: Any, context: Any, server: IsolateServer, results: Any, url: str
    ) -> Any:
        """
        Yield the output of a service, and its URL once it is ready.

        A service whose regular health checks fail is ended.
        """
        machine = request.machine_requirements
        limit = machine.startup_timeout if machine.HasField("startup_timeout") else None
        check = request.health_check_config
        taken: list[Any] = []
        ended = threading.Event()

        def read() -> None:
            try:
                for partial in results:
                    taken.append(partial)
            except grpc.RpcError as error:
                taken.append(error)
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        told, since, shown = False, time.monotonic(), 0
        failures, asked = 0, 0.0
        while not (ended.is_set() and shown == len(taken)):
            while shown < len(taken):
                partial = taken[shown]
                shown += 1
                if isinstance(partial, grpc.RpcError):
                    context.abort(partial.code(), partial.details())
                yield _translate(partial)
            if not told and _answers(url, check):
                told = True
                urls = isolate_proto.ServiceURLs(run=url, queue=url, playground=url)
                yield isolate_proto.HostedRunResult(service_urls=urls)
            elif told and check.call_regularly and time.monotonic() - asked > 0.5:
                asked = time.monotonic()
                failures = 0 if _answers(url, check) else failures + 1
                if failures >= max(1, check.failure_threshold):
                    server.end()
            if not told and limit and time.monotonic() - since > limit:
                context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "It was not ready in time")
            # The pace at which the service and its checks are looked at.
            time.sleep(0.01)

    # -- runners -----------------------------------------------------------------

    def StopRunner(self, request: Any, context: Any) -> Any:
        server = self._running.get(request.runner_id)
        if server is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "Runner not found")
        server.tell_agents()
        return isolate_proto.StopRunnerResponse()


def _translate(partial: Any) -> Any:
    state = isolate_proto.HostedRunStatus.State
    result = isolate_proto.HostedRunResult(logs=partial.logs)
    result.status.state = state.SUCCESS if partial.is_complete else state.IN_PROGRESS
    if partial.HasField("result"):
        result.return_value.CopyFrom(partial.result)
    return result


def _answers(url: str, check: Any) -> bool:
    import urllib.error
    import urllib.request

    try:
        if check.path:
            method = check.Method.Name(check.method)
            asked = urllib.request.Request(f"{url}{check.path}", method=method)
            urllib.request.urlopen(asked, timeout=1).close()
            return True
        host, _, port = url.removeprefix("http://").partition(":")
        socket.create_connection((host, int(port)), 0.2).close()
        return True
    except (OSError, urllib.error.HTTPError):
        return False


@contextlib.contextmanager
def serving(servicer: Any) -> Iterator[str]:
    """Serve *servicer* on this machine, and give its address."""
    from isolate_proto.configuration import GRPC_OPTIONS

    server = grpc.server(ThreadPoolExecutor(64), options=GRPC_OPTIONS)
    isolate_proto.register_controller(servicer, server)
    port = server.add_secure_port("127.0.0.1:0", grpc.local_server_credentials())
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()
