"""
The control plane: how its parts are put together, started and closed.
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
from aiohttp import web

from fal_core.machines import list_machines
from fal_server.access.identities import CallerIdentity
from fal_server.access.owners import begin_state
from fal_server.access.runner_keys import RunnerKeys, derive_secret
from fal_server.access.server_keys import ServerKeys
from fal_server.access.tokens import Tokens
from fal_server.errors import Refusal, ServerError
from fal_server.fleet.launching import RunnerLauncher
from fal_server.fleet.payloads import Payloads, RunnerFolders
from fal_server.gateways.http_servers import serve_gateway
from fal_server.gateways.queue_gateway import QueueGateway
from fal_server.gateways.run_gateway import RunGateway
from fal_server.gateways.websocket_gateway import WebSocketGateway
from fal_server.grpc.application_methods import ApplicationMethods
from fal_server.grpc.key_methods import KeyMethods
from fal_server.grpc.run_methods import RunMethods
from fal_server.grpc.runner_methods import RunnerMethods
from fal_server.grpc.servers import make_server
from fal_server.grpc.service import Controller, OtherMethods
from fal_server.grpc.stage_methods import StageMethods
from fal_server.http.account_routes import AccountRoutes, ApplicationRoutes, RunnerRoutes
from fal_server.http.api import OpenRoute, make_application
from fal_server.http.fleet_metrics import FleetMetrics
from fal_server.http.log_routes import LogRoutes
from fal_server.http.token_routes import TokenRoutes
from fal_server.http.upload_routes import AppFileRoutes, StorageRoutes
from fal_server.listeners.doors import Doors
from fal_server.listeners.grpc_tunnels import TunnelMouth
from fal_server.listeners.server_metrics import ServerMetrics
from fal_server.listeners.shared_ports import ProtocolFactory
from fal_server.listeners.urls import Urls
from fal_server.logs.logs import Logs
from fal_server.queue.request_queues import RequestQueue
from fal_server.queue.webhooks import KEY as WEBHOOKS_KEY
from fal_server.queue.webhooks import Webhooks
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.deployments import Deployments
from fal_server.routing.function_pools import FunctionPools
from fal_server.routing.revision_pools import RevisionPools
from fal_server.routing.routers import Router
from fal_server.routing.waiting_room import WaitingRoom
from fal_server.settings import ServerSettings
from fal_server.specs.memory import read_sizes
from fal_server.state.bodies import BodyFiles
from fal_server.state.data_directories import DataDirectory
from fal_server.state.databases import Database
from fal_server.state.disk_reserves import DiskReserve
from fal_server.state.file_stores import FileStore
from fal_server.state.opened_stores import open_files
from fal_server.store.blobs import Blobs
from fal_server.store.build_contexts import BuildContexts
from fal_server.store.housekeeping import Housekeeping
from fal_server.store.kept_responses import KeptResponses
from fal_server.store.keys import NewKey
from fal_server.store.queued_requests import QueuedRequests
from fal_server.store.revisions import Revisions
from fal_server.store.runner_records import RunnerRecords
from fal_server.store.stages import Stages
from fal_server.store.storage_shares import StorageShares
from fal_server.store.uploads import AppFiles, StoredFiles
from fal_server.store.vaults import Vault, remove_secrets

#: What clients may rely on that fal's protocol does not have: words, separated by spaces.
ABILITIES = "idempotency-keys"


@attrs.define(eq=False)
class ControlPlane:
    """
    A control plane: one process, one data directory.

    It is made by :meth:`create`, in the event loop in which it is started and closed.

    Attributes:
        directory: The data directory, which the caller has locked.

        store: What is too large for the database.

        files: The files of applications.

        first_key: The key of the first user, if this start has created it. Otherwise None.

        ports: The port of each listener, once it is open.
    """

    settings: ServerSettings
    directory: DataDirectory
    keys: ServerKeys
    metrics: ServerMetrics
    database: Database
    identity: CallerIdentity
    stages: Stages
    vault: Vault
    logs: Logs
    store: FileStore
    blobs: Blobs
    files: AppFiles
    stored_files: StoredFiles
    first_key: NewKey | None = None
    ports: dict[str, int] = attrs.field(factory=dict)
    contexts: BuildContexts = attrs.field(init=False)
    launcher: RunnerLauncher = attrs.field(init=False)
    urls: Urls = attrs.field(init=False)
    catalog: ApplicationCatalog = attrs.field(init=False)
    deployments: Deployments = attrs.field(init=False)
    functions: FunctionPools = attrs.field(init=False)
    runs: RunMethods = attrs.field(init=False)
    queue: RequestQueue = attrs.field(init=False)
    doors: Doors = attrs.field(init=False)
    _ends: contextlib.AsyncExitStack = attrs.field(factory=contextlib.AsyncExitStack)

    def __attrs_post_init__(self) -> None:
        sizes = read_sizes(self.settings.memory)
        folders = RunnerFolders(
            self.store.path_of("accounts") or self.directory.path / "accounts",
            self.directory.tls / "bundle.pem",
            self.directory.make_sockets,
            self.ports,
        )
        limits = self.settings.limits
        self.contexts = BuildContexts(self.files, self.directory.path / "contexts", limits)
        self.launcher = RunnerLauncher(
            self.settings.machine,
            self.logs,
            sizes,
            self.directory.make_sockets,
            self.metrics.starts.observe,
            owner=f"The server of {self.directory.path}",
            allows_open=self.settings.allow_open_runners,
            kinds=self.settings.kinds,
            folders=folders,
            prepare=self.contexts.prepare,
            limits=limits,
            enforces=self.settings.enforce,
        )
        self.urls = Urls(host=self.settings.host, ports=self.ports, public=self.settings.public)
        runners, keys = self.directory.path / "runners", self.identity.runner_keys
        files, revisions = self.files, Revisions(self.database)
        payloads = Payloads(self.vault, files, self.urls, runners, folders, keys, self.contexts)
        fleet = RevisionPools(self.launcher, revisions, RunnerRecords(self.database), payloads)
        self.catalog = ApplicationCatalog(revisions, fleet)
        self.deployments = Deployments(self.catalog)
        self.functions = FunctionPools(self.launcher, payloads)
        self.runs = RunMethods(self.launcher, self.catalog, self.functions, payloads, self.urls)
        self.queue = self._make_queue()
        self.metrics.registry.register(FleetMetrics(self.catalog, self.queue, self.functions))

    def _make_queue(self) -> RequestQueue:
        limits, requests = self.settings.limits, QueuedRequests(self.database)
        files = BodyFiles(self.store.below("requests"))
        responses = KeptResponses(self.database, files, largest=limits.largest_responses)
        webhooks = Webhooks(
            requests,
            responses,
            self.keys.read(WEBHOOKS_KEY),
            [ip_network(each) for each in self.settings.webhook_networks],
            most=limits.most_webhooks,
            observe=lambda outcome: self.metrics.deliveries.labels(outcome).inc(),
        )
        return RequestQueue(
            Router(self.catalog, self.identity),
            requests,
            files,
            responses,
            webhooks,
            DiskReserve(self.store.disk, limits.disk_reserve),
            limits,
        )

    @classmethod
    def create(cls, settings: ServerSettings) -> ControlPlane:
        """
        Open the database of a data directory, which the caller has locked.

        Raises:
            ServerError: The state or a key is lost, or cannot be used.

            OptionError: Where machine types are declared, something is wrong.
        """
        # It is told now, and not at the first request that names one.
        list_machines()
        directory = DataDirectory(settings.data)
        if settings.database is None:
            directory.claim_state()
        database, metrics = Database(settings.database_url), ServerMetrics()
        try:
            database.observe = metrics.observe_write
            keys = ServerKeys(database, directory, settings.secrets_key)
            key = begin_state(database, directory, keys, settings.owner)
            keys.share_authority()
            stages = Stages(database)
            stages.removals.append(remove_secrets)
            vault = keys.open_vault()
            stages.removed.append(vault.clear_cache)
            store = open_files(settings.files, directory.path)
            blobs, signing_key = Blobs(store.below("blobs")), keys.read("signing.key")
            return cls(
                settings=settings,
                directory=directory,
                keys=keys,
                metrics=metrics,
                database=database,
                identity=CallerIdentity(
                    database, Tokens(signing_key), RunnerKeys(derive_secret(signing_key))
                ),
                stages=stages,
                vault=vault,
                logs=Logs(database, metrics.log_lines.inc, settings.limits),
                store=store,
                blobs=blobs,
                files=AppFiles(database, blobs),
                stored_files=StoredFiles(database, blobs),
                first_key=key,
            )
        except BaseException as error:
            database.close()
            if isinstance(error, Refusal):
                raise ServerError(str(error)) from error
            raise

    async def start(self) -> None:
        """
        Open all ports, and continue what an earlier server has left.

        Connections wait until the state has been read: nobody is told that an application
        or a request does not exist that the server does not know of yet.

        Raises:
            ServerError: A port is taken, the address is not one of this machine, or the
                database cannot be read.
        """
        self._ends.callback(self.directory.drop_sockets, if_empty=True)
        self._ends.callback(self.database.close)
        self._ends.push_async_callback(self.logs.close)
        self._ends.push_async_callback(self.launcher.close)
        self._ends.push_async_callback(self.catalog.close)
        self._ends.callback(self.functions.close)
        self._ends.push_async_callback(self.queue.close)
        try:
            self.doors = Doors.create(self.settings, self.directory, self.ports, self._ends)
            await self._listen()
            await self.launcher.seclusion.look()
            await self.launcher.scheduler.look()
            await self.deployments.start()
            await self.queue.start()
            self.doors.open()
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
        Close all ports, give requests time to finish, and close the database.
        """
        await self._ends.aclose()

    def _make_controller(self, mouth: TunnelMouth) -> Controller:
        """
        Make the gRPC service from the objects that implement its methods.
        """
        return Controller(
            self.identity,
            self.metrics,
            mouth.recognise,
            KeyMethods(self.database, self.identity),
            StageMethods(self.stages, self.vault),
            self.runs,
            ApplicationMethods(self.launcher, self.deployments, self.urls),
            RunnerMethods(self.catalog, self.functions),
        )

    def _make_api(self) -> web.Application:
        """
        Make the HTTP side of the API.
        """
        shares = StorageShares(self.database, self.blobs, self.settings.limits)
        storage = StorageRoutes(self.stored_files, self.blobs, shares, self.identity, self.urls)
        return make_application(
            self.identity,
            self.metrics,
            [
                OpenRoute("GET", "/health", _healthy),
                *AccountRoutes(self.database).routes(),
                *ApplicationRoutes(self.catalog, self.queue).routes(),
                *RunnerRoutes(self.catalog).routes(),
                *LogRoutes(self.logs, self.identity.revocations).routes(),
                *AppFileRoutes(self.files, self.blobs, shares).routes(),
                *storage.routes(),
                *TokenRoutes(self.identity.tokens, self.catalog, self.urls).routes(),
            ],
        )

    async def _listen(self) -> None:
        """
        Listen at all ports.
        """
        doors, router = self.doors, self.queue.router
        cors, limits = self.settings.cors, self.settings.limits
        room = WaitingRoom(limits)
        mouth = await self._start_grpc()
        doors.listen("api", await self._start_http(self._make_api()), mouth=mouth)
        for name, gateway in (
            ("run", RunGateway(router, room, cors=cors)),
            ("queue", QueueGateway(router, self.queue, self.logs, self.urls)),
            ("ws", WebSocketGateway(router, room)),
        ):
            doors.listen(name, doors.start_gateway(serve_gateway(gateway.answer, cors=cors)))
        asks = self.settings.asks_for_metrics_key
        key = self.keys.read_metrics_key() if asks else None
        doors.listen("metrics", await self._start_http(self.metrics.make_application(key)))

    async def _start_grpc(self) -> TunnelMouth:
        """
        Start the gRPC server, and return what makes tunnels to it.
        """
        server = make_server(self.settings.limits)
        folder = self.directory.make_socket_folder()
        self._ends.callback(shutil.rmtree, folder, ignore_errors=True)
        path = str(Path(folder) / "grpc")
        mouth = TunnelMouth(path, self.settings.limits)
        controller = self._make_controller(mouth)
        server.add_generic_rpc_handlers((controller.handler(), OtherMethods()))
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        self._ends.push_async_callback(server.stop, self.settings.drain)
        return mouth

    async def _start_http(self, application: web.Application) -> ProtocolFactory:
        application.on_shutdown.append(self._end_streams)
        return await self.doors.start_http(application)

    async def _end_streams(self, _: web.Application) -> None:
        self.logs.end_following()

    def _start_rounds(self) -> None:
        rounds = Housekeeping(
            certificate=self.doors.certificate,
            blobs=self.blobs,
            stored_files=self.stored_files,
            contexts=self.contexts,
            requests=self.queue.requests,
            responses=self.queue.responses,
            logs=self.logs,
            responses_kept=self.settings.limits.responses_kept,
        )
        self._ends.push_async_callback(_end_task, asyncio.create_task(rounds.run()))


async def _healthy(_: web.Request) -> web.Response:
    return web.json_response({"status": "ok"}, headers={"Fal-Core-Abilities": ABILITIES})


async def _end_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def describe_ports(ports: Mapping[str, int]) -> str:
    """
    Return one line with the names and numbers of *ports*.
    """
    return ", ".join(f"{name} {port}" for name, port in ports.items())


async def serve(settings: ServerSettings, stop: asyncio.Event, started: Any) -> None:
    """
    Run a control plane until *stop* is set. *started* is called with it once it runs.
    """
    plane = ControlPlane.create(settings)
    await plane.start()
    try:
        started(plane)
        await stop.wait()
    finally:
        await plane.close()
