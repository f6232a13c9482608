"""Owners: a state that has lost its accounts is told, and gets no new owner."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import click
import pytest

from fal_server.commands.options import opened_state
from fal_server.errors import StateLost
from fal_server.plane import ControlPlane
from fal_server.settings import ServerSettings


def create(data: Path, database: str | None = None) -> None:
    """Make a control plane that is not started."""

    async def main() -> None:
        ControlPlane.create(ServerSettings(data=data, database=database)).database.close()

    asyncio.run(main())


def empty(data: Path, fault: str) -> None:
    """Take the state away, or what is in it."""
    file = data / "state.db"
    with sqlite3.connect(file) as connection:
        if fault == "tables":
            chosen = "SELECT name FROM sqlite_schema WHERE type = 'table'"
            for (name,) in connection.execute(chosen).fetchall():
                connection.execute(f"DROP TABLE {name}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    if fault == "missing":
        file.unlink()
    elif fault == "bytes":
        file.write_bytes(b"")


@pytest.mark.parametrize("fault", ["missing", "bytes", "tables"])
def test_emptied_state_is_told(tmp_path: Path, fault: str):
    """
    A server whose database is missing, of no bytes, or without tables, does not start on a
    directory that was used: neither do commands, which would fill it.
    """
    data = tmp_path / "data"
    create(data)
    empty(data, fault)
    for _ in range(2):
        with pytest.raises(StateLost, match=r"a server has run on .* before. Put a copy"):
            create(data)
        with pytest.raises(StateLost), opened_state(data, None):
            pass
    assert (data / "state.db").exists() is (fault != "missing")


def test_other_database_that_is_empty(tmp_path: Path):
    """An empty database that is named for a directory that was used is no state of it."""
    data, other = tmp_path / "data", f"sqlite:///{tmp_path / 'other.db'}"
    create(data)
    with pytest.raises(StateLost, match=r"other\.db"):
        create(data, other)
    create(tmp_path / "fresh", other)


def test_commands_before_the_first_start(tmp_path: Path):
    """Commands on a directory on which no server has run say so, and make nothing there."""
    data = tmp_path / "data"
    for database in (None, f"sqlite:///{tmp_path / 'other.db'}"):
        with (
            pytest.raises(click.ClickException, match="No server has run"),
            opened_state(data, database),
        ):
            pass
        assert not data.exists()
