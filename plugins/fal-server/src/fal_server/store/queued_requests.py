"""Queued requests, and their rows in the database."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import attrs
import sqlalchemy as sa

from fal_server.claims.arrivals import adding_arrival
from fal_server.errors import Invalid
from fal_server.state.databases import Database, metadata
from fal_server.state.prepared_statements import Prepared, Row
from fal_server.store.idempotency_keys import IdempotencyKey, claim, delete_of, delete_old
from fal_server.store.recent_bodies import RecentBodies


def _size(name: str) -> sa.Column[Any]:
    """Return the column of the size of the content *name*."""
    return sa.Column(f"{name}_size", sa.BigInteger, nullable=False, server_default="0")


def _index_of_some(name: str, column: str) -> sa.Index:
    """Return an index of the rows in which *column* has a value."""
    some = sa.literal_column(column).is_not(None)
    return sa.Index(name, column, sqlite_where=some, postgresql_where=some)


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
    sa.Column("priority", sa.Integer, nullable=False),
    sa.Column("webhook", sa.String, nullable=False),
    sa.Column("state", sa.String, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("submitted_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float),
    sa.Column("ended_at", sa.Float),
    sa.Column("status", sa.Integer),
    sa.Column("answer_headers", sa.String),
    sa.Column("error", sa.String),
    sa.Column("error_type", sa.String),
    sa.Column("webhook_due", sa.Float),
    sa.Column("webhook_tries", sa.Integer, nullable=False),
    sa.Column("start_timeout", sa.Float),
    _size("body"),
    _size("answer"),
    # What is large comes last: to read a column means to read those before it. Both are
    # empty where the content is in a file.
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("answer", sa.LargeBinary),
    sa.Index("requests_by_number", "number"),
    sa.Index("requests_by_state", "state"),
    _index_of_some("requests_by_webhook", "webhook_due"),
    _index_of_some("requests_by_end", "ended_at"),
)

T = TypeVar("T")

State = Literal["queued", "running", "completed", "cancelled"]

#: The states of a request without a response.
UNFINISHED: tuple[State, ...] = ("queued", "running")

# Statements are built once: to build one takes longer than to execute it.
_ADDED = Prepared(requests.insert())
_ARRIVED = Prepared(adding_arrival(requests))
_COLUMNS = [each for each in requests.c if each.name not in ("body", "answer")]
_HERE = requests.c.id == sa.bindparam("request_id")
_FOUND, _FOUND_WITH_ANSWER = (
    sa.select(*columns).where(_HERE) for columns in (_COLUMNS, [*_COLUMNS, requests.c.answer])
)
_KEPT = sa.case((requests.c.sender == "", sa.literal(b"")), else_=requests.c.body)
_BODY = Prepared(sa.select(requests.c.body).where(_HERE))

#: Seconds that a request is kept after it has ended.
KEPT = 24 * 3600.0

#: The most rows that are deleted in one transaction.
_MOST = 500


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

        start_timeout: How long its sender has it wait for a runner at most, in seconds.

        body_size, answer_size: The bytes of its body, and of its response.
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
    priority: int = 0
    webhook: str = ""
    state: State = "queued"
    attempts: int = 0
    submitted_at: float = attrs.field(factory=time.time)
    started_at: float | None = None
    ended_at: float | None = None
    status: int | None = None
    answer_headers: tuple[tuple[str, str], ...] = ()
    error: str | None = None
    error_type: str | None = None
    webhook_due: float | None = None
    webhook_tries: int = 0
    start_timeout: float | None = None
    body_size: int = 0
    answer_size: int = 0

    @property
    def is_over(self) -> bool:
        """Whether it was answered or cancelled."""
        return self.state in ("completed", "cancelled")


class KeyReused(Invalid):
    """An idempotency key was sent with another request before."""


class QueuedRequests:
    """Stores queued requests."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._recent = RecentBodies()

    @property
    def database(self) -> Database:
        """The database in which they are."""
        return self._database

    async def add(
        self,
        request: QueuedRequest,
        key: IdempotencyKey | None = None,
        *,
        body: bytes = b"",
        arrives: bool = False,
    ) -> str:
        """
        Store a new request durably, and return its id. If a request was accepted with *key*
        before, store nothing, and return the id of that one.

        Arguments:
            body: Its body. Empty where that is in a file.

            arrives: Whether another replica is to have it answered.

        Raises:
            KeyReused: That one was another request.
        """
        row = {**_to_row(request), "body": body, "answer": b""}

        added = Row(_ARRIVED if arrives else _ADDED, row)

        def work(connection: sa.Connection) -> tuple[str, str] | None:
            first = None if key is None else claim(connection, key, request.id)
            if first is None:
                added(connection)
            return first

        chosen = added if key is None else work
        first = await self._database.write(chosen, fenced=not arrives)
        if first is None or key is None:
            if not arrives:
                self._recent.keep(request.id, body)
            return request.id
        first_id, digest = first
        if digest != key.digest:
            raise KeyReused(
                "This Idempotency-Key was sent with another request before: use a new one for "
                "each request."
            )
        return first_id

    async def find_all(self, ids: Sequence[str]) -> dict[str, QueuedRequest]:
        """Return requests by their ids."""
        query = sa.select(*_COLUMNS).where(requests.c.id.in_(ids))
        rows = await self._database.read(lambda connection: list(connection.execute(query)))
        return {row.id: _from_row(row) for row in rows}

    async def find(self, id: str) -> QueuedRequest | None:
        """Return a request. None where there is none."""
        parameters = {"request_id": id}
        row = await self._database.read(
            lambda connection: connection.execute(_FOUND, parameters).first()
        )
        return None if row is None else _from_row(row)

    async def find_with_answer(self, id: str) -> tuple[QueuedRequest | None, bytes]:
        """
        Return a request and the response to it, in one read. The request is None where
        there is none, and the response empty where it is in a file.
        """
        parameters = {"request_id": id}
        row = await self._database.read(
            lambda connection: connection.execute(_FOUND_WITH_ANSWER, parameters).first()
        )
        return (None, b"") if row is None else (_from_row(row), row.answer or b"")

    async def begin(self, id: str, *, attempts: int) -> bytes | None:
        """
        Note that a runner gets a request, and return the body of the request, which is empty
        where it is in a file. None where the request is over.
        """
        changes = {"state": "running", "started_at": self._database.now(), "attempts": attempts}
        begun = _changed(tuple(changes), UNFINISHED)
        parameters = {**changes, "request_id": id}
        body = self._recent.take(id)

        def work(connection: sa.Connection) -> bytes | None:
            if not begun.run(connection, parameters):
                return None
            if body is not None:
                return body
            return _BODY.first(connection, {"request_id": id}) or b""

        return await self._database.write(work)

    async def cancel(self, ids: Sequence[str], only: tuple[State, ...]) -> list[str]:
        """Cancel those requests that are in one of the states *only*, and return their ids."""
        changes = {"state": "cancelled", "ended_at": self._database.now()}
        cancelled = _changed(tuple(changes), only, forgets=True)

        def work(connection: sa.Connection) -> list[str]:
            return [
                id for id in ids if cancelled.run(connection, {**changes, "request_id": id})
            ]

        return await self._database.write(work)

    async def change(self, id: str, *, only: Sequence[State] = (), **values: Any) -> bool:
        """Change a request if it is in one of the states *only*, and return whether it was."""
        if "answer_headers" in values:
            values["answer_headers"] = json.dumps(values["answer_headers"])
        changed = _changed(tuple(values), tuple(only))
        parameters = {**values, "request_id": id}
        return await self._database.write(
            lambda connection: bool(changed.run(connection, parameters))
        )

    async def unfinished(self, restore: Callable[[Any], T]) -> list[T]:
        """
        Return what *restore* returns for each request without a response, in their order. It
        is called in another thread, with a row that has the ``id``, the ``number`` and so on
        of a request, and as ``size`` the bytes that it takes.
        """
        names = ("id", "number", "account_id", "owner_name", "alias", "sender", "priority")
        rest = ("state", "submitted_at", "start_timeout")
        size = requests.c.body_size + sa.func.length(requests.c.path + requests.c.headers)
        chosen = sa.select(*(requests.c[name] for name in (*names, *rest)), size.label("size"))
        query = chosen.where(requests.c.state.in_(UNFINISHED)).order_by(
            requests.c.priority, requests.c.number
        )
        return await self._database.read(
            lambda connection: [restore(row) for row in connection.execute(query)]
        )

    async def webhooks_due(self) -> list[Any]:
        """
        Return the requests whose webhooks have to be delivered: rows with their ``id``,
        ``account_id``, ``sender`` and ``webhook_due``.
        """
        names = ("id", "account_id", "sender", "webhook_due")
        chosen = sa.select(*(requests.c[name] for name in names))
        query = chosen.where(requests.c.webhook_due.is_not(None))
        return await self._database.read(
            lambda connection: list(connection.execute(query.order_by(requests.c.webhook_due)))
        )

    async def last_number(self) -> int:
        """Return the number of the newest request."""
        query = sa.select(sa.func.max(requests.c.number))
        return await self._database.read(lambda connection: connection.scalar(query) or 0)

    async def delete_old(self, kept: float = KEPT) -> None:
        """Delete idempotency keys that are old, and requests that ended *kept* seconds ago."""
        await self._database.write(delete_old)
        chosen = sa.select(requests.c.id).where(
            requests.c.ended_at < time.time() - kept, requests.c.webhook_due.is_(None)
        )

        def work(connection: sa.Connection) -> bool:
            ids = connection.scalars(chosen.limit(_MOST)).all()
            delete_of(connection, ids)
            connection.execute(requests.delete().where(requests.c.id.in_(ids)))
            return bool(ids)

        while await self._database.write(work):
            # Other writes take their turns.
            pass


def name_body(id: str) -> str:
    """Return the name of the file with the body of a request."""
    return f"{id}.body"


def name_answer(id: str, attempts: int) -> str:
    """Return the name of the file with the response to an attempt of a request."""
    return f"{id}.{attempts}.answer"


@functools.cache
def _changed(
    names: tuple[str, ...], only: tuple[State, ...], *, forgets: bool = False
) -> Prepared:
    """
    Return the statement that sets the columns *names* of a request that is in one of the
    states *only*, and *forgets* the body of one without a key.
    """
    chosen = requests.update().where(_HERE)
    if only:
        chosen = chosen.where(sa.or_(*(requests.c.state == state for state in only)))
    values: dict[str, Any] = {name: sa.bindparam(name) for name in names}
    return Prepared(chosen.values(values | ({"body": _KEPT} if forgets else {})))


def _to_row(request: QueuedRequest) -> dict[str, Any]:
    row = attrs.asdict(request, recurse=False)
    row["headers"] = json.dumps(request.headers)
    row["answer_headers"] = json.dumps(request.answer_headers)
    return row


def _from_row(row: Any) -> QueuedRequest:
    values = dict(row._mapping)
    values.pop("answer", None)
    for name in ("headers", "answer_headers"):
        values[name] = tuple((key, value) for key, value in json.loads(values[name] or "[]"))
    return QueuedRequest(**values)
