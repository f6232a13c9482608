"""Replicas: the servers that run on one database, and where each is reached."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import attrs
import sqlalchemy as sa

from fal_core.caches import cache_directory
from fal_server.claims.claims import NOW
from fal_server.errors import ServerError
from fal_server.settings import is_loopback
from fal_server.state.databases import Database, metadata

#: Seconds without a sign of life after which a replica is not alive, and after which it is
#: forgotten.
SILENT, FORGOTTEN = 5.0, 60.0

#: Addresses that stand for all interfaces.
_ANY = frozenset({"0.0.0.0", "::", ""})

replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("ports", sa.String, nullable=False),
    sa.Column("authority", sa.String, nullable=False),
    sa.Column("machine", sa.String, nullable=False),
    sa.Column("files", sa.String, nullable=False),
    sa.Column("version", sa.String, nullable=False),
    sa.Column("clock", sa.Float, nullable=False),
    sa.Column("seen_at", sa.Float, nullable=False),
)


@attrs.frozen(kw_only=True)
class Replica:
    """
    A server among others on one database.

    Attributes:
        address: Where the others reach it.

        ports: The port of each of its listeners.

        authority: The certificate, as PEM, by which the others know it.

        machine: The machine that its local runners are on.

        files: Where it keeps what is too large for the database, without a password.

        clock: Seconds by which the clock of the database is ahead of its own.

        silence: Seconds since its last sign of life, by the clock of the database.
    """

    id: str
    address: str
    ports: Mapping[str, int]
    authority: str = attrs.field(repr=False)
    machine: str
    files: str
    version: str
    clock: float = 0.0
    silence: float = 0.0

    @property
    def is_alive(self) -> bool:
        """Whether it has given a sign of life lately."""
        return self.silence < SILENT

    def url(self, listener: str) -> str:
        """Return the URL of one of its listeners."""
        return f"https://{self.origin(listener)}"

    def origin(self, listener: str) -> str:
        """Return the host and the port of one of its listeners."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{host}:{self.ports[listener]}"


def show_replica(connection: sa.Connection, replica: Replica) -> None:
    """Give a sign of life of a replica."""
    from sqlalchemy.dialects.postgresql import insert

    row = attrs.asdict(replica, recurse=False)
    del row["silence"]
    row |= {"ports": json.dumps(dict(replica.ports)), "seen_at": NOW}
    added = insert(replicas).values(row)
    changes = {"clock": replica.clock, "seen_at": NOW}
    connection.execute(added.on_conflict_do_update(index_elements=["id"], set_=changes))


def forget_replicas(connection: sa.Connection, id: str = "") -> None:
    """Forget the replicas that have been silent for long, and one that ends."""
    is_old = replicas.c.seen_at < NOW - FORGOTTEN
    connection.execute(replicas.delete().where(sa.or_(replicas.c.id == id, is_old)))


def read_replicas(connection: sa.Connection) -> Sequence[Replica]:
    """Return all replicas, those with the latest sign of life first."""
    silence = (NOW - replicas.c.seen_at).label("silence")
    query = sa.select(replicas, silence).order_by(replicas.c.seen_at.desc())
    return [_to_replica(row) for row in connection.execute(query)]


def read_others(database: Database) -> Sequence[Replica]:
    """Return the servers that run on a database, which this process does not."""
    if not database.is_shared:
        return ()
    return [each for each in database.read_here(read_replicas) if each.is_alive]


def name_machine() -> str:
    """Return what stands for this machine, as the local host keeps its work on it."""
    folder = Path(cache_directory("machine", make=True))
    path = folder / "id"
    if not path.exists():
        made = folder / f"{secrets.token_hex(8)}.made"
        made.write_text(secrets.token_hex(8))
        with contextlib.suppress(FileExistsError):
            # Where two servers start at once, both have the name that is there first.
            os.link(made, path)
        made.unlink()
    return path.read_text()


def name_files(url: str | None, folder: Path, machine: str) -> str:
    """
    Return what stands for where files are kept: at *url*, without a password, or in a *folder*
    of this machine.
    """
    if url is None:
        return f"{folder} of machine {machine}"
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def check_others(me: Replica, others: Sequence[Replica]) -> None:
    """
    Check that a replica can be one among *others*.

    Raises:
        ServerError: They do not reach it at its address or it does not reach them, or they
            keep files elsewhere.
    """
    if me.address in _ANY:
        raise ServerError(
            f"Other replicas cannot reach this one at {me.address!r}. Name an address of this "
            "machine by '--advertise'."
        )
    for other in others:
        if not other.is_alive:
            continue
        if other.files != me.files:
            raise ServerError(
                f"Another replica keeps its files at {other.files}, and this one would at "
                f"{me.files}. Start all with the same '--files'."
            )
        if other.machine == me.machine:
            continue
        if is_loopback(me.address):
            raise ServerError(
                f"Another replica runs at {other.address}, on another machine, and cannot "
                f"reach this one at {me.address}. Name an address that it reaches by "
                "'--advertise', or listen at one by '--address'."
            )
        if is_loopback(other.address):
            raise ServerError(
                f"Another replica runs on another machine, and is said to be reached at "
                f"{other.address}. Start that one with '--advertise' and an address that "
                "this machine reaches."
            )


def _to_replica(row: sa.Row[Any]) -> Replica:
    values = dict(row._mapping)
    del values["seen_at"]
    return Replica(**{**values, "ports": json.loads(values["ports"])})
