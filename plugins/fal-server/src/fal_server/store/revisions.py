"""
Revisions: the registered versions of applications, and the aliases that lead to them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_server.errors import NotFound
from fal_server.specs.scaling import Scaling
from fal_server.state.databases import Database, metadata
from fal_server.store.accounts import find_account

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False, index=True),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("environment", sa.String, nullable=False),
    #: The registration as it was sent; only runners deserialize the functions in it.
    sa.Column("request", sa.LargeBinary, nullable=False),
    sa.Column("scaling", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("alias", sa.String, primary_key=True),
    sa.Column("environment", sa.String, nullable=False),
    sa.Column("revision", sa.ForeignKey("revisions.id"), nullable=False),
    sa.Column("auth_mode", sa.Integer, nullable=False),
    sa.Column("scaling", sa.String, nullable=False),
)


@attrs.frozen(kw_only=True)
class Revision:
    """
    A registered version of an application.
    """

    id: str
    account_id: str
    alias: str
    stage: str
    scaling: Scaling
    created_at: float


@attrs.frozen(kw_only=True)
class Alias:
    """
    A name in the URLs of an account, and the revision that it leads to.

    Attributes:
        owner_name: The nickname of the account.
    """

    account_id: str
    owner_name: str
    alias: str
    stage: str
    revision: str
    auth_mode: int
    scaling: Scaling


class Revisions:
    """
    Stores revisions and aliases.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self, revision: Revision, request: RegisterApplicationRequest, auth_mode: int
    ) -> None:
        """
        Store a revision, and point its alias to it.
        """
        kept = attrs.asdict(revision, recurse=False)
        kept["environment"] = kept.pop("stage")
        kept |= {"scaling": _to_text(revision.scaling), "request": request.SerializeToString()}

        def write(connection: sa.Connection) -> None:
            connection.execute(revisions.insert().values(kept))
            _point(connection, revision, auth_mode, revision.scaling)

        await self._database.write(write)

    async def point(self, revision: Revision, auth_mode: int, scaling: Scaling) -> None:
        """
        Point the alias of *revision* to it.
        """
        await self._database.write(
            lambda connection: _point(connection, revision, auth_mode, scaling)
        )

    async def set_scaling(self, account_id: str, alias: str, scaling: Scaling) -> None:
        """
        Change the scaling of an alias.
        """
        changed = aliases.update().where(_is_alias(account_id, alias))
        await self._database.write(
            lambda connection: connection.execute(changed.values(scaling=_to_text(scaling)))
        )

    async def delete_alias(self, account_id: str, alias: str) -> None:
        """
        Delete an alias.
        """
        chosen = aliases.delete().where(_is_alias(account_id, alias))
        await self._database.write(lambda connection: connection.execute(chosen))

    async def delete(self, revision_id: str) -> None:
        """
        Delete a revision that no alias leads to.
        """
        chosen = revisions.delete().where(revisions.c.id == revision_id)
        await self._database.write(lambda connection: connection.execute(chosen))

    async def list(
        self, account_id: str, alias: str | None, stage: str | None
    ) -> Sequence[Revision]:
        """
        Return the revisions of an account, those of *alias* and *stage* where these are
        given; the newest is first.
        """
        query = _of_account(account_id)
        if alias:
            query = query.where(revisions.c.alias == full_alias(alias, stage or ""))
        if stage:
            query = query.where(revisions.c.environment == stage)
        query = query.order_by(revisions.c.created_at.desc())
        return await self._database.read(
            lambda connection: [_to_revision(row) for row in connection.execute(query)]
        )

    async def find(self, account_id: str, revision_id: str) -> Revision:
        """
        Return a revision of an account.

        Raises:
            NotFound: There is none.
        """
        query = _of_account(account_id).where(revisions.c.id == revision_id)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        if row is None:
            raise _not_found(revision_id)
        return _to_revision(row)

    async def request_of(self, revision_id: str) -> RegisterApplicationRequest:
        """
        Return the request with which a revision was registered.

        Raises:
            NotFound: There is none.
        """
        query = sa.select(revisions.c.request).where(revisions.c.id == revision_id)
        blob = await self._database.read(lambda connection: connection.scalar(query))
        if blob is None:
            raise _not_found(revision_id)
        request = RegisterApplicationRequest()
        request.ParseFromString(blob)
        return request

    async def is_public(self, account_id: str, alias: str) -> bool:
        """
        Return whether anybody may use the application *alias*.
        """
        chosen = sa.select(aliases.c.auth_mode).where(_is_alias(account_id, alias))
        found = await self._database.read(lambda connection: connection.scalar(chosen))
        return bool(found == wire.PUBLIC)

    async def aliases(self) -> Sequence[Alias]:
        """
        Return the aliases of all accounts.
        """

        def read(connection: sa.Connection) -> Sequence[Alias]:
            found = []
            for row in connection.execute(sa.select(aliases)):
                account = find_account(connection, id=row.account_id)
                assert account is not None
                found.append(Alias(owner_name=account.nickname, **_fields(row)))
            return found

        return await self._database.read(read)


def full_alias(name: str, stage: str) -> str:
    """
    Return the alias of the application *name* in *stage*.
    """
    if not stage or stage == "main" or name.endswith(f"--{stage}"):
        return name
    return f"{name}--{stage}"


def _point(
    connection: sa.Connection, revision: Revision, auth_mode: int, scaling: Scaling
) -> None:
    chosen = _is_alias(revision.account_id, revision.alias)
    connection.execute(aliases.delete().where(chosen))
    connection.execute(
        aliases.insert().values(
            account_id=revision.account_id,
            alias=revision.alias,
            environment=revision.stage,
            revision=revision.id,
            auth_mode=auth_mode,
            scaling=_to_text(scaling),
        )
    )


def _is_alias(account_id: str, alias: str) -> sa.ColumnElement[bool]:
    return (aliases.c.account_id == account_id) & (aliases.c.alias == alias)


def _of_account(account_id: str) -> sa.Select[Any]:
    columns = [column for column in revisions.c if column.name != "request"]
    return sa.select(*columns).where(revisions.c.account_id == account_id)


def _to_revision(row: sa.Row[Any]) -> Revision:
    return Revision(**_fields(row))


def _fields(row: sa.Row[Any]) -> dict[str, Any]:
    fields = {**row._mapping, "scaling": Scaling.from_json(json.loads(row.scaling))}
    fields["stage"] = fields.pop("environment")
    return fields


def _to_text(scaling: Scaling) -> str:
    return json.dumps(scaling.to_json())


def _not_found(revision_id: str) -> NotFound:
    return NotFound(f"Revision {revision_id[:80]!r} was not found.")
