"""
The vault: the secrets of accounts, encrypted in the database.

Each is encrypted for its place: a value that is moved to another account, stage or name
in the database cannot be decrypted.
"""

from __future__ import annotations

import contextlib
import re
import secrets as random
import shlex
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from fal_server.errors import Invalid, NotFound
from fal_server.state.databases import Database, metadata
from fal_server.state.upserts import put
from fal_server.store.stages import require

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("account_id", sa.ForeignKey("accounts.id"), primary_key=True),
    sa.Column("environment", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("value", sa.LargeBinary, nullable=False),
    sa.Column("default_exposed", sa.Boolean),
    sa.Column("created_at", sa.Float, nullable=False),
)

# Every call of a function runs this statement, and to build it takes longer than to run it.
_THERE = sa.select(secrets).where(
    secrets.c.account_id == sa.bindparam("account"),
    secrets.c.environment == sa.bindparam("stage"),
)

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")

#: The largest value in bytes; it has to fit into an environment variable.
_LARGEST = 64 * 1024

_NONCE = 12

#: How many secrets are tried with the key, as one that was moved in the database cannot be
#: decrypted.
_SOME = 20


@attrs.frozen(kw_only=True)
class Secret:
    """
    A secret without its value.

    Attributes:
        default_exposed: Whether applications that name no secrets get it. None, if that
            was not set, means yes.
    """

    name: str
    stage: str
    default_exposed: bool | None
    created_at: float


class Vault:
    """Stores the secrets of all accounts."""

    def __init__(self, database: Database, key: bytes) -> None:
        self._database = database
        self._cipher = AESGCM(key)
        # Cached rows, encrypted as in the database, until a secret is set or removed.
        self._rows: dict[tuple[str, str], Sequence[Any]] = {}
        self._changes = 0

    async def set(
        self,
        account_id: str,
        stage: str,
        name: str,
        value: str,
        *,
        default_exposed: bool | None = None,
    ) -> None:
        """
        Set a secret. With None, *default_exposed* stays as it was.

        Raises:
            Invalid: The name or the value is not valid.

            NotFound: There is no such stage.
        """
        if not _NAME.fullmatch(name):
            raise Invalid(
                f"{name[:80]!r} is not a valid name of a secret. A name has letters, digits "
                "and underscores, and does not begin with a digit."
            )
        if len(value.encode()) > _LARGEST or "\0" in value:
            raise Invalid(f"A secret has at most {_LARGEST} bytes, and no zero byte.")
        sealed = self._seal(account_id, stage, name, value)

        def write(connection: sa.Connection) -> None:
            require(connection, account_id, stage, locked=True)
            changes = {"value": sealed, "created_at": time.time()}
            if default_exposed is not None:
                changes["default_exposed"] = default_exposed
            changed = secrets.update().where(_is(account_id, stage, name)).values(changes)
            if not connection.execute(changed).rowcount:
                place = {"account_id": account_id, "environment": stage, "name": name}
                put(connection, secrets, {**place, **changes})

        try:
            await self._database.write(write)
        finally:
            self.clear_cache()

    async def unset(self, account_id: str, stage: str, name: str) -> None:
        """
        Remove a secret.

        Raises:
            NotFound: There is no secret of this name.
        """

        def write(connection: sa.Connection) -> None:
            chosen = secrets.delete().where(_is(account_id, stage, name))
            if not connection.execute(chosen).rowcount:
                raise NotFound(f"Secret {name[:80]!r} was not found.")

        try:
            await self._database.write(write)
        finally:
            self.clear_cache()

    async def list(self, account_id: str, stage: str) -> Sequence[Secret]:
        """
        Return the secrets of a stage, without their values.

        Raises:
            NotFound: There is no such stage.
        """

        def read(connection: sa.Connection) -> Sequence[Secret]:
            require(connection, account_id, stage)
            chosen = sa.select(secrets).where(_in(account_id, stage))
            rows = connection.execute(chosen.order_by(secrets.c.name))
            return [_from_row(row) for row in rows]

        return await self._database.read(read)

    async def values(
        self, account_id: str, stage: str, names: Collection[str] | None = None
    ) -> Mapping[str, str]:
        """
        Return the values of the secrets with these *names*; those that do not exist are
        left out.

        Without names, return those that are exposed by default.
        """

        rows = self._rows.get((account_id, stage))
        if rows is None:
            changes = self._changes
            rows = await self._read(account_id, stage)
            if changes == self._changes:
                self._rows[account_id, stage] = rows
        return {
            row.name: self._open(account_id, stage, row.name, row.value)
            for row in rows
            if (row.default_exposed is not False if names is None else row.name in names)
        }

    async def check(self, account_id: str, stage: str, names: Collection[str] | None) -> None:
        """
        Check that the secrets with these *names* are set.

        Raises:
            NotFound: One is not.
        """
        if not names:
            return
        found = await self.values(account_id, stage, names)
        for name in names:
            if name not in found:
                rest = "" if stage == "main" else f" --env {shlex.quote(stage)}"
                raise NotFound(
                    f"Secret {name[:80]!r} is not set in {stage!r}. Set it with 'fal secrets "
                    f"set {shlex.quote(name[:80])}=VALUE{rest}', or with 'fal-core' in place "
                    "of 'fal'."
                )

    async def _read(self, account_id: str, stage: str) -> Sequence[Any]:
        place = {"account": account_id, "stage": stage}
        return await self._database.read(
            lambda connection: connection.execute(_THERE, place).all()
        )

    def has_right_key(self) -> bool:
        """Return whether the secrets in the database can be decrypted, in this thread."""
        some = sa.select(secrets).limit(_SOME)
        rows = self._database.read_here(lambda connection: connection.execute(some).all())
        for row in rows:
            with contextlib.suppress(InvalidTag):
                self._open(row.account_id, row.environment, row.name, row.value)
                return True
        return not rows

    def clear_cache(self) -> None:
        """Drop cached rows, because secrets have changed."""
        self._changes += 1
        self._rows.clear()

    def _seal(self, account_id: str, stage: str, name: str, value: str) -> bytes:
        nonce = random.token_bytes(_NONCE)
        place = _place(account_id, stage, name)
        return nonce + self._cipher.encrypt(nonce, value.encode(), place)

    def _open(self, account_id: str, stage: str, name: str, sealed: bytes) -> str:
        place = _place(account_id, stage, name)
        return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], place).decode()


def remove_all_secrets(connection: sa.Connection) -> int:
    """Remove the secrets of all accounts, and return how many there were."""
    return connection.execute(secrets.delete()).rowcount


def remove_secrets(connection: sa.Connection, account_id: str, stage: str) -> None:
    """Remove all secrets of a stage."""
    connection.execute(secrets.delete().where(_in(account_id, stage)))


def _place(account_id: str, stage: str, name: str) -> bytes:
    return "\0".join((account_id, stage, name)).encode()


def _in(account_id: str, stage: str) -> sa.ColumnElement[bool]:
    return (secrets.c.account_id == account_id) & (secrets.c.environment == stage)


def _is(account_id: str, stage: str, name: str) -> sa.ColumnElement[bool]:
    return _in(account_id, stage) & (secrets.c.name == name)


def _from_row(row: sa.Row[Any]) -> Secret:
    return Secret(
        name=row.name,
        stage=row.environment,
        default_exposed=row.default_exposed,
        created_at=row.created_at,
    )
