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
from fal_server.store.keys import Key, find_key, hash_secret, keys

#: Seconds for which a link can be opened, and those of the session after that.
LINK_SECONDS, SESSION_SECONDS = 300.0, 12 * 3600.0

#: The note on keys whose link was not opened yet.
_LINK = "link to the dashboard"

#: What the note on the key of a session begins with.
SESSION = "dashboard until"


def make_link(connection: sa.Connection, account_id: str, permissions: Iterable[str]) -> str:
    """
    Return the code of a link for an account, ``ID:WORD``.
    """
    now = time.time()
    id, word = str(uuid.uuid4()), secrets.token_urlsafe(32)
    old = (keys.c.alias == _LINK) & (keys.c.created_at < now - LINK_SECONDS)
    connection.execute(keys.delete().where(old))
    connection.execute(
        keys.insert().values(
            id=id,
            account_id=account_id,
            hash=_hash(word),
            alias=_LINK,
            preset="",
            permissions=sorted(permissions),
            created_at=now,
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
        or not hmac.compare_digest(key.hash, _hash(word))
        or now - key.created_at > LINK_SECONDS
    ):
        raise Unauthenticated(
            "The link was opened before, or is too old. 'fal-core server open' makes another."
        )
    ends = datetime.datetime.fromtimestamp(now + SESSION_SECONDS, datetime.timezone.utc)
    # No secret has this hash.
    changes = {"hash": "", "alias": f"{SESSION} {ends:%Y-%m-%d %H:%M}"}
    opened = keys.update().where((keys.c.id == id) & (keys.c.hash == key.hash)).values(changes)
    if not connection.execute(opened).rowcount:
        raise Unauthenticated("The link was opened before.")
    return key


def _hash(word: str) -> str:
    return hash_secret(f"link:{word}")
