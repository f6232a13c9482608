"""
The control plane: its parts, and how it starts and ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import grpc.aio
import sqlalchemy as sa
from aiohttp import web
from isolate_proto.configuration import GRPC_OPTIONS

from fal_server.account_routes import AccountRoutes, ApplicationRoutes, RunnerRoutes
from fal_server.accounts import list_accounts, make_account
from fal_server.application_calls import ApplicationCalls
from fal_server.blobs import Blobs
from fal_server.catalogs import Catalog
from fal_server.certificates import Certificate
from fal_server.connections import connections_of, start_http
from fal_server.controllers import Controller
from fal_server.directories import DataDirectory
from fal_server.doors import Door, ProtocolFactory
from fal_server.environments import Environments
from fal_server.errors import Refusal, ServerError
from fal_server.fleet_metrics import FleetMetrics
from fal_server.fleets import Fleet
from fal_server.forwarding import Forwarder
from fal_server.gateways import RunGateway, serve_gateway
from fal_server.identities import Identity
from fal_server.key_calls import KeyCalls
from fal_server.keys import NewKey, make_key
from fal_server.launching import Launchpad
from fal_server.log_routes import LogRoutes
from fal_server.logs import Logs
from fal_server.memory import read_sizes
from fal_server.metrics import Metrics
from fal_server.payloads import Payloads
from fal_server.permissions import PRESETS
from fal_server.queue_gateway import QueueGateway
from fal_server.queues import Queue
from fal_server.records import Records
from fal_server.requests import Requests
from fal_server.rest import OpenRoute, make_application
from fal_server.revisions import Revisions
from fal_server.rounds import Rounds
from fal_server.runner_calls import RunnerCalls
from fal_server.runner_keys import RunnerKeys, derive_secret
from fal_server.runs import RunCalls
from fal_server.settings import ServerSettings
from fal_server.socket_gateway import SocketGateway
from fal_server.stage_calls import StageCalls
from fal_server.state import Store
from fal_server.token_routes import TokenRoutes
from fal_server.tokens import Tokens, read_key
from fal_server.upload_routes import AppFileRoutes, Base, StorageRoutes
from fal_server.uploads import AppFiles, StoredFiles
from fal_server.urls import Urls
from fal_server.vaults import Vault, remove_secrets
from fal_server.webhooks import KEY as WEBHOOKS_KEY
from fal_server.webhooks import Webhooks


@attrs.define(eq=False)
class ControlPlane:
    """
    A control plane: one process, one data directory.

    Made by :meth:`create` in the event loop that it is started and closed in.

    Attributes:
        directory: The data directory, which the caller holds.

        files: The files that come with applications.

        first_key: The key that this start has made. None where there was one.

        ports: The port of each door, once it has started.
    """

    settings: ServerSettings
    directory: DataDirectory
    metrics: Metrics
    store: Store
    identity: Identity
    environments: Environments
    vault: Vault
    logs: Logs
    blobs: Blobs
    files: AppFiles
    stored_files: StoredFiles
    first_key: NewKey | None = None
    ports: dict[str, int] = attrs.field(factory=dict)
    launchpad: Launchpad = attrs.field(init=False)
    urls: Urls = attrs.field(init=False)
    catalog: Catalog = attrs.field(init=False)
    runs: RunCalls = attrs.field(init=False)
    queue: Queue = attrs.field(init=False)
    _base: Base = attrs.field(init=False)
    _certificate: Certificate = attrs.field(init=False)
    _ends: contextlib.AsyncExitStack = attrs.field(factory=contextlib.AsyncExitStack)

    def __attrs_post_init__(self) -> None:
        local = self.settings.host in {"127.0.0.1", "::1"}
        self._base = Base(self.settings.host, local=local)
        sizes = read_sizes(self.settings.memory)
        self.launchpad = Launchpad(
            self.settings.machine, self.logs, sizes, self.metrics.starts.observe
        )
        self.urls = Urls(host=self.settings.host, ports=self.ports)
        runners, data = self.directory.path / "runners", self.directory.path / "accounts"
        bundle, keys = self.directory.tls / "bundle.pem", self.identity.runner_keys
        payloads = Payloads(self.vault, self.files, self.urls, runners, data, keys, bundle)
        revisions = Revisions(self.store)
        fleet = Fleet(self.launchpad, revisions, Records(self.store), payloads)
        self.catalog = Catalog(revisions, fleet)
        self.runs = RunCalls(self.launchpad, self.catalog, payloads, self.urls)
        requests = Requests(self.store)
        networks = [ip_network(each) for each in self.settings.webhook_networks]
        webhooks = Webhooks(
            requests,
            read_key(self.directory, WEBHOOKS_KEY),
            networks,
            observe=lambda outcome: self.metrics.deliveries.labels(outcome).inc(),
        )
        self.queue = Queue(Forwarder(self.catalog, self.identity), requests, webhooks)
        self.metrics.registry.register(FleetMetrics(self.catalog, self.queue, self.runs))

    @classmethod
    def create(cls, settings: ServerSettings) -> ControlPlane:
        """
        Open the state of the data directory, which the caller holds.
        """
        directory = DataDirectory(settings.data)
        store, metrics = Store(settings.database_url), Metrics()
        try:
            store.observe = metrics.observe_write
            key = _make_owner(store, directory, settings.owner)
            environments = Environments(store)
            environments.removals.append(remove_secrets)
            vault = Vault(store, read_key(directory, "secrets.key"))
            environments.removed.append(vault.forget)
            blobs, signing_key = (
                Blobs(directory.path / "blobs"),
                read_key(directory, "signing.key"),
            )
            return cls(
                settings=settings,
                directory=directory,
                metrics=metrics,
                store=store,
                identity=Identity(
                    store, Tokens(signing_key), RunnerKeys(derive_secret(signing_key))
                ),
                environments=environments,
                vault=vault,
                logs=Logs(store, metrics.log_lines.inc),
                blobs=blobs,
                files=AppFiles(store, blobs),
                stored_files=StoredFiles(store, blobs),
                first_key=key,
            )
        except Refusal as refusal:
            store.close()
            raise ServerError(str(refusal)) from refusal
        except BaseException:
            store.close()
            raise

    async def start(self) -> None:
        """
        Open the doors.

        Raises:
            ServerError: A port is taken, the address is none of this machine, or the
                state cannot be read.
        """
        self._ends.callback(self.store.close)
        self._ends.push_async_callback(self.logs.flush)
        self._ends.push_async_callback(self.launchpad.close)
        self._ends.push_async_callback(self.catalog.close)
        self._ends.callback(self.runs.close)
        self._ends.push_async_callback(self.queue.close)
        try:
            names = [*self.settings.names, *self._own_names()]
            self._certificate = Certificate(self.directory, names)
            socket_path = await self._start_grpc()
            http = await self._start_http(self._make_api())
            await self._open_door("api", http, grpc_socket=socket_path)
            self._base.port = self.ports["api"]
            await self._open_gateways()
            await self.catalog.start()
            await self.queue.start()
            metrics = await self._start_http(self.metrics.make_application())
            await self._open_door("metrics", metrics)
            self._start_rounds()
            self.directory.write_addresses(self.ports, self.settings.host)
        except Refusal as refusal:
            await self.close()
            raise ServerError(str(refusal)) from refusal
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """
        Close the doors, let what runs finish for a while, and close the state.
        """
        await self._ends.aclose()

    def _make_controller(self) -> Controller:
        """
        Make the service: each procedure is a method of one of these objects.
        """
        return Controller(
            self.identity,
            self.metrics,
            KeyCalls(self.store, self.identity),
            StageCalls(self.environments, self.vault),
            self.runs,
            ApplicationCalls(self.launchpad, self.catalog, self.urls),
            RunnerCalls(self.catalog, self.runs),
        )

    def _make_api(self) -> web.Application:
        """
        Make the HTTP side of the API.
        """
        tokens = self.identity.tokens
        storage = StorageRoutes(self.stored_files, self.blobs, tokens, self._base)
        return make_application(
            self.identity,
            self.metrics,
            [
                OpenRoute("GET", "/health", _healthy),
                *AccountRoutes(self.store).routes(),
                *ApplicationRoutes(self.catalog, self.queue).routes(),
                *RunnerRoutes(self.catalog).routes(),
                *LogRoutes(self.logs).routes(),
                *AppFileRoutes(self.files, self.blobs).routes(),
                *storage.routes(),
                *TokenRoutes(tokens, self._base).routes(),
            ],
        )

    async def _open_gateways(self) -> None:
        """
        Open the doors of the gateways.
        """
        forwarder = self.queue.forwarder
        for name, gateway in (
            ("run", RunGateway(forwarder)),
            ("queue", QueueGateway(forwarder, self.queue, self.logs, self.urls)),
            ("ws", SocketGateway(forwarder)),
        ):
            server = serve_gateway(gateway.answer)
            self._ends.push_async_callback(server.shutdown, self.settings.drain)
            await self._open_door(name, connections_of(server, inflates=False))

    async def _start_grpc(self) -> str:
        """
        Start the gRPC server, and return the socket it listens on.
        """
        server = grpc.aio.server(options=GRPC_OPTIONS)
        server.add_generic_rpc_handlers((self._make_controller().handler(),))
        folder = self.directory.make_socket_folder()
        self._ends.callback(shutil.rmtree, folder, ignore_errors=True)
        path = str(Path(folder) / "grpc")
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        self._ends.push_async_callback(server.stop, self.settings.drain)
        return path

    async def _start_http(self, application: web.Application) -> ProtocolFactory:
        """
        Start an application, and return what makes the protocols of its connections.
        """
        application.on_shutdown.append(self._end_streams)
        runner, connect = await start_http(application, drain=self.settings.drain)
        self._ends.push_async_callback(runner.cleanup)
        return connect

    async def _open_door(
        self, name: str, http: ProtocolFactory, *, grpc_socket: str | None = None
    ) -> None:
        """
        Open a door at its port; it closes before what stands behind it.
        """
        host, port = self.settings.host, self.settings.port_of(name)
        protocols = ["http/1.1"] if grpc_socket is None else ["h2", "http/1.1"]
        tls = self._certificate.make_context(*protocols)
        door = Door(name, http, grpc_socket, tls)
        try:
            self.ports[name] = await door.open(host, port)
        except OSError as error:
            raise ServerError(door.describe(error, host, port)) from error
        self._ends.push_async_callback(door.close)

    async def _end_streams(self, _: web.Application) -> None:
        self.logs.end_following()

    def _start_rounds(self) -> None:
        rounds = Rounds(
            certificate=self._certificate,
            blobs=self.blobs,
            stored_files=self.stored_files,
            requests=self.queue.requests,
            logs=self.logs,
        )
        self._ends.push_async_callback(_end_task, asyncio.create_task(rounds.go()))

    def _own_names(self) -> list[str]:
        host = self.settings.host
        return [] if host in {"0.0.0.0", "::", ""} else [host]


async def _healthy(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"})


async def _end_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


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
