"""The gRPC methods for keys."""

from __future__ import annotations

import sqlalchemy as sa
from isolate_proto import (
    CreateUserKeyRequest,
    CreateUserKeyResponse,
    ListUserKeysRequest,
    ListUserKeysResponse,
    RevokeUserKeyRequest,
    RevokeUserKeyResponse,
    UserKeyInfo,
)

from fal_server.access.callers import Caller
from fal_server.access.identities import CallerIdentity
from fal_server.access.permissions import PRESETS, permissions_of
from fal_server.errors import Forbidden, Invalid
from fal_server.grpc.messages import to_timestamp
from fal_server.state.databases import Database
from fal_server.store.keys import Key, list_keys

#: The longest alias of a key, in characters.
_LONGEST_ALIAS = 200


class KeyMethods:
    """The methods for keys."""

    def __init__(self, database: Database, identity: CallerIdentity) -> None:
        self._database = database
        self._identity = identity

    async def CreateUserKey(
        self, request: CreateUserKeyRequest, caller: Caller
    ) -> CreateUserKeyResponse:
        """Create a key, with at most the permissions of the caller's key."""
        preset, named = _wanted(request)
        granted = permissions_of(preset, named)
        if not granted <= caller.permissions:
            more = ", ".join(sorted(granted - caller.permissions))
            raise Forbidden(f"Insufficient permissions: this key may not grant {more}.")
        if len(request.alias) > _LONGEST_ALIAS:
            raise Invalid(f"The alias of a key has at most {_LONGEST_ALIAS} characters.")
        key = await self._identity.create_key(
            caller.user_id, preset=preset, permissions=granted, alias=request.alias
        )
        return CreateUserKeyResponse(key_id=key.id, key_secret=key.secret)

    async def ListUserKeys(
        self, request: ListUserKeysRequest, caller: Caller
    ) -> ListUserKeysResponse:
        """Return the keys of the account, without their secrets."""

        def read(connection: sa.Connection) -> list[UserKeyInfo]:
            return [_describe(key) for key in list_keys(connection, caller.user_id)]

        return ListUserKeysResponse(user_keys=await self._database.read(read))

    async def RevokeUserKey(
        self, request: RevokeUserKeyRequest, caller: Caller
    ) -> RevokeUserKeyResponse:
        """Revoke a key of the account; it may be the caller's own."""
        await self._identity.revoke_key(caller.user_id, request.key_id)
        return RevokeUserKeyResponse()


def _wanted(request: CreateUserKeyRequest) -> tuple[str, frozenset[str]]:
    """
    Return the preset and the permissions that a request asks for; one of them is empty.

    Clients that do not know presets send a scope, or nothing for full access.
    """
    named = frozenset(request.policy.permissions)
    if request.HasField("policy"):
        if request.policy_preset:
            raise Invalid("A key has a preset or permissions of its own, not both.")
        return "", named
    if request.policy_preset:
        return request.policy_preset.upper(), frozenset()
    old = request.scope if request.HasField("scope") else CreateUserKeyRequest.Scope.ADMIN
    return ("API" if old == CreateUserKeyRequest.Scope.API else "FULL"), frozenset()


def _describe(key: Key) -> UserKeyInfo:
    everything = key.permissions >= PRESETS["FULL"]
    scope = CreateUserKeyRequest.Scope.ADMIN if everything else CreateUserKeyRequest.Scope.API
    created = to_timestamp(key.created_at)
    return UserKeyInfo(key_id=key.id, created_at=created, scope=scope, alias=key.alias)
