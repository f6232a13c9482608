"""A service that records its requests, over gRPC and over HTTP."""

from __future__ import annotations

import contextlib
import json
import pickle
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import isolate_proto
from google.protobuf.timestamp_pb2 import Timestamp

MOMENT = datetime(2031, 2, 3, 4, 5, tzinfo=timezone.utc)


def moment() -> Timestamp:
    """Return :data:`MOMENT` as a message."""
    stamp = Timestamp()
    stamp.FromDatetime(MOMENT)
    return stamp


class Recorder(isolate_proto.IsolateControllerServicer):
    """
    A controller that records requests and answers like the hosted service.

    Attributes:
        asked: The method and the request of each call.

        unanswered: Methods that the credentials do not allow.

        failure: The status and details that it answers everything with, if any.

        returned: The result of entry points; an exception if *raised* is set.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str]] = []
        self.unanswered: set[str] = set()
        self.failure: tuple[grpc.StatusCode, str] | None = None
        self.returned: Any = {"openapi": {"paths": {"/look": {}}}}
        self.raised = False

    def last(self, rpc: str) -> Any:
        """Return the last request of *rpc*."""
        return next(request for name, request in reversed(self.asked) if name == rpc)

    def _note(self, rpc: str, request: Any, context: Any) -> None:
        self.asked.append((rpc, request))
        self.metadata.append(dict(context.invocation_metadata()))
        if self.failure is not None:
            context.abort(*self.failure)
        if rpc in self.unanswered:
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")

    # -- runs and deployments ------------------------------------------------------

    def Run(self, request: Any, context: Any) -> Iterator[Any]:
        self._note("Run", request, context)
        answer = isolate_proto.HostedRunResult(run_id="1")
        answer.status.state = isolate_proto.HostedRunStatus.State.INTERNAL_FAILURE
        if request.entrypoint:
            answer.status.state = isolate_proto.HostedRunStatus.State.SUCCESS
            answer.return_value.method = "pickle"
            answer.return_value.definition = pickle.dumps(self.returned)
            answer.return_value.was_it_raised = self.raised
            answer.return_value.exception_message = "no such module"
        yield answer

    def BuildEnvironment(self, request: Any, context: Any) -> Iterator[Any]:
        self._note("BuildEnvironment", request, context)
        log = isolate_proto.Log(message="Installing", level=isolate_proto.LogLevel.INFO)
        yield isolate_proto.BuildEnvironmentResult(logs=[log])
        answer = isolate_proto.BuildEnvironmentResult(env_id="e")
        answer.status.state = isolate_proto.HostedRunStatus.State.SUCCESS
        yield answer

    def RegisterApplication(self, request: Any, context: Any) -> Iterator[Any]:
        self._note("RegisterApplication", request, context)
        yield isolate_proto.RegisterApplicationResult(
            result=isolate_proto.RegisterApplicationResultType(application_id="rev-1"),
            service_urls=isolate_proto.ServiceURLs(
                playground="https://fal.test/models/me/app",
                run="https://run.fal.test/me/app",
                queue="https://queue.fal.test/me/app",
                ws="wss://ws.fal.test/me/app",
                log="https://fal.test/logs/rev-1",
            ),
        )

    # -- applications and runners ----------------------------------------------------

    def _alias(self, name: str = "app", **fields: Any) -> Any:
        return isolate_proto.AliasInfo(
            alias=name,
            revision="rev-1",
            auth_mode=isolate_proto.ApplicationAuthMode.SHARED,
            keep_alive=60,
            max_concurrency=4,
            max_multiplexing=2,
            active_runners=1,
            machine_types=["S"],
            valid_regions=["eu"],
            scaling_delay_seconds=3,
            **fields,
        )

    def _runner(self, **fields: Any) -> Any:
        runner = isolate_proto.RunnerInfo(
            runner_id="r-1",
            in_flight_requests=2,
            uptime=90.0,
            revision="rev-1",
            alias="app",
            machine_type="S",
            **fields,
        )
        runner.external_metadata.update({"present_in_group": True})
        return runner

    def ListAliases(self, request: Any, context: Any) -> Any:
        self._note("ListAliases", request, context)
        aliases = [self._alias("app"), self._alias("other", request_start_timeout=7)]
        return isolate_proto.ListAliasesResult(aliases=aliases)

    def UpdateApplication(self, request: Any, context: Any) -> Any:
        self._note("UpdateApplication", request, context)
        return isolate_proto.UpdateApplicationResult(alias_info=self._alias())

    def RolloutApplication(self, request: Any, context: Any) -> Any:
        self._note("RolloutApplication", request, context)
        return isolate_proto.RolloutApplicationResult()

    def ListAliasRunners(self, request: Any, context: Any) -> Any:
        self._note("ListAliasRunners", request, context)
        states = isolate_proto.RunnerInfo.State
        runners = [
            self._runner(state=states.RUNNING, expiration_countdown=5),
            self._runner(state=states.FAILURE_DELAY),
            self._runner(state=states.DEAD),
        ]
        return isolate_proto.ListAliasRunnersResponse(runners=runners)

    def ListRunners(self, request: Any, context: Any) -> Any:
        self._note("ListRunners", request, context)
        state = isolate_proto.RunnerInfo.State.IDLE
        return isolate_proto.ListRunnersResponse(runners=[self._runner(state=state)])

    def StopRunner(self, request: Any, context: Any) -> Any:
        self._note("StopRunner", request, context)
        return isolate_proto.StopRunnerResponse()

    def KillRunner(self, request: Any, context: Any) -> Any:
        self._note("KillRunner", request, context)
        return isolate_proto.KillRunnerResponse()

    # -- keys, secrets and environments ------------------------------------------------

    def CreateUserKey(self, request: Any, context: Any) -> Any:
        self._note("CreateUserKey", request, context)
        return isolate_proto.CreateUserKeyResponse(key_id="k", key_secret="s3cret")

    def ListUserKeys(self, request: Any, context: Any) -> Any:
        self._note("ListUserKeys", request, context)
        scopes = isolate_proto.CreateUserKeyRequest.Scope
        keys = [
            isolate_proto.UserKeyInfo(
                key_id="k", created_at=moment(), scope=scopes.API, alias="mine"
            )
        ]
        return isolate_proto.ListUserKeysResponse(user_keys=keys)

    def RevokeUserKey(self, request: Any, context: Any) -> Any:
        self._note("RevokeUserKey", request, context)
        return isolate_proto.RevokeUserKeyResponse()

    def SetSecret(self, request: Any, context: Any) -> Any:
        self._note("SetSecret", request, context)
        return isolate_proto.SetSecretResponse()

    def ListSecrets(self, request: Any, context: Any) -> Any:
        self._note("ListSecrets", request, context)
        secret = isolate_proto.Secret(name="TOKEN", created_time=moment())
        return isolate_proto.ListSecretsResponse(secrets=[secret])

    def ListEnvironments(self, request: Any, context: Any) -> Any:
        self._note("ListEnvironments", request, context)
        main = isolate_proto.EnvironmentInfo(name="main", is_default=True, created_at=moment())
        return isolate_proto.ListEnvironmentsResponse(environments=[main])

    def CreateEnvironment(self, request: Any, context: Any) -> Any:
        self._note("CreateEnvironment", request, context)
        made = isolate_proto.EnvironmentInfo(
            name=request.name, description=request.description, created_at=moment()
        )
        return isolate_proto.CreateEnvironmentResponse(environment=made)

    def DeleteEnvironment(self, request: Any, context: Any) -> Any:
        self._note("DeleteEnvironment", request, context)
        return isolate_proto.DeleteEnvironmentResponse()


class RestRecorder:
    """The REST service: it keeps files by their hashes, and uploads by their names."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.files: dict[str, bytes] = {}
        self.facts: dict[str, Any] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.stored: dict[str, bytes] = {}
        self.queues: dict[str, int] = {"me/app": 3}
        self.failing: set[str] = set()
        self.address = ""
        #: What it says that it can do.
        self.abilities = ""
        #: The bodies of requests to its queue, and how many more of them fail.
        self.submitted: list[Any] = []
        self.failures = 0
        #: How many connections it has accepted.
        self.connections = 0
        #: The nickname of the account that asks.
        self.nickname = "me"

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Return the status and the body of an answer."""
        self.asked.append((method, path))
        if any(path.startswith(each) for each in self.failing):
            return 422, {"detail": "no"}
        words = path.partition("?")[0].strip("/").split("/")
        if words == ["users", "current"]:
            return 200, {"user_id": "github|7", "nickname": self.nickname, "full_name": "Me"}
        if words == ["users", "teams"]:
            named = {"me": "github|7", "Acme": "team|1", "other": "team|2"}
            return 200, [{"nickname": name, "user_id": id} for name, id in named.items()]
        if words == ["files", "missing_hashes"]:
            hashes = json.loads(body)["hashes"]
            return 200, [each for each in hashes if each not in self.files]
        if words[:3] == ["files", "app", "multipart"]:
            return self._multipart(words[3], words[4:], body)
        if words[:2] == ["storage", "upload"]:
            name = json.loads(body)["file_name"]
            url = f"http://{self.address}/stored/{name}"
            return 200, {"file_url": url, "upload_url": url}
        if words[0] == "stored":
            if method == "GET":
                return (200, {}) if words[1] in self.stored else (404, {"detail": "not there"})
            self.stored[words[1]] = body
            return 200, {}
        if words[0] == "applications":
            name = "/".join(words[1:3])
            if name not in self.queues:
                return 404, {"detail": f"Application {name} was not found."}
            if method == "DELETE":
                self.queues[name] = 0
            return 200, {"size": self.queues[name]}
        if words[1:2] == ["app"] or words[1:2] == ["app--staging"]:
            return self._submit(body)
        return 404, {"detail": "not found"}

    def _submit(self, body: bytes) -> tuple[int, Any]:
        if self.failures:
            self.failures -= 1
            return 503, {"detail": "not now"}
        self.submitted.append(json.loads(body))
        url = f"http://{self.address}/me/app/requests/r1"
        urls = {"status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}
        return 200, {"request_id": "r1", "response_url": url, **urls}

    def _multipart(self, digest: str, rest: list[str], body: bytes) -> tuple[int, Any]:
        parts = self.parts.setdefault(digest, {})
        if rest == ["initiate"]:
            self.facts[digest] = json.loads(body)
            return 200, {"upload_id": "u"}
        if rest[1:] == ["complete"]:
            self.files[digest] = b"".join(parts[number] for number in sorted(parts))
            return 200, {}
        if rest[1:] == ["cancel"]:
            return 200, {}
        # The one field of the form, without its head and its end.
        content = body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]
        parts[int(rest[1])] = content
        return 200, {"part_number": int(rest[1]), "etag": f"e{rest[1]}"}


@contextlib.contextmanager
def serving_rest(rest: RestRecorder) -> Iterator[str]:
    """Serve *rest* on this machine, and give its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            super().setup()
            rest.connections += 1

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            rest.headers.append(dict(self.headers))
            status, answer = rest.answer(self.command, self.path, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            if self.path == "/health" and rest.abilities:
                self.send_header("Fal-Core-Abilities", rest.abilities)
            if status == 200 and "Idempotency-Key" in self.headers:
                self.send_header("Idempotent-Replayed", "true")
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_DELETE = handle_any

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    # It looks this often, in seconds, whether it is to end.
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    rest.address = f"127.0.0.1:{server.server_port}"
    try:
        yield rest.address
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
