"""
The gRPC service: what it refuses before a method is called, and what it logs of that.
"""

from __future__ import annotations

import logging

import grpc
import pytest
from isolate_proto import (
    ListUserKeysRequest,
    ShellRunnerInput,
)
from isolate_proto.controller_pb2_grpc import IsolateControllerStub


def test_unknown_procedure_is_unimplemented(plane):
    """
    A procedure that the server does not have is UNIMPLEMENTED for an authenticated caller.
    """
    with grpc.insecure_channel(plane.address) as channel:
        id, _, secret = plane.key.partition(":")
        call = IsolateControllerStub(channel).ShellRunner(
            iter([ShellRunnerInput()]), metadata=(("auth-key-id", id), ("auth-key", secret))
        )
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_unreadable_message_is_refused(plane):
    """
    An unreadable message is refused, after its sender has been authenticated.
    """
    with grpc.insecure_channel(plane.address) as channel:
        call = channel.unary_unary("/controller.IsolateController/ListSecrets")
        for key, code in [
            (plane.key, grpc.StatusCode.INVALID_ARGUMENT),
            ("a:b", grpc.StatusCode.UNAUTHENTICATED),
        ]:
            id, _, secret = key.partition(":")
            with pytest.raises(grpc.RpcError) as caught:
                call(b"\xff" * 100, metadata=(("auth-key-id", id), ("auth-key", secret)))
            assert caught.value.code() is code


def test_refusals_are_logged_without_secrets(plane, caplog):
    """
    The log says who was refused and why, and never shows a secret.
    """
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
