"""The gRPC service: what it refuses before a method is called, and what becomes of errors."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from isolate_proto import (
    HostedMap,
    HostedRun,
    HostedRunResult,
    ListSecretsRequest,
    ListSecretsResponse,
    ListUserKeysRequest,
    RegisterApplicationRequest,
)
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from polling import PATIENCE
from programs import to_metadata

from fal_server.access.callers import Caller
from fal_server.errors import StorageFull
from fal_server.grpc import service as service_module
from fal_server.grpc.service import Controller
from fal_server.limits import Limits
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.listeners.open_connections import OpenConnection
from fal_server.telemetry.server_metrics import ServerMetrics


@pytest.mark.parametrize(
    "method", ["/controller.IsolateController/Newer", "/grpc.health.v1.Health/Check"]
)
def test_method_of_another_protocol_is_unimplemented(plane, method):
    """
    A method that the protocol does not have is UNIMPLEMENTED, with a sentence that names it,
    whatever it sends and receives.
    """
    with grpc.insecure_channel(plane.address) as channel:
        calls = [
            lambda: channel.unary_unary(method)(b"\xff"),
            lambda: [*channel.stream_stream(method)(iter([b"a", b"b"]))],
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
            assert f"does not have the procedure {method}" in caught.value.details()


def test_unreadable_message_is_refused(plane):
    """An unreadable message is refused, after its sender has been authenticated."""
    with grpc.insecure_channel(plane.address) as channel:
        call = channel.unary_unary("/controller.IsolateController/ListSecrets")
        for key, code in [
            (plane.key, grpc.StatusCode.INVALID_ARGUMENT),
            ("a:b", grpc.StatusCode.UNAUTHENTICATED),
        ]:
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\xff" * 100, metadata=to_metadata(key))
            assert caught.value.code() is code


def test_choice_that_there_is_not_is_refused(plane):
    """A way to authorise callers that there is not is refused, with those that there are."""
    request = RegisterApplicationRequest(application_name="app", auth_mode=7)
    with pytest.raises(grpc.RpcError, match="PRIVATE, PUBLIC, SHARED") as caught:
        list(plane.stream("RegisterApplication", request))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("is_silent", "sentence"), [(True, "within 0.1 s"), (False, "has no message")]
)
def test_call_without_its_message_is_refused(plane, monkeypatch, is_silent, sentence):
    """A call whose only message does not come keeps its place among the calls for a while."""
    monkeypatch.setattr(service_module, "_LONGEST_READ", 0.1 if is_silent else 60.0)
    ended = threading.Event()

    def no_message() -> Iterator[bytes]:
        if is_silent:
            ended.wait(60)
        yield from ()

    with grpc.insecure_channel(plane.address) as channel:
        call = channel.stream_stream("/controller.IsolateController/ListSecrets")
        messages = call(no_message(), metadata=to_metadata(plane.key))
        with pytest.raises(grpc.RpcError) as caught:
            list(messages)
        ended.set()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in str(caught.value.details())


def test_refusals_are_logged_without_secrets(plane, caplog):
    """The log says who was refused and why, and never shows a secret."""
    caplog.set_level(logging.DEBUG)
    wrong = f"{plane.key.partition(':')[0]}:very-wrong-secret"
    plane.code_of("ListUserKeys", ListUserKeysRequest(), key=wrong)
    with plane.client(wrong) as client:
        answer = client.get("/users/current")
    assert answer.status_code == 401
    told = caplog.text + answer.text
    assert "ListUserKeys refused: Unauthenticated" in caplog.text
    assert "GET /users/current refused: Unauthenticated" in caplog.text
    assert "very-wrong-secret" not in told
    assert plane.key.partition(":")[2] not in told


def test_refused_keys_do_not_fill_the_log(service: Served, caplog):
    """Of calls without a valid key the log has a few, whoever makes how many."""
    caplog.set_level(logging.WARNING)
    with service.stub() as stub:
        for _ in range(30):
            with pytest.raises(grpc.RpcError):
                stub.ListSecrets(ListSecretsRequest(), metadata=to_metadata("a:b"))
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == service_module._MOST_TOLD
    assert lines[-1].endswith("more are not logged for a minute.")


class Methods:
    """Two methods of the service, which do what their request says."""

    def __init__(self) -> None:
        self.callers: list[Caller] = []
        self.begun, self.closed = threading.Event(), threading.Event()

    async def ListSecrets(self, request: ListSecretsRequest, caller: Caller) -> Any:
        self.callers.append(caller)
        self._fail(request.environment_name)
        return ListSecretsResponse()

    async def Run(self, request: HostedRun, caller: Caller) -> AsyncIterator[HostedRunResult]:
        yield HostedRunResult(run_id="begun")
        self._fail(request.application_name)
        try:
            self.begun.set()
            await asyncio.Event().wait()
        finally:
            self.closed.set()

    def _fail(self, name: str) -> None:
        if name == "refused":
            raise StorageFull("The disk is full.")
        if name == "broken":
            raise LookupError("SECRET")


class Served:
    """A service of `Methods` alone, beside that of the plane and with its callers."""

    def __init__(self, plane: Any) -> None:
        self.plane = plane
        self.metrics = ServerMetrics()
        self.methods = Methods()
        plane.run(self._start())

    async def _start(self) -> None:
        controller = Controller(self.plane.plane.identity, self.metrics, self.methods)
        self.server = GrpcServer(controller.answer, Limits())
        self.listener = await asyncio.get_running_loop().create_server(
            lambda: self.server.connect(OpenConnection()), "127.0.0.1", 0
        )
        self.port = self.listener.sockets[0].getsockname()[1]

    def close(self) -> None:
        async def stop() -> None:
            self.listener.close()
            await self.server.close(PATIENCE)

        self.plane.run(stop())

    @contextlib.contextmanager
    def stub(self) -> Iterator[IsolateControllerStub]:
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            yield IsolateControllerStub(channel)

    def metadata(self, **more: str) -> tuple[tuple[str, str], ...]:
        return (*to_metadata(self.plane.key), *more.items())

    def count(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(f"fal_server_{name}", labels)


@pytest.fixture
def service(plane: Any) -> Iterator[Served]:
    """A service of two methods."""
    served = Served(plane)
    yield served
    served.close()


def test_method_that_no_object_has_is_unimplemented(service: Served):
    """A method of the protocol that the service does not have is UNIMPLEMENTED for who has a key."""
    key = service.metadata()
    with service.stub() as stub:
        calls: list[Callable[[], Any]] = [
            lambda: stub.ListUserKeys(ListUserKeysRequest(), metadata=key),
            lambda: list(stub.Map(HostedMap(), metadata=key)),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError, match="does not have") as caught:
                call()
            assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize(
    ("name", "code", "sentence"),
    [
        ("refused", grpc.StatusCode.RESOURCE_EXHAUSTED, "The disk is full."),
        ("broken", grpc.StatusCode.INTERNAL, "An internal error occurred."),
    ],
)
def test_error_of_a_method_has_a_status(service: Served, caplog, name, code, sentence):
    """
    A refusal has its status and its sentence. Of any other error a client gets nothing, and
    the log all; both are counted.
    """
    with service.stub() as stub:
        calls: list[Callable[[], Any]] = [
            lambda: stub.ListSecrets(
                ListSecretsRequest(environment_name=name), metadata=service.metadata()
            ),
            lambda: list(
                stub.Run(HostedRun(application_name=name), metadata=service.metadata())
            ),
        ]
        for call in calls:
            with pytest.raises(grpc.RpcError) as caught:
                call()
            assert (caught.value.code(), caught.value.details()) == (code, sentence)
    for procedure in ("ListSecrets", "Run"):
        assert service.count("procedures_total", procedure=procedure, code=code.name) == 1
    assert ("LookupError: SECRET" in caplog.text) is (name == "broken")
    assert service.count("streams") == 0


def test_method_knows_its_caller(service: Served):
    """
    A method gets the caller with the trace and the kind of the client; the server names
    itself before it answers.
    """
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with service.stub() as stub:
        for more in ({}, {"fal-core-client": "1", "traceparent": trace}):
            _, call = stub.ListSecrets.with_call(
                ListSecretsRequest(), metadata=service.metadata(**more)
            )
            assert "fal-core-server" in dict(call.initial_metadata())
    plain, core = service.methods.callers
    assert (plain.nickname, plain.is_core, plain.trace) == ("owner", False, {})
    assert core.is_core
    assert trace in core.trace.values()
    assert service.count("procedures_total", procedure="ListSecrets", code="OK") == 2


def test_client_that_goes_ends_its_stream(service: Served, settle):
    """A stream whose client has gone is closed, and no longer counted as open."""
    with service.stub() as stub:
        messages = stub.Run(HostedRun(), metadata=service.metadata())
        assert next(messages).run_id == "begun"
        assert service.methods.begun.wait(60)
        assert service.count("streams") == 1
        messages.cancel()
        assert service.methods.closed.wait(60)
    settle(lambda: service.count("streams") == 0)
