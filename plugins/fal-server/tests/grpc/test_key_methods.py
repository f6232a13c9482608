"""The gRPC methods for keys: what a new key may do, and whose it is."""

from __future__ import annotations

import uuid

import grpc
import pytest
from isolate_proto import (
    CreateUserKeyRequest,
    KeyPolicy,
    ListSecretsRequest,
    ListUserKeysRequest,
    RevokeUserKeyRequest,
)


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
    key = plane.make_key(alias=alias, **wanted)
    found = plane.call("ListUserKeys", ListUserKeysRequest()).user_keys
    (described,) = [each for each in found if each.alias == alias]
    assert described.scope == scope
    assert described.key_id == key.partition(":")[0]
    assert described.created_at.seconds > 1_600_000_000


def test_permissions_one_by_one(plane):
    """A key may have permissions of its own."""
    key = plane.make_key(policy=KeyPolicy(permissions=["serverless:secrets:read"]))
    assert plane.code_of("ListSecrets", ListSecretsRequest(), key=key) is grpc.StatusCode.OK
    assert (
        plane.code_of("ListUserKeys", ListUserKeysRequest(), key=key)
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
    """A key with permissions that cannot be granted is refused with a sentence."""
    request = CreateUserKeyRequest(**wanted)
    assert plane.code_of("CreateUserKey", request) is grpc.StatusCode.INVALID_ARGUMENT


def test_key_grants_only_its_own_permissions(plane):
    """A key can create only keys with permissions that it has itself."""
    narrow = plane.make_key(
        policy=KeyPolicy(permissions=["account:keys:write", "account:keys:read"])
    )
    request = CreateUserKeyRequest(policy_preset="FULL")
    assert (
        plane.code_of("CreateUserKey", request, key=narrow) is grpc.StatusCode.PERMISSION_DENIED
    )
    plane.make_key(key=narrow, policy=KeyPolicy(permissions=["account:keys:read"]))


def test_key_of_another_user_is_not_there(plane):
    """A user sees and revokes their own keys alone."""
    other = plane.add_user("stranger")
    request = RevokeUserKeyRequest(key_id=plane.key.partition(":")[0])
    assert plane.code_of("RevokeUserKey", request, key=other) is grpc.StatusCode.NOT_FOUND
    found = plane.call("ListUserKeys", ListUserKeysRequest(), key=other).user_keys
    assert [key.key_id for key in found] == [other.partition(":")[0]]
