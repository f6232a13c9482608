"""
Keys: ``id:secret``, of which the server stores the id and a hash of the secret.

A secret is 32 random bytes, which no dictionary attack finds: one round of SHA-256 is
enough, and quick enough for every request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from fal_server.errors import Invalid, NotFound
from fal_server.state.databases import metadata
from fal_server.store.accounts import Account, find_account

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("hash", sa.String, nullable=False),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("preset", sa.String, nullable=False),
    sa.Column("permissions", sa.JSON, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("revoked_at", sa.Float),
    sa.Column("used_at", sa.Float),
)


#: Seconds for which a link to the dashboard can be opened, and those of the session after that.
LINK_SECONDS, SESSION_SECONDS = 300.0, 12 * 3600.0

#: The note on keys whose link was not opened yet.
LINK = "link to the dashboard"

#: What the stored hash of such a key begins with, and the whole hash of the session after
#: that. No secret has either.
LINK_HASH, SESSION_HASH = "link$", ""

#: How many ids one statement has.
_AT_ONCE = 500


def _to_set(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


@attrs.frozen(kw_only=True)
class Key:
    """
    A key without its secret.

    Attributes:
        preset: The preset it was created with. Empty where its permissions were named one
            by one.

        used_at: When it was last shown, to the minute or so. None where it was not.
    """

    id: str
    account_id: str
    hash: str = attrs.field(repr=False)
    alias: str
    preset: str
    permissions: frozenset[str] = attrs.field(converter=_to_set)
    created_at: float
    revoked_at: float | None = None
    used_at: float | None = None

    def opens_with(self, secret: str) -> bool:
        """Return whether *secret* is that of this key, in constant time."""
        return hmac.compare_digest(self.hash, hash_secret(secret))

    @property
    def is_session(self) -> bool:
        """Whether this is the key of a session that a link has begun."""
        return self.hash == SESSION_HASH

    def is_usable(self, now: float) -> bool:
        """
        Return whether requests may be sent in the name of this key: never in that of a link,
        and in that of a session until this is over.
        """
        if self.is_session:
            return now < self.created_at + SESSION_SECONDS
        return not self.hash.startswith(LINK_HASH)


@attrs.frozen(kw_only=True)
class NewKey:
    """A new key with its secret, which cannot be shown again."""

    id: str
    secret: str = attrs.field(repr=False)

    def __str__(self) -> str:
        return f"{self.id}:…"

    @property
    def text(self) -> str:
        """The key as clients are given it."""
        return f"{self.id}:{self.secret}"


def hash_secret(secret: str) -> str:
    """Return the hash of *secret* that is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()


def make_key(
    connection: sa.Connection,
    account_id: str,
    permissions: Iterable[str],
    *,
    preset: str = "",
    alias: str = "",
) -> NewKey:
    """
    Create a key of an account.

    Raises:
        Invalid: Its note is that of links to the dashboard.
    """
    if alias == LINK:
        raise Invalid(f"A key cannot have the note {LINK!r}, which links to it have.")
    new = NewKey(id=str(uuid.uuid4()), secret=secrets.token_hex(32))
    connection.execute(
        keys.insert().values(
            id=new.id,
            account_id=account_id,
            hash=hash_secret(new.secret),
            alias=alias,
            preset=preset,
            permissions=sorted(permissions),
            created_at=time.time(),
        )
    )
    return new


def find_key(connection: sa.Connection, id: str) -> Key | None:
    """Return the key with this *id*, even if it was revoked. None where there is none."""
    row = connection.execute(sa.select(keys).where(keys.c.id == id)).one_or_none()
    return None if row is None else _from_row(row)


def find_with_accounts(
    connection: sa.Connection, ids: Collection[str]
) -> Mapping[str, tuple[Key, Account]]:
    """Return those keys with these *ids* that there are, even revoked ones, with their accounts."""
    found = {}
    left = sorted(ids)
    while left:
        few, left = left[:_AT_ONCE], left[_AT_ONCE:]
        rows = connection.execute(sa.select(keys).where(keys.c.id.in_(few)))
        for key in map(_from_row, rows):
            account = find_account(connection, id=key.account_id)
            if account is not None:
                found[key.id] = (key, account)
    return found


def list_keys(connection: sa.Connection, account_id: str) -> Sequence[Key]:
    """Return the keys of an account that were not revoked."""
    chosen = (keys.c.account_id == account_id) & keys.c.revoked_at.is_(None)
    rows = connection.execute(sa.select(keys).where(chosen).order_by(keys.c.created_at))
    return [_from_row(row) for row in rows]


def delete_ended(connection: sa.Connection) -> None:
    """Delete the keys of links that can be opened no longer, and those of sessions that are over."""
    now = time.time()
    links = (keys.c.alias == LINK) & (keys.c.created_at < now - LINK_SECONDS)
    sessions = (keys.c.hash == SESSION_HASH) & (keys.c.created_at < now - SESSION_SECONDS)
    connection.execute(keys.delete().where(links | sessions))


def note_used(connection: sa.Connection, used: Mapping[str, float]) -> None:
    """Note when keys were used, by their ids."""
    for id, time_of_use in used.items():
        connection.execute(keys.update().where(keys.c.id == id).values(used_at=time_of_use))


def revoke_key(connection: sa.Connection, account_id: str, id: str) -> None:
    """
    Revoke a key of an account.

    Raises:
        NotFound: The account has no such key.
    """
    chosen = (keys.c.id == id) & (keys.c.account_id == account_id) & keys.c.revoked_at.is_(None)
    revoked = keys.update().where(chosen).values(revoked_at=time.time())
    if not connection.execute(revoked).rowcount:
        raise NotFound(f"Key {id[:80]!r} was not found.")


def _from_row(row: sa.Row[Any]) -> Key:
    return Key(**row._mapping)
