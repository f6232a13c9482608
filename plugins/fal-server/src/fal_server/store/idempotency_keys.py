"""
Idempotency keys: names that senders give to requests, so that each is accepted once.

A key belongs to the account that sent it, and to one path of one application. It is written
in the transaction that accepts its request.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence

import attrs
import sqlalchemy as sa

from fal_server.errors import Invalid
from fal_server.state.databases import metadata
from fal_server.state.upserts import add_new

keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("scope", sa.String, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("request_id", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Index("idempotency_keys_by_time", "created_at"),
    sa.Index("idempotency_keys_by_request", "request_id"),
)

#: Seconds that a key is kept at least.
KEPT = 24 * 3600.0

_LONGEST = 255


@attrs.frozen(kw_only=True)
class IdempotencyKey:
    """
    A key as it is stored.

    Attributes:
        scope: The digest of the account, the application, the path and the key itself.

        digest: The digest of what has to be the same in each request with this key.
    """

    scope: str
    digest: str

    @classmethod
    def make(
        cls,
        text: str,
        *,
        account: str,
        application: tuple[str, str],
        path: str,
        content: Iterable[bytes],
    ) -> IdempotencyKey:
        """
        Return the key that an account has sent with a request.

        Arguments:
            application: The account that owns the application, and its alias.

            path: The path within the application.

            content: What has to be the same in each request with this key.
        """
        scope = hashlib.sha256(json.dumps([account, *application, path, text]).encode())
        digest = hashlib.sha256()
        for part in content:
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        return cls(scope=scope.hexdigest(), digest=digest.hexdigest())


def check_text(text: str) -> str:
    """
    Return *text* if it may be a key.

    Raises:
        Invalid: It may not.
    """
    if not 1 <= len(text) <= _LONGEST or not (text.isascii() and text.isprintable()):
        raise Invalid(
            f"An Idempotency-Key must have 1 to {_LONGEST} printable ASCII characters."
        )
    return text


def claim(
    connection: sa.Connection, key: IdempotencyKey, request_id: str
) -> tuple[str, str] | None:
    """
    Note that the request *request_id* is accepted with *key*, and return None. If another
    request was accepted with it before, return the id and the digest of that one.
    """
    row = {"scope": key.scope, "digest": key.digest, "request_id": request_id}
    query = sa.select(keys.c.request_id, keys.c.digest).where(keys.c.scope == key.scope)
    while not add_new(connection, keys, {**row, "created_at": time.time()}):
        # It may be deleted between the two.
        if (found := connection.execute(query).first()) is not None:
            return found.request_id, found.digest
    return None


def delete_old(connection: sa.Connection) -> None:
    """Delete the keys that were kept for long enough."""
    connection.execute(keys.delete().where(keys.c.created_at < time.time() - KEPT))


def delete_of(connection: sa.Connection, request_ids: Sequence[str]) -> None:
    """Delete the keys of requests that are deleted: none may lead to a request that is gone."""
    connection.execute(keys.delete().where(keys.c.request_id.in_(request_ids)))
