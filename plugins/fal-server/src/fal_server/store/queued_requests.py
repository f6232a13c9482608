"""
Queued requests, and their rows in the database.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Sequence
from typing import Any, Literal

import attrs
import sqlalchemy as sa

from fal_server.errors import Invalid
from fal_server.state.databases import Database, metadata
from fal_server.state.engines import Prepared
from fal_server.store.idempotency_keys import IdempotencyKey, claim, delete_old

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("account_id", sa.String, nullable=False),
    sa.Column("owner_name", sa.String, nullable=False),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("sender", sa.String, nullable=False),
    sa.Column("method", sa.String, nullable=False),
    sa.Column("path", sa.String, nullable=False),
    sa.Column("headers", sa.String, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("webhook", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("submitted_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("status", sa.Integer),
    sa.Column("answer_headers", sa.String),
    sa.Column("answer", sa.LargeBinary),
    sa.Column("error", sa.String),
    sa.Column("error_type", sa.String),
    sa.Column("webhook_due", sa.Float),
    sa.Column("webhook_tries", sa.Integer, nullable=False),
    sa.Index("requests_of_application", "owner_name", "alias", "state"),
    sa.Index("requests_by_state", "state"),
    sa.Index("requests_by_webhook", "webhook_due"),
)

# Statements are built once: to build one takes longer than to execute it.
_ADDED = Prepared(requests.insert())
_FOUND = sa.select(requests).where(requests.c.id == sa.bindparam("request_id"))

State = Literal["queued", "running", "completed", "cancelled"]

#: Seconds that a request is kept after it has ended.
KEPT = 24 * 3600.0


@attrs.frozen(kw_only=True)
class QueuedRequest:
    """
    An accepted request, and its response once there is one.

    Attributes:
        number: Its place in the order in which requests were accepted.

        sender: The account that has sent it. Empty for an anonymous request to a public
            application.

        attempts: How often it was given to a runner.

        webhook: The URL to which the response is delivered. Empty for none.

        webhook_due: When the next delivery is due, in seconds since the epoch. None where
            none is.
    """

    id: str
    number: int
    account_id: str
    owner_name: str
    alias: str
    sender: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = attrs.field(repr=False)
    priority: int = 0
    webhook: str = ""
    state: State = "queued"
    attempts: int = 0
    submitted_at: float = attrs.field(factory=time.time)
    started_at: float | None = None
    ended_at: float | None = None
    status: int | None = None
    answer_headers: tuple[tuple[str, str], ...] = ()
    answer: bytes = attrs.field(default=b"", repr=False)
    error: str | None = None
    error_type: str | None = None
    webhook_due: float | None = None
    webhook_tries: int = 0

    @property
    def is_over(self) -> bool:
        """
        Whether it was answered or cancelled.
        """
        return self.state in ("completed", "cancelled")


class KeyReused(Invalid):
    """
    An idempotency key was sent with another request before.
    """


class QueuedRequests:
    """
    Stores queued requests.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, request: QueuedRequest, key: IdempotencyKey | None = None) -> str:
        """
        Store a new request durably, and return its id. If a request was accepted with *key*
        before, store nothing, and return the id of that one.

        Raises:
            KeyReused: That one was another request.
        """
        row = _to_row(request)

        def work(connection: sa.Connection) -> tuple[str, str] | None:
            first = None if key is None else claim(connection, key, request.id)
            if first is None:
                _ADDED.run(connection, row)
            return first

        first = await self._database.write(work)
        if first is None or key is None:
            return request.id
        first_id, digest = first
        if digest != key.digest:
            raise KeyReused(
                "This Idempotency-Key was sent with another request before: use a new one for "
                "each request."
            )
        return first_id

    async def find(self, id: str) -> QueuedRequest | None:
        """
        Return a request. None where there is none.
        """
        parameters = {"request_id": id}
        row = await self._database.read(
            lambda connection: connection.execute(_FOUND, parameters).first()
        )
        return None if row is None else _from_row(row)

    async def change(self, id: str, *, only: Sequence[State] = (), **values: Any) -> bool:
        """
        Change a request if it is in one of the states *only*, and return whether it was.
        """
        if "answer_headers" in values:
            values["answer_headers"] = json.dumps(values["answer_headers"])
        changed = _changed(tuple(values), tuple(only))
        parameters = {**values, "request_id": id}
        return await self._database.write(
            lambda connection: bool(changed.run(connection, parameters))
        )

    async def unfinished(self) -> list[QueuedRequest]:
        """
        Return the requests without a response, in the order in which they were accepted.
        """
        chosen = sa.select(requests).where(requests.c.state.in_(("queued", "running")))
        query = chosen.order_by(requests.c.number)
        return await self._database.read(
            lambda connection: [_from_row(row) for row in connection.execute(query)]
        )

    async def webhooks_due(self) -> list[tuple[str, float]]:
        """
        Return the requests whose webhooks have to be delivered, and when.
        """
        chosen = sa.select(requests.c.id, requests.c.webhook_due).where(
            requests.c.webhook_due.is_not(None)
        )
        return await self._database.read(
            lambda connection: [(row.id, row.webhook_due) for row in connection.execute(chosen)]
        )

    async def last_number(self) -> int:
        """
        Return the number of the newest request.
        """
        query = sa.select(sa.func.max(requests.c.number))
        return await self._database.read(lambda connection: connection.scalar(query) or 0)

    async def delete_old(self) -> None:
        """
        Delete idempotency keys that are old, and requests that ended long ago.
        """
        old = requests.c.ended_at < time.time() - KEPT
        dropped = requests.delete().where(old, requests.c.webhook_due.is_(None))

        def work(connection: sa.Connection) -> None:
            # The keys first: none may lead to a request that is gone.
            delete_old(connection)
            connection.execute(dropped)

        await self._database.write(work)


@functools.cache
def _changed(names: tuple[str, ...], only: tuple[State, ...]) -> Prepared:
    """
    Return the statement that sets the columns *names* of a request that is in one of the
    states *only*.
    """
    chosen = requests.update().where(requests.c.id == sa.bindparam("request_id"))
    if only:
        chosen = chosen.where(sa.or_(*(requests.c.state == state for state in only)))
    return Prepared(chosen.values({name: sa.bindparam(name) for name in names}))


def _to_row(request: QueuedRequest) -> dict[str, Any]:
    row = attrs.asdict(request, recurse=False)
    row["headers"] = json.dumps(request.headers)
    row["answer_headers"] = json.dumps(request.answer_headers)
    return row


def _from_row(row: Any) -> QueuedRequest:
    values = dict(row._mapping)
    for name in ("headers", "answer_headers"):
        values[name] = tuple((key, value) for key, value in json.loads(values[name] or "[]"))
    values["answer"] = values["answer"] or b""
    return QueuedRequest(**values)
