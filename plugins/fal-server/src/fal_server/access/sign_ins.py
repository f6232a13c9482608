"""
Sign-ins: links that a browser opens once, and the keys of the sessions that begin so.

A link has the id of a key and a word. The word opens the session and nothing else, so that a
link which is never used gives nothing away after a while.
"""

from __future__ import annotations

import datetime
import hmac
import secrets
import time
import uuid
from collections.abc import Iterable

import sqlalchemy as sa

from fal_server.errors import Unauthenticated
from fal_server.store.keys import (
    LINK,
    LINK_HASH,
    LINK_SECONDS,
    SESSION_HASH,
    SESSION_SECONDS,
    Key,
    delete_ended,
    find_key,
    hash_secret,
    keys,
)

#: What the note on the key of a session begins with.
_SESSION = "dashboard until"


def make_link(connection: sa.Connection, account_id: str, permissions: Iterable[str]) -> str:
    """Return the code of a link for an account, ``ID:WORD``."""
    id, word = str(uuid.uuid4()), secrets.token_urlsafe(32)
    delete_ended(connection)
    connection.execute(
        keys.insert().values(
            id=id,
            account_id=account_id,
            hash=_hash(word),
            alias=LINK,
            preset="",
            permissions=sorted(permissions),
            created_at=time.time(),
        )
    )
    return f"{id}:{word}"


def open_link(connection: sa.Connection, code: str) -> Key:
    """
    Return the key of the session that a link begins, which cannot be opened again.

    Raises:
        Unauthenticated: The link is not valid, was opened before, or is too old.
    """
    id, _, word = code.partition(":")
    key = find_key(connection, id[:100]) if id.isascii() and id.isprintable() else None
    now = time.time()
    if (
        key is None
        or key.revoked_at is not None
        or key.alias != LINK
        or not hmac.compare_digest(key.hash, _hash(word))
        or now - key.created_at > LINK_SECONDS
    ):
        raise Unauthenticated(
            "The link was opened before, or is too old. 'fal-core server open' makes another."
        )
    ends = datetime.datetime.fromtimestamp(now + SESSION_SECONDS, datetime.timezone.utc)
    alias = f"{_SESSION} {ends:%Y-%m-%d %H:%M}"
    changes = {"hash": SESSION_HASH, "alias": alias, "created_at": now}
    opened = keys.update().where((keys.c.id == id) & (keys.c.hash == key.hash)).values(changes)
    if not connection.execute(opened).rowcount:
        raise Unauthenticated("The link was opened before.")
    return key


def _hash(word: str) -> str:
    return LINK_HASH + hash_secret(word)
