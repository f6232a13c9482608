"""Revisions: the registered versions of applications, and the aliases that lead to them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_server.activity import deployment_records
from fal_server.activity.deployment_records import DeploymentRecord
from fal_server.errors import NotFound
from fal_server.specs.scaling import Scaling
from fal_server.state.databases import Database, metadata
from fal_server.state.upserts import put
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
    sa.Column("server_host", sa.String, nullable=False, server_default=""),
)


def _alias_columns() -> list[sa.Column[Any]]:
    """Return the columns of an alias, for one table."""
    return [
        sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
        sa.Column("alias", sa.String, primary_key=True),
        sa.Column("environment", sa.String, nullable=False),
        sa.Column("revision", sa.ForeignKey("revisions.id"), nullable=False),
        sa.Column("auth_mode", sa.Integer, nullable=False),
        sa.Column("scaling", sa.String, nullable=False),
    ]


aliases = sa.Table("aliases", metadata, *_alias_columns())

#: Aliases that are to lead to another revision, once a runner of that has come up.
takeovers = sa.Table(
    "takeovers",
    metadata,
    *_alias_columns(),
    #: Whether the previous runners take requests until then.
    sa.Column("rolling", sa.Boolean, nullable=False),
)

#: What the row of an alias has in common with that of its revision.
_SHARED = ("account_id", "alias", "environment", "scaling")


@attrs.frozen(kw_only=True)
class Revision:
    """
    A registered version of an application.

    Attributes:
        server_host: What its client named the server. Empty where that is unknown.
    """

    id: str
    account_id: str
    alias: str
    stage: str
    scaling: Scaling
    created_at: float
    server_host: str = ""


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
    """Stores revisions and aliases."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        revision: Revision,
        request: RegisterApplicationRequest,
        auth_mode: int,
        *,
        rolling: bool | None = None,
        record: DeploymentRecord | None = None,
    ) -> None:
        """
        Store a revision.

        Arguments:
            rolling: How it takes over once a runner of it has come up, which
                :meth:`plan` describes. None points its alias to it at once.

            record: What the history keeps of it. None where a runner need not come up.
        """
        kept = attrs.asdict(revision, recurse=False)
        kept["environment"] = kept.pop("stage")
        kept |= {"scaling": _to_text(revision.scaling), "request": request.SerializeToString()}
        row = {name: kept[name] for name in _SHARED}
        row |= {"revision": revision.id, "auth_mode": auth_mode}

        def write(connection: sa.Connection) -> None:
            connection.execute(revisions.insert().values(kept))
            if rolling is None:
                _point(connection, row)
            else:
                _plan(connection, row, rolling)
            deployment_records.begin(connection, row, record)

        await self._database.write(write)

    async def plan(
        self, alias: Alias, *, rolling: bool, record: DeploymentRecord | None = None
    ) -> None:
        """
        Note how an alias is to be, in place of what was noted before.

        Arguments:
            rolling: Whether the previous runners take requests until then.

            record: What the history keeps of it.
        """
        row = _to_row(alias)

        def write(connection: sa.Connection) -> None:
            _plan(connection, row, rolling)
            deployment_records.begin(connection, row, record)

        await self._database.write(write)

    async def planned(self) -> Sequence[tuple[Alias, bool]]:
        """
        Return what :meth:`plan` has noted: the aliases as they are to be, and whether each is
        rolling.
        """
        return await self._database.read(
            lambda connection: [
                (_to_alias(connection, row), row.rolling)
                for row in connection.execute(sa.select(takeovers))
            ]
        )

    async def abandon(
        self, account_id: str, alias: str, revision_id: str, *, failed: str = ""
    ) -> None:
        """
        Forget that an alias was to be pointed to a revision.

        Arguments:
            failed: Why it could not be, as a sentence. Empty where nobody wants it any longer.
        """
        chosen = takeovers.delete().where(
            _is_alias(takeovers, account_id, alias) & (takeovers.c.revision == revision_id)
        )
        outcome = deployment_records.FAILED if failed else deployment_records.SUPERSEDED

        found = (account_id, alias, revision_id, outcome, failed)

        def write(connection: sa.Connection) -> None:
            connection.execute(chosen)
            deployment_records.settle(connection, *found)

        await self._database.write(write)

    async def point(self, alias: Alias, *, record: DeploymentRecord | None = None) -> None:
        """
        Store an alias, regardless of what was planned for it.

        Arguments:
            record: What the history keeps of it, until a runner has come up. None where one
                has.
        """
        row = _to_row(alias)

        def write(connection: sa.Connection) -> None:
            _point(connection, row)
            deployment_records.begin(connection, row, record)

        await self._database.write(write)

    async def set_scaling(self, account_id: str, alias: str, scaling: Scaling) -> None:
        """Change the scaling of an alias, and that of the revision that is to take over."""

        def write(connection: sa.Connection) -> None:
            chosen = _is_alias(aliases, account_id, alias)
            connection.execute(aliases.update().where(chosen).values(scaling=_to_text(scaling)))
            chosen = _is_alias(takeovers, account_id, alias)
            planned = sa.select(takeovers.c.scaling).where(chosen).with_for_update()
            text = connection.scalar(planned)
            if text is not None:
                changed = scaling.with_revision(_from_text(text))
                connection.execute(
                    takeovers.update().where(chosen).values(scaling=_to_text(changed))
                )

        await self._database.write(write)

    async def delete_alias(self, account_id: str, alias: str, *, key_id: str = "") -> None:
        """
        Delete an alias.

        Arguments:
            key_id: The key with which that was asked for.
        """
        record = deployment_records.deletion(key_id)

        def write(connection: sa.Connection) -> None:
            for table in (aliases, takeovers):
                connection.execute(table.delete().where(_is_alias(table, account_id, alias)))
            row = {"account_id": account_id, "alias": alias}
            deployment_records.begin(connection, row, record)

        await self._database.write(write)

    async def delete(self, revision_id: str) -> None:
        """Delete a revision that no alias leads to, or is to lead to."""
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
            lambda connection: [Revision(**_fields(row)) for row in connection.execute(query)]
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
        return Revision(**_fields(row))

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

    async def is_public(self, account_id: str, alias: str, revision_id: str) -> bool:
        """Return whether anybody may use the application *alias* once it leads to a revision."""

        def read(connection: sa.Connection) -> bool:
            modes = set()
            for table in (aliases, takeovers):
                chosen = _is_alias(table, account_id, alias) & (table.c.revision == revision_id)
                modes.add(connection.scalar(sa.select(table.c.auth_mode).where(chosen)))
            return modes - {None} == {wire.PUBLIC}

        return await self._database.read(read)

    async def aliases(self) -> Sequence[Alias]:
        """Return the aliases of all accounts."""
        return await self._database.read(
            lambda connection: [
                _to_alias(connection, row) for row in connection.execute(sa.select(aliases))
            ]
        )

    async def find_alias(self, owner_name: str, alias: str) -> Alias | None:
        """Return an alias by the nickname of its owner. None where there is none."""

        def read(connection: sa.Connection) -> Alias | None:
            account = find_account(connection, nickname=owner_name)
            if account is None:
                return None
            chosen = sa.select(aliases).where(_is_alias(aliases, account.id, alias))
            row = connection.execute(chosen).first()
            return None if row is None else _to_alias(connection, row)

        return await self._database.read(read)


def full_alias(name: str, stage: str) -> str:
    """Return the alias of the application *name* in *stage*."""
    if not stage or stage == "main" or name.endswith(f"--{stage}"):
        return name
    return f"{name}--{stage}"


def _point(connection: sa.Connection, row: dict[str, Any]) -> None:
    put(connection, aliases, row)
    chosen = _is_alias(takeovers, row["account_id"], row["alias"])
    connection.execute(takeovers.delete().where(chosen))


def _plan(connection: sa.Connection, row: dict[str, Any], rolling: bool) -> None:
    put(connection, takeovers, {**row, "rolling": rolling})


def _to_row(alias: Alias) -> dict[str, Any]:
    row = attrs.asdict(alias, recurse=False)
    row["environment"] = row.pop("stage")
    del row["owner_name"]
    return {**row, "scaling": _to_text(alias.scaling)}


def _is_alias(table: sa.Table, account_id: str, alias: str) -> sa.ColumnElement[bool]:
    return (table.c.account_id == account_id) & (table.c.alias == alias)


def _of_account(account_id: str) -> sa.Select[Any]:
    columns = [column for column in revisions.c if column.name != "request"]
    return sa.select(*columns).where(revisions.c.account_id == account_id)


def _to_alias(connection: sa.Connection, row: sa.Row[Any]) -> Alias:
    account = find_account(connection, id=row.account_id)
    assert account is not None
    fields = {name: value for name, value in _fields(row).items() if name != "rolling"}
    return Alias(owner_name=account.nickname, **fields)


def _fields(row: sa.Row[Any]) -> dict[str, Any]:
    fields = {**row._mapping, "scaling": _from_text(row.scaling)}
    fields["stage"] = fields.pop("environment")
    return fields


def _to_text(scaling: Scaling) -> str:
    return json.dumps(scaling.to_json())


def _from_text(text: str) -> Scaling:
    return Scaling.from_json(json.loads(text))


def _not_found(revision_id: str) -> NotFound:
    return NotFound(f"Revision {revision_id[:80]!r} was not found.")
