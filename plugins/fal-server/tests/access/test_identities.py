"""
Keys: which calls they allow, and which they do not.
"""

from __future__ import annotations

import logging
import uuid

import grpc
import isolate_proto
import pytest
from isolate_proto import (
    CreateUserKeyRequest,
    KeyPolicy,
    ListSecretsRequest,
    ListUserKeysRequest,
    RevokeUserKeyRequest,
    SetSecretRequest,
    ShellRunnerInput,
)
from isolate_proto.controller_pb2_grpc import IsolateControllerStub

from fal_server.access.permissions import PERMISSIONS, PRESETS, PROCEDURES
from fal_server.grpc.service import SERVICE


def code_of(plane, name, request, key) -> grpc.StatusCode:
    try:
        plane.call(name, request, key=key)
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def read(call, sent, metadata, *, stream: bool):
    answer = call(sent, metadata=metadata, timeout=30)
    return list(answer) if stream else answer


def make_key(plane, key=None, **wanted) -> str:
    made = plane.call("CreateUserKey", CreateUserKeyRequest(**wanted), key=key)
    return f"{made.key_id}:{made.key_secret}"


def test_every_procedure_asks_for_a_permission():
    """
    No procedure of the protocol is without a permission that there is.
    """
    assert set(PROCEDURES) == {method.name for method in SERVICE.methods}
    assert set(PROCEDURES.values()) <= set(PERMISSIONS)
    assert set().union(*PRESETS.values()) <= set(PERMISSIONS)


@pytest.mark.parametrize("name", sorted(PROCEDURES))
@pytest.mark.parametrize("key", ["", "a:b", "owner-id:wrong"], ids=["none", "unknown", "wrong"])
def test_invalid_credentials_are_refused(plane, name, key):
    """
    Without a key, with an unknown one, and with a wrong secret, nothing is answered.
    """
    method = SERVICE.methods_by_name[name]
    key = key.replace("owner-id", plane.key.partition(":")[0])
    id, _, secret = key.partition(":")
    metadata = (("auth-key-id", id), ("auth-key", secret)) if key else ()
    with grpc.insecure_channel(plane.address) as channel:
        call = getattr(IsolateControllerStub(channel), name)
        request = getattr(isolate_proto, method.input_type.name)()
        sent = iter([request]) if method.client_streaming else request
        with pytest.raises(grpc.RpcError) as caught:
            read(call, sent, metadata, stream=method.server_streaming)
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_preset_allows_what_it_says(plane, preset):
    """
    A key of a preset may call the procedures of its permissions, and no other.
    """
    key = make_key(plane, policy_preset=preset)
    for name, request in [
        ("ListUserKeys", ListUserKeysRequest()),
        ("ListSecrets", ListSecretsRequest()),
        ("SetSecret", SetSecretRequest(name="A", value="1")),
    ]:
        allowed = PROCEDURES[name] in PRESETS[preset]
        expected = grpc.StatusCode.OK if allowed else grpc.StatusCode.PERMISSION_DENIED
        assert code_of(plane, name, request, key) is expected, name


@pytest.mark.parametrize(
    ("wanted", "scope"),
    [
        ({}, CreateUserKeyRequest.Scope.ADMIN),
        ({"scope": CreateUserKeyRequest.Scope.ADMIN}, CreateUserKeyRequest.Scope.ADMIN),
        ({"scope": CreateUserKeyRequest.Scope.API}, CreateUserKeyRequest.Scope.API),
        ({"policy_preset": "DEPLOY"}, CreateUserKeyRequest.Scope.API),
    ],
)
def test_scopes_of_older_clients(plane, wanted, scope):
    """
    A key that is requested with a scope of older clients, or with nothing, gets the
    matching preset.
    """
    alias = uuid.uuid4().hex
    key = make_key(plane, alias=alias, **wanted)
    found = plane.call("ListUserKeys", ListUserKeysRequest()).user_keys
    (described,) = [each for each in found if each.alias == alias]
    assert described.scope == scope
    assert described.key_id == key.partition(":")[0]
    assert described.created_at.seconds > 1_600_000_000


def test_permissions_one_by_one(plane):
    """
    A key may have permissions of its own.
    """
    key = make_key(plane, policy=KeyPolicy(permissions=["serverless:secrets:read"]))
    assert code_of(plane, "ListSecrets", ListSecretsRequest(), key) is grpc.StatusCode.OK
    assert (
        code_of(plane, "ListUserKeys", ListUserKeysRequest(), key)
        is grpc.StatusCode.PERMISSION_DENIED
    )


@pytest.mark.parametrize(
    "wanted",
    [
        {"policy_preset": "ROOT"},
        {"policy": KeyPolicy(permissions=["serverless:everything:do"])},
        {"policy": KeyPolicy()},
        {"policy": KeyPolicy(permissions=["account:keys:read"]), "policy_preset": "API"},
        {"alias": "x" * 300},
    ],
    ids=["preset", "permission", "nothing", "both", "alias"],
)
def test_invalid_permissions_are_refused(plane, wanted):
    """
    A key with permissions that cannot be granted is refused with a sentence.
    """
    request = CreateUserKeyRequest(**wanted)
    assert code_of(plane, "CreateUserKey", request, None) is grpc.StatusCode.INVALID_ARGUMENT


def test_key_grants_only_its_own_permissions(plane):
    """
    A key can create only keys with permissions that it has itself.
    """
    narrow = make_key(
        plane, policy=KeyPolicy(permissions=["account:keys:write", "account:keys:read"])
    )
    request = CreateUserKeyRequest(policy_preset="FULL")
    assert code_of(plane, "CreateUserKey", request, narrow) is grpc.StatusCode.PERMISSION_DENIED
    make_key(plane, key=narrow, policy=KeyPolicy(permissions=["account:keys:read"]))


def test_revoked_key_is_refused_at_once(plane):
    """
    The next call after a key is revoked is refused, by gRPC and by HTTP.
    """
    key = make_key(plane)
    with plane.client(key) as client:
        assert client.get("/users/current").status_code == 200
        plane.call("RevokeUserKey", RevokeUserKeyRequest(key_id=key.partition(":")[0]))
        assert client.get("/users/current").status_code == 401
    assert (
        code_of(plane, "ListUserKeys", ListUserKeysRequest(), key)
        is grpc.StatusCode.UNAUTHENTICATED
    )


def test_key_of_another_user_is_not_there(plane):
    """
    A user sees and revokes their own keys alone.
    """
    other = plane.add_user("stranger")
    request = RevokeUserKeyRequest(key_id=plane.key.partition(":")[0])
    assert code_of(plane, "RevokeUserKey", request, other) is grpc.StatusCode.NOT_FOUND
    found = plane.call("ListUserKeys", ListUserKeysRequest(), key=other).user_keys
    assert [key.key_id for key in found] == [other.partition(":")[0]]


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
    code_of(plane, "ListUserKeys", ListUserKeysRequest(), wrong)
    with plane.client(wrong) as client:
        answer = client.get("/users/current")
    assert answer.status_code == 401
    told = caplog.text + answer.text
    assert "ListUserKeys refused: Unauthenticated" in caplog.text
    assert "GET /users/current refused: Unauthenticated" in caplog.text
    assert "very-wrong-secret" not in told
    assert plane.key.partition(":")[2] not in told


def test_no_secret_is_stored_in_plain_text(plane):
    """
    The database has no secret of a key, and no secret of a user.
    """
    secret = make_key(plane).partition(":")[2]
    value = "kept-by-nobody-in-plain-text"
    plane.call("SetSecret", SetSecretRequest(name="QUIET", value=value))
    for path in plane.directory.path.glob("state.db*"):
        content = path.read_bytes()
        assert secret.encode() not in content
        assert value.encode() not in content
