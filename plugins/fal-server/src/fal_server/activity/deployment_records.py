"""Deployment records: what was deployed to each application, by which key, and how that ended."""

from __future__ import annotations

import itertools
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from google.protobuf.struct_pb2 import Struct

from fal_server.state.databases import Database, metadata

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account_id", sa.ForeignKey("accounts.id"), nullable=False),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("revision", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    #: A JSON object.
    sa.Column("annotations", sa.String, nullable=False),
    sa.Column("key_id", sa.String, nullable=False),
    sa.Column("outcome", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    sa.Index("deployments_of_alias", "account_id", "alias", "created_at"),
)

#: What is done to an application: another revision is registered, one that there is takes
#: over, or the application is deleted.
DEPLOY, SET, DELETE = "deploy", "set", "delete"

#: How far it is: a runner is awaited, the revision has taken over, its runner has not come
#: up, another deployment came before that, or the application is gone.
PENDING, SERVING, FAILED, SUPERSEDED = "pending", "serving", "failed", "superseded"
DELETED = "deleted"

#: The most that are kept of an application.
_MOST = 500

#: The most characters of a reason, a message or an annotation that are kept, those of the name
#: of an annotation, and the most annotations of a deployment.
_LONGEST_REASON, _LONGEST_NAME, _MOST_ANNOTATIONS = 4096, 200, 64


@attrs.frozen(kw_only=True)
class DeploymentRecord:
    """
    One deployment of an application, or its end.

    Attributes:
        revision: The id of the revision. Empty where the application was deleted.

        message, annotations: What its revision carries.

        key_id: The id of the key with which it was asked for.

        reason: Why it has failed, as a sentence. Empty where it has not.

        created_at, ended_at: In seconds since the epoch.
    """

    revision: str
    action: str
    message: str = ""
    annotations: Mapping[str, str] = attrs.field(factory=dict)
    key_id: str = ""
    outcome: str = PENDING
    reason: str = ""
    created_at: float = attrs.field(factory=time.time)
    ended_at: float | None = None


class DeploymentRecords:
    """Reads the records that are kept with revisions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(
        self, account_id: str, alias: str, *, most: int
    ) -> Sequence[DeploymentRecord]:
        """Return the newest records of an application, the newest first."""
        query = _newest(account_id, alias).limit(most)
        return await self._database.read(
            lambda connection: [_to_record(row) for row in connection.execute(query)]
        )

    async def find_failure(
        self, account_id: str, alias: str, revision: str
    ) -> tuple[float, str] | None:
        """
        Return since when no runner of an application has come up, in seconds since the epoch,
        and why the last has not. None where one has, or none was awaited.

        Arguments:
            revision: The id of the revision that the application has.
        """
        ends = deployments.c.outcome.in_((SERVING, DELETED))
        last = sa.select(sa.func.max(deployments.c.created_at)).where(
            _is(account_id, alias), ends
        )
        failed = _newest(account_id, alias).where(
            deployments.c.outcome == FAILED,
            deployments.c.created_at > sa.func.coalesce(last.scalar_subquery(), 0.0),
        )
        rows = await self._database.read(lambda connection: connection.execute(failed).all())
        if not rows or rows[0].revision != revision:
            return None
        return rows[-1].ended_at, rows[0].reason

    async def came_up(self, account_id: str, alias: str, revision: str) -> None:
        """Keep that a runner has come up of a revision whose deployment had failed."""
        await self._database.write(
            lambda connection: settle(connection, account_id, alias, revision, SERVING)
        )


def deletion(key_id: str) -> DeploymentRecord:
    """Return the record of an application that is deleted."""
    now = time.time()
    return DeploymentRecord(
        revision="",
        action=DELETE,
        key_id=key_id,
        outcome=DELETED,
        created_at=now,
        ended_at=now,
    )


def read_notes(content: Struct) -> tuple[str, Mapping[str, str]]:
    """
    Return the message and the annotations in the metadata of a revision, as far as they are
    kept. Its other fields may be large, and are not read.
    """
    fields = content.fields
    # A field that is asked for is made.
    message = fields["message"].string_value if "message" in fields else ""
    annotations = fields["annotations"].struct_value.fields if "annotations" in fields else {}
    texts = {
        name[:_LONGEST_NAME]: value.string_value[:_LONGEST_REASON]
        for name, value in annotations.items()
        if value.HasField("string_value")
    }
    kept = dict(itertools.islice(texts.items(), _MOST_ANNOTATIONS))
    return message[:_LONGEST_REASON], kept


def begin(
    connection: sa.Connection, application: Mapping[str, Any], record: DeploymentRecord | None
) -> None:
    """
    Keep a record. No other of the application is pending any longer.

    Arguments:
        application: The row of its alias, or the ``account_id`` and the ``alias`` of that.

        record: None where the revision of the row serves: a runner has come up.
    """
    account_id, alias = application["account_id"], application["alias"]
    if record is None:
        settle(connection, account_id, alias, application["revision"], SERVING)
        return
    settle(connection, account_id, alias, None, SUPERSEDED)
    row = attrs.asdict(record, recurse=False)
    row |= {"id": secrets.token_hex(16), "account_id": account_id, "alias": alias}
    row["annotations"] = json.dumps(dict(record.annotations))
    connection.execute(deployments.insert().values(row))
    oldest = _newest(account_id, alias).offset(_MOST).limit(_MOST)
    old = [each.id for each in connection.execute(oldest)]
    if old:
        connection.execute(deployments.delete().where(deployments.c.id.in_(old)))


def settle(
    connection: sa.Connection,
    account_id: str,
    alias: str,
    revision: str | None,
    outcome: str,
    reason: str = "",
) -> None:
    """
    Keep how a pending deployment has ended, or that a runner has come up after all.

    Arguments:
        revision: None for any revision.
    """
    before = (PENDING, FAILED) if outcome == SERVING else (PENDING,)
    chosen = _is(account_id, alias) & deployments.c.outcome.in_(before)
    if revision is not None:
        chosen &= deployments.c.revision == revision
    values = {
        "outcome": outcome,
        "reason": reason[:_LONGEST_REASON],
        "ended_at": time.time(),
    }
    connection.execute(deployments.update().where(chosen).values(values))


def _is(account_id: str, alias: str) -> sa.ColumnElement[bool]:
    return (deployments.c.account_id == account_id) & (deployments.c.alias == alias)


def _newest(account_id: str, alias: str) -> sa.Select[Any]:
    order = (deployments.c.created_at.desc(), deployments.c.id)
    return sa.select(deployments).where(_is(account_id, alias)).order_by(*order)


def _to_record(row: sa.Row[Any]) -> DeploymentRecord:
    fields = dict(row._mapping)
    for name in ("id", "account_id", "alias"):
        del fields[name]
    return DeploymentRecord(**{**fields, "annotations": json.loads(row.annotations)})
