"""Identities: which keys are accepted, and which are not any more."""

from __future__ import annotations

import itertools

import grpc
import isolate_proto
import pytest
from isolate_proto import (
    ListUserKeysRequest,
    RevokeUserKeyRequest,
)
from isolate_proto.controller_pb2_grpc import IsolateControllerStub
from programs import to_metadata

from fal_server.access.permissions import PROCEDURES
from fal_server.grpc.service import SERVICE


def read(call, sent, metadata, *, stream: bool):
    answer = call(sent, metadata=metadata, timeout=30)
    return list(answer) if stream else answer


def test_invalid_credentials_are_refused(plane, check_all):
    """Without a key, with an unknown one, and with a wrong secret, nothing is answered."""
    keys = ("", "a:b", f"{plane.key.partition(':')[0]}:wrong")

    def check(row):
        name, key = row
        method = SERVICE.methods_by_name[name]
        metadata = to_metadata(key) if key else ()
        with grpc.insecure_channel(plane.address) as channel:
            call = getattr(IsolateControllerStub(channel), name)
            request = getattr(isolate_proto, method.input_type.name)()
            sent = iter([request]) if method.client_streaming else request
            with pytest.raises(grpc.RpcError) as caught:
                read(call, sent, metadata, stream=method.server_streaming)
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED

    check_all(check, itertools.product(sorted(PROCEDURES), keys))


def test_revoked_key_is_refused_at_once(plane):
    """The next call after a key is revoked is refused, by gRPC and by HTTP."""
    key = plane.make_key()
    with plane.client(key) as client:
        assert client.get("/users/current").status_code == 200
        plane.call("RevokeUserKey", RevokeUserKeyRequest(key_id=key.partition(":")[0]))
        assert client.get("/users/current").status_code == 401
    assert (
        plane.code_of("ListUserKeys", ListUserKeysRequest(), key=key)
        is grpc.StatusCode.UNAUTHENTICATED
    )
