"""
The control plane: its parts, and how it starts and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import grpc.aio
import sqlalchemy as sa
from aiohttp import web
from isolate_proto.configuration import GRPC_OPTIONS
from isolate_proto.controller_pb2_grpc import add_IsolateControllerServicer_to_server

from fal_server.accounts import list_accounts, make_account
from fal_server.certificates import server_context
from fal_server.controllers import Controller
from fal_server.directories import DataDirectory
from fal_server.doors import Door
from fal_server.identities import Identity
from fal_server.key_calls import KeyCalls
from fal_server.keys import NewKey, make_key
from fal_server.permissions import PRESETS
from fal_server.rest import make_application
from fal_server.settings import ServerSettings
from fal_server.state import Store

logger = logging.getLogger(__name__)


@attrs.define(eq=False)
class ControlPlane:
    """
    A control plane: one process, one data directory.

    Made by :meth:`create`, it is started and closed in one event loop.

    Attributes:
        first_key: The key that this start has made. None where there was one.

        ports: The port of each door, once it has started.
    """

    settings: ServerSettings
    directory: DataDirectory
    store: Store
    identity: Identity
    first_key: NewKey | None = None
    ports: dict[str, int] = attrs.field(factory=dict)
    _tls: ssl.SSLContext | None = None
    _ends: contextlib.AsyncExitStack = attrs.field(factory=contextlib.AsyncExitStack)

    @classmethod
    def create(cls, settings: ServerSettings) -> ControlPlane:
        """
        Open the state of the data directory, which the caller holds.
        """
        directory = DataDirectory(settings.data)
        store = Store(settings.database_url)
        try:
            key = _make_owner(store, directory, settings.owner)
            return cls(settings, directory, store, Identity(store), key)
        except BaseException:
            store.close()
            raise

    async def start(self) -> None:
        """
        Open the doors.

        Raises:
            OSError: A port is taken.
        """
        self._ends.callback(self.store.close)
        try:
            names = [*self.settings.names, *self._own_names()]
            self._tls = server_context(self.directory, names)
            socket_path = await self._start_grpc()
            http = await self._start_http()
            await self._open_door("api", http, grpc_socket=socket_path)
            await self._open_more_doors()
        except BaseException:
            await self.close()
            raise
        self.directory.write_addresses(self.ports, self.settings.host)

    async def close(self) -> None:
        """
        Close the doors, let what runs finish for a while, and close the state.
        """
        await self._ends.aclose()

    async def _start_grpc(self) -> str:
        server = grpc.aio.server(options=GRPC_OPTIONS)
        add_IsolateControllerServicer_to_server(self._make_controller(), server)
        # The data directory may be too deep for the path of a socket.
        folder = tempfile.mkdtemp(prefix="fal-core-server-")
        self._ends.callback(shutil.rmtree, folder, ignore_errors=True)
        path = str(Path(folder) / "grpc.sock")
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        self._ends.push_async_callback(server.stop, self.settings.drain)
        return path

    async def _start_http(self) -> web.Server:
        runner = web.AppRunner(
            make_application(self.identity, ()),
            access_log=None,
            shutdown_timeout=self.settings.drain,
        )
        await runner.setup()
        self._ends.push_async_callback(runner.cleanup)
        assert runner.server is not None
        return runner.server

    def _make_controller(self) -> Controller:
        return Controller(self.identity, KeyCalls(self.store, self.identity))

    async def _open_more_doors(self) -> None:
        """
        Open the doors of the gateways.
        """

    async def _open_door(self, name: str, http: Any, *, grpc_socket: str | None = None) -> None:
        """
        Open a door at its port; it closes before what stands behind it.
        """
        door = Door(name, http, grpc_socket, self._tls)
        self.ports[name] = await door.open(self.settings.host, self.settings.port_of(name))
        self._ends.push_async_callback(door.close)

    def _own_names(self) -> list[str]:
        host = self.settings.host
        return [] if host in {"0.0.0.0", "::", ""} else [host]


def _make_owner(store: Store, directory: DataDirectory, nickname: str) -> NewKey | None:
    """
    Make the first user with a key that may do all, where there is no user yet.
    """
    if store.read_here(list_accounts):
        return None

    def make(connection: sa.Connection) -> NewKey:
        account = make_account(connection, "user", nickname)
        return make_key(
            connection, account.id, PRESETS["FULL"], preset="FULL", alias="first key"
        )

    key = store.write_here(make)
    directory.write_private(directory.key_file, key.text.encode())
    return key


def describe_ports(ports: Mapping[str, int]) -> str:
    """
    Return one line that says which port is what.
    """
    return ", ".join(f"{name} {port}" for name, port in ports.items())


async def serve(settings: ServerSettings, stop: asyncio.Event, started: Any) -> None:
    """
    Run a control plane until *stop* is set; *started* is called with it once it runs.
    """
    plane = ControlPlane.create(settings)
    await plane.start()
    try:
        started(plane)
        await stop.wait()
    finally:
        await plane.close()
