"""The control plane: how it starts, and what is left of it when it has ended or cannot start."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import stat
import threading
from pathlib import Path

import pytest

from fal_core.errors import OptionError
from fal_core.hooks import hookimpl
from fal_core.machines import Machine
from fal_core.plugins import registered
from fal_server.errors import DataTooNew, ServerError, Unavailable
from fal_server.plane import ControlPlane, describe_ports, serve
from fal_server.settings import ServerSettings
from fal_server.state.databases import open_database
from fal_server.state.migrations.layouts import LAYOUT
from fal_server.store.accounts import list_accounts


def threads() -> set[str]:
    """Return the names of the threads of servers that run."""
    return {each.name for each in threading.enumerate() if each.name.startswith("state-")}


def create(data: Path, owner: str = "owner") -> ControlPlane:
    """Return a control plane that is not started, and whose database is closed."""

    async def main() -> ControlPlane:
        plane = ControlPlane.create(ServerSettings(data=data, owner=owner))
        plane.database.close()
        return plane

    return asyncio.run(main())


def test_first_start_makes_the_owner(tmp_path: Path):
    """
    The first start makes a user with a key, in a file for the operator alone. Later starts
    make no other, whatever they call the owner.
    """
    data = tmp_path / "data"
    first = create(data, "ann")
    assert first.first_key is not None
    assert first.directory.read_key() == first.first_key.text
    assert stat.S_IMODE(first.directory.key_file.stat().st_mode) == 0o600
    assert create(data, "bob").first_key is None
    with open_database(first.settings.database_url) as database:
        assert [each.nickname for each in database.read_here(list_accounts)] == ["ann"]


@pytest.mark.parametrize("nickname", ["Not One", "storage"])
def test_owner_that_cannot_be_made(tmp_path: Path, nickname: str):
    """
    A start whose owner cannot be made is an error with the reason, and leaves no database
    open.
    """
    with pytest.raises(ServerError, match="is not a valid nickname"):
        create(tmp_path / "data", nickname)
    assert threads() == set()


def test_machine_types_that_are_declared_wrongly(tmp_path: Path):
    """A mistake where machine types are declared is told at the start, before anything is made."""

    class Wrong:
        fal_core_api = 1

        @hookimpl
        def fal_list_machines(self) -> list[Machine]:
            raise OptionError("machines.toml is wrong.")

    with registered(Wrong()), pytest.raises(OptionError, match=r"machines\.toml is wrong"):
        create(tmp_path / "data")
    assert not (tmp_path / "data").exists()
    assert threads() == set()


def test_data_of_a_newer_version(tmp_path: Path):
    """Data that a newer version has written is left alone."""
    data = tmp_path / "data"
    create(data)
    with sqlite3.connect(data / "state.db") as connection:
        connection.execute("UPDATE layout SET version = ?", (LAYOUT + 1,))
    connection.close()
    with pytest.raises(DataTooNew):
        create(data)
    assert threads() == set()


def test_port_that_is_taken(tmp_path: Path):
    """
    A server whose last port is taken does not start: the ports before it are free again,
    and nothing of it runs on.
    """

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            plane = ControlPlane.create(
                ServerSettings(data=tmp_path / "data", port=0, metrics_port=port, drain=1)
            )
            with pytest.raises(ServerError, match=str(port)):
                await plane.start()
        assert set(plane.ports) == {"api", "run", "queue", "ws"}
        for port in plane.ports.values():
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)
        with pytest.raises(Unavailable):
            await plane.database.read(list_accounts)
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    assert threads() == set()


def test_server_runs_until_it_is_stopped(tmp_path: Path):
    """
    A server tells when it runs and at which ports, and closes everything when it is
    stopped; another starts on its data afterwards.
    """
    seen: list[str] = []

    async def main() -> None:
        for _ in range(2):
            stop = asyncio.Event()

            def started(plane: ControlPlane, stop: asyncio.Event = stop) -> None:
                _, ports = plane.directory.read_addresses()
                assert ports == plane.ports
                seen.append(describe_ports(ports))
                stop.set()

            await serve(ServerSettings(data=tmp_path / "data", port=0, drain=1), stop, started)

    asyncio.run(main())
    assert [line.split()[::2] for line in seen] == [
        ["api", "run", "queue", "ws", "metrics"]
    ] * 2
    assert threads() == set()
