"""Identities: the authentication of requests."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import time
from collections.abc import Collection, Mapping
from typing import Any, TypeAlias

import attrs
import sqlalchemy as sa

from fal_server.access.callers import Caller
from fal_server.access.dev_keys import check_sender
from fal_server.access.permissions import granted, permissions_of
from fal_server.access.revocations import Revocations
from fal_server.access.runner_keys import RunnerKeys
from fal_server.access.tokens import Tokens
from fal_server.errors import Forbidden, NotFound, Unauthenticated
from fal_server.state.databases import Database
from fal_server.store.accounts import Account, find_account, is_member
from fal_server.store.keys import (
    Key,
    NewKey,
    find_with_accounts,
    make_key,
    note_used,
    revoke_key,
)

#: Seconds for which a key is cached. A key that the command line revokes, in another
#: process, is accepted for so long; one that the server revokes is refused at once.
REMEMBERED = 2.0

#: The form of the id of a key.
_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")

#: The purpose of the tokens of users who have logged in. A key that nobody has the secret
#: of stands for each login, and is revoked to end it.
LOGIN = "login"

#: The purpose of the token that a client shows to end its login, and that is good for nothing
#: else: clients may send it to the service that they were made for.
LOGOUT = "logout"

#: The purposes of short-lived tokens for calling some applications, for uploading, and for
#: the page on which an application is tried.
REQUESTS, UPLOADS, PLAYGROUND = "requests", "uploads", "playground"

#: What a token for such a purpose may do at most.
_LIMITED = {
    REQUESTS: frozenset({"models:requests:submit"}),
    UPLOADS: frozenset({"storage:files:write"}),
    PLAYGROUND: frozenset({"models:requests:submit", "models:requests:read"}),
}

#: The most keys that are cached.
_MANY = 4096


@attrs.frozen
class ShownKey:
    """The key in the headers of a request."""

    id: str
    secret: str = attrs.field(repr=False)


class CallerIdentity:
    """
    Authenticates requests by keys and tokens.

    Attributes:
        tokens: Issues and verifies tokens.

        runner_keys: The keys of live runners.

        lookups: Finds keys, and is closed before the database.

        revocations: Ends streams and websockets whose key is revoked.

        dev_key: A key that everybody knows, on a server for one developer. None elsewhere.
    """

    def __init__(self, database: Database, tokens: Tokens, runner_keys: RunnerKeys) -> None:
        self._database = database
        self.lookups = KeyLookups(database)
        self.tokens = tokens
        self.runner_keys = runner_keys
        self.revocations = Revocations(self.is_valid, REMEMBERED / 2)
        self.dev_key: Key | None = None
        self._known: dict[str, tuple[float, Key, Account]] = {}
        self._revoked = 0
        self._used: dict[str, float] = {}

    async def authenticate(self, headers: Mapping[str, str]) -> Caller:
        """
        Return the caller with these *headers*, which are the metadata of gRPC.

        Raises:
            Unauthenticated: They have no valid key or token.

            Forbidden: They name a team that the user of the token is not a member of.
        """
        token = _shown_token(headers)
        if token is not None:
            return await self._authenticate_user(token, headers.get("fal-user-id"))
        shown = shown_key(headers)
        if shown is None:
            raise Unauthenticated("A key is required. Set FAL_KEY to 'ID:SECRET'.")
        known = _ID.fullmatch(shown.id) is not None
        key, account = await self._find(shown.id) if known else (None, None)
        if key is None or account is None or not key.opens_with(shown.secret):
            raise Unauthenticated("The key is not valid.")
        if key.revoked_at is not None:
            raise Unauthenticated("The key was revoked.")
        if not self.runner_keys.made(key.id):
            self._used[key.id] = time.time()
        return Caller(
            user_id=account.id,
            nickname=account.nickname,
            permissions=key.permissions,
            key_id=key.id,
        )

    async def authenticate_http(self, headers: Mapping[str, str]) -> Caller:
        """
        Return the caller with these *headers* of HTTP, where a key can only stand in
        ``Authorization``.

        Arguments:
            headers: A mapping with case-insensitive names.

        Raises:
            Unauthenticated: They have no valid key or token.

            Forbidden: They name a team that the user of the token is not a member of.
        """
        shown = {"authorization": headers.get("Authorization", "")}
        if team := headers.get("X-Fal-User-Id"):
            shown["fal-user-id"] = team
        caller = await self.authenticate(shown)
        if self.dev_key is not None and caller.key_id == self.dev_key.id:
            check_sender(headers)
        return caller

    async def open_token(self, purpose: str | Collection[str], token: str) -> Mapping[str, Any]:
        """
        Return the claims of a token, whose key is still valid.

        Raises:
            Unauthenticated: The token is not valid, has expired, is for another *purpose*,
                or its key was revoked.
        """
        claims = self.tokens.open(purpose, token)
        await self._find_maker(claims)
        return claims

    async def _authenticate_user(self, token: str, team_id: str | None) -> Caller:
        claims = self.tokens.open((LOGIN, *_LIMITED), token)
        maker = await self._find_maker(claims)
        limited = _LIMITED.get(claims["aud"])
        # A token for one purpose acts only for the account that has issued it.
        wanted = str(claims["sub"] if limited is not None or team_id is None else team_id)

        def find(connection: sa.Connection) -> Account:
            account = find_account(connection, id=wanted)
            if account is None or not (
                wanted == maker.account_id or is_member(connection, wanted, maker.account_id)
            ):
                raise Forbidden("The user is not a member of this team.")
            return account

        account = await self._database.read(find)
        if limited is None:
            permissions, applications = maker.permissions, None
        else:
            permissions = limited & maker.permissions
            applications = frozenset(
                (owner, alias)
                for owner, aliases in claims.get("apps", {}).items()
                for alias in aliases
            )
        return Caller(
            user_id=account.id,
            nickname=account.nickname,
            permissions=permissions,
            key_id=maker.id,
            purpose=claims["aud"],
            applications=applications,
        )

    async def _find_maker(self, claims: Mapping[str, Any]) -> Key:
        """
        Return the key that made the token with these *claims*.

        Raises:
            Unauthenticated: It is not valid any more.
        """
        key, _ = await self._find(str(claims["key"]))
        if key is None or key.revoked_at is not None:
            raise Unauthenticated("The key that made the token was revoked.")
        return key

    async def create_key(
        self,
        account_id: str,
        *,
        preset: str = "",
        permissions: frozenset[str] = frozenset(),
        alias: str = "",
    ) -> NewKey:
        """
        Create a key of an account, with a *preset* or with *permissions*.

        Raises:
            Invalid: There is no such preset or permission.
        """
        allowed = permissions_of(preset, permissions)

        def make(connection: sa.Connection) -> NewKey:
            return make_key(connection, account_id, allowed, preset=preset, alias=alias)

        return await self._database.write(make)

    async def revoke_key(self, account_id: str, id: str) -> None:
        """
        Revoke a key of an account, at once.

        Raises:
            NotFound: The account has no such key.
        """
        await self._database.write(lambda connection: revoke_key(connection, account_id, id))
        # A read that is under way may still return the key as valid.
        self._revoked += 1
        self._known.pop(id, None)
        self.revocations.end(id)

    async def store_uses(self) -> None:
        """Store when keys were used since the last time."""
        used, self._used = self._used, {}
        if used:
            await self._database.write(lambda connection: note_used(connection, used))

    async def log_out(self, token: str) -> None:
        """End the login of a user, by the token for that. Nothing is done for another token."""
        with contextlib.suppress(Unauthenticated, NotFound):
            claims = await self.open_token(LOGOUT, token)
            await self.revoke_key(str(claims["sub"]), str(claims["key"]))

    async def is_valid(self, key_id: str) -> bool:
        """Return whether there is a key with this id that was not revoked."""
        key, _ = await self._find(key_id)
        return key is not None and key.revoked_at is None

    async def _find(self, id: str) -> tuple[Key | None, Account | None]:
        given = self.dev_key
        if given is None or given.id != id:
            given = self.runner_keys.find(id)
        if given is not None:
            owner = given.account_id
            return given, await self._database.read(lambda it: find_account(it, id=owner))
        known = self._known.get(id)
        now, revoked = time.monotonic(), self._revoked
        if known is not None and now - known[0] < REMEMBERED:
            return known[1:]
        key, account = await self.lookups.find(id)
        if key is None or not key.is_usable(time.time()):
            return None, None
        key = attrs.evolve(key, permissions=granted(key.preset, key.permissions))
        if account is not None and revoked == self._revoked:
            if len(self._known) >= _MANY:
                self._known.clear()
            self._known[id] = (now, key, account)
        return key, account


def shown_key(headers: Mapping[str, str]) -> ShownKey | None:
    """Return the key in *headers*. None where there is none."""
    id, secret = headers.get("auth-key-id"), headers.get("auth-key")
    if id and secret:
        return ShownKey(id, secret)
    scheme, _, value = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "key":
        return None
    id, _, secret = value.strip().partition(":")
    return ShownKey(id, secret) if id and secret else None


def _shown_token(headers: Mapping[str, str]) -> str | None:
    """Return the bearer token in *headers*. None where there is none."""
    scheme, _, value = headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else None


# A stranger who sends many wrong keys costs a read for all of them, and a right key that comes
# after them waits for one.

#: Keys with their accounts, by their ids.
Found: TypeAlias = Mapping[str, tuple[Key, Account]]


@attrs.define(eq=False)
class KeyLookups:
    """Finds keys and their accounts."""

    _database: Database
    #: The keys that the next read looks for, and that read, once there is one to come.
    _ids: set[str] = attrs.field(factory=set)
    _next: asyncio.Task[Found] | None = None
    _reads: set[asyncio.Task[Found]] = attrs.field(factory=set)
    _turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    async def find(self, id: str) -> tuple[Key | None, Account | None]:
        """
        Return the key with this *id*, even if it was revoked, and its account, as they are
        after this was called. None and None where there is no such key.

        Raises:
            StateUnavailable: The state cannot be read.
        """
        self._ids.add(id)
        if self._next is None:
            self._next = asyncio.create_task(self._read())
            self._reads.add(self._next)
            self._next.add_done_callback(self._reads.discard)
        # Who asks may be gone before the others have their answer.
        found = await asyncio.shield(self._next)
        return found.get(id, (None, None))

    async def close(self) -> None:
        """End the reads that are left by requests which are gone."""
        for read in self._reads:
            read.cancel()
        await asyncio.gather(*self._reads, return_exceptions=True)

    async def _read(self) -> Found:
        async with self._turn:
            ids, self._ids, self._next = self._ids, set(), None
            return await self._database.read(functools.partial(find_with_accounts, ids=ids))
