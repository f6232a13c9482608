"""
Deciders: the part of a server that runs the applications of a state. One server has it at a
time.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Mapping
from ipaddress import ip_network
from typing import Any

import attrs
from aiohttp import web
from aiohttp.web_request import BaseRequest

from fal_server.account_data.contents import AccountData
from fal_server.account_data.fetches import Fetcher
from fal_server.account_data.routes import AccountDataRoutes
from fal_server.activity.deployment_records import DeploymentRecords
from fal_server.activity.measurements import Measurements
from fal_server.activity.traffic import Traffic
from fal_server.dashboard.control_routes import ControlRoutes
from fal_server.dashboard.dashboards import Dashboard
from fal_server.dashboard.live_routes import LiveRoutes
from fal_server.dashboard.request_routes import RequestRoutes
from fal_server.dashboard.session_routes import SessionRoutes
from fal_server.dashboard.snapshots import Snapshots, count_applications
from fal_server.fleet.launching import RunnerLauncher
from fal_server.fleet.payloads import Payloads, RunnerFolders
from fal_server.gateways.http_servers import Handler, serve_gateway
from fal_server.gateways.playgrounds import Playgrounds
from fal_server.gateways.queue_gateway import QueueGateway
from fal_server.gateways.run_gateway import RunGateway
from fal_server.gateways.websocket_gateway import WebSocketGateway
from fal_server.grpc.application_methods import ApplicationMethods
from fal_server.grpc.function_calls import FunctionCalls
from fal_server.grpc.interactive_methods import InteractiveMethods
from fal_server.grpc.key_methods import KeyMethods
from fal_server.grpc.map_methods import MapMethods
from fal_server.grpc.run_methods import RunMethods
from fal_server.grpc.runner_methods import RunnerMethods
from fal_server.grpc.service import Controller
from fal_server.grpc.stage_methods import StageMethods
from fal_server.http.account_routes import AccountRoutes, ApplicationRoutes, RunnerRoutes
from fal_server.http.api import OpenRoute, make_application
from fal_server.http.fleet_metrics import FleetMetrics
from fal_server.http.gpu_routes import GpuRoutes
from fal_server.http.key_value_routes import KeyValueRoutes
from fal_server.http.log_routes import LogRoutes
from fal_server.http.token_routes import TokenRoutes
from fal_server.http.upload_routes import AppFileRoutes, StorageRoutes
from fal_server.key_values.stored_values import StoredValues
from fal_server.listeners.doors import Doors, Service
from fal_server.listeners.drains import MOMENT, Drain
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.logs.logs import Logs
from fal_server.queue.request_queues import RequestQueue
from fal_server.queue.webhook_signatures import KEYS, WebhookSignatures
from fal_server.queue.webhooks import KEY as WEBHOOKS_KEY
from fal_server.queue.webhooks import Webhooks
from fal_server.replicas.grounds import Ground
from fal_server.replicas.http_relays import DeciderLost
from fal_server.routing.catalogs import ApplicationCatalog
from fal_server.routing.deployments import Deployments
from fal_server.routing.function_pools import FunctionPools
from fal_server.routing.revision_pools import RevisionPools
from fal_server.routing.routers import Router
from fal_server.routing.waiting_room import WaitingRoom
from fal_server.shells.shell_methods import ShellMethods
from fal_server.specs.memory import read_sizes
from fal_server.state.bodies import BodyFiles
from fal_server.state.disk_reserves import DiskReserve
from fal_server.store.build_contexts import BuildContexts
from fal_server.store.housekeeping import Housekeeping
from fal_server.store.kept_responses import KeptResponses
from fal_server.store.queued_requests import QueuedRequests
from fal_server.store.revisions import Revisions
from fal_server.store.runner_records import RunnerRecords
from fal_server.store.storage_shares import StorageShares
from fal_server.telemetry.contexts import no_span
from fal_server.telemetry.exports import Answer
from fal_server.workflows.routes import WorkflowRoutes


@attrs.define(eq=False)
class Duties:
    """The requests that are being answered."""

    _tasks: set[asyncio.Task[Any]] = attrs.field(factory=set)
    _is_over: bool = False

    def guard(self, answer: Handler) -> Handler:
        """
        Return *answer* as it is until the replica decides no longer, when its requests are
        told that they may have run.
        """

        async def guarded(request: BaseRequest) -> web.StreamResponse:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                return await answer(request)
            except asyncio.CancelledError:
                if not self._is_over or request.writer.output_size:
                    raise
                if sys.version_info >= (3, 11):
                    task.uncancel()
                raise DeciderLost from None
            finally:
                self._tasks.discard(task)

        return guarded

    def end(self) -> None:
        """Break off what has not ended."""
        self._is_over = True
        for task in self._tasks:
            task.cancel()


#: What clients may rely on that fal's protocol does not have: words, separated by spaces.
ABILITIES = "idempotency-keys deployments"


@attrs.define(eq=False)
class Decider:
    """
    Runs the applications of a state: their runners, the queue, and what is answered with them.

    It is made in the event loop in which it is started and closed.

    Attributes:
        drain: How long requests have to finish when it ends.
    """

    ground: Ground
    doors: Doors
    drain: Drain = attrs.field(init=False)
    logs: Logs = attrs.field(init=False)
    contexts: BuildContexts = attrs.field(init=False)
    launcher: RunnerLauncher = attrs.field(init=False)
    catalog: ApplicationCatalog = attrs.field(init=False)
    deployments: Deployments = attrs.field(init=False)
    functions: FunctionPools = attrs.field(init=False)
    calls: FunctionCalls = attrs.field(init=False)
    queue: RequestQueue = attrs.field(init=False)
    shares: StorageShares = attrs.field(init=False)
    data: AccountData = attrs.field(init=False)
    values: StoredValues = attrs.field(init=False)
    traffic: Traffic = attrs.field(init=False)
    _playgrounds: Playgrounds = attrs.field(init=False)
    _live: LiveRoutes | None = attrs.field(default=None, init=False)
    _duties: Duties = attrs.field(factory=Duties)
    _ends: contextlib.AsyncExitStack = attrs.field(factory=contextlib.AsyncExitStack)

    def __attrs_post_init__(self) -> None:
        ground = self.ground
        settings, directory, metrics = ground.settings, ground.directory, ground.metrics
        limits, urls, database = settings.limits, ground.urls, ground.database
        self.drain = Drain(settings.drain)
        self.logs = Logs(database, metrics.log_lines.inc, limits)
        if ground.exports is not None and ground.exports.sends_logs:
            self.logs.listeners.append(ground.exports.take_lines)
        sizes = read_sizes(settings.memory)
        folders = RunnerFolders(
            ground.store.path_of("accounts") or directory.path / "accounts",
            directory.tls / "bundle.pem",
            directory.make_sockets,
            ground.ports,
        )
        self.shares = StorageShares(database, ground.blobs, limits)
        fetcher = Fetcher([ip_network(each) for each in settings.webhook_networks])
        self.data = AccountData.create(
            folders.data, database, ground.blobs, self.shares, fetcher, limits
        )
        self.values = StoredValues(database, limits)
        self.contexts = BuildContexts(ground.files, directory.path / "contexts", limits)
        self.launcher = RunnerLauncher(
            settings.machines,
            self.logs,
            sizes,
            directory.make_sockets,
            metrics.starts.observe,
            owner=f"The server of {directory.path}",
            allows_open=settings.allow_open_runners,
            kinds=settings.kinds,
            folders=folders,
            prepare=self.contexts.prepare,
            limits=limits,
            enforces=settings.enforce,
        )
        runners, keys = directory.path / "runners", ground.identity.runner_keys
        seen = (folders, keys, self.contexts, settings.lead_runners)
        payloads = Payloads(ground.vault, ground.files, urls, runners, *seen)
        revisions = Revisions(database)
        fleet = RevisionPools(self.launcher, revisions, RunnerRecords(database), payloads)
        self.catalog = ApplicationCatalog(revisions, fleet, DeploymentRecords(database))
        self.deployments = Deployments(self.catalog)
        self.functions = FunctionPools(self.launcher, payloads)
        self.calls = FunctionCalls(self.launcher, self.catalog, self.functions, payloads)
        self.queue = make_queue(ground, Router(self.catalog, ground.identity))
        self._playgrounds = Playgrounds(
            self.queue.router, revisions, self.logs, urls, cors=settings.cors
        )
        self.traffic = Traffic(Measurements(database))
        self.queue.observe = self.traffic.observe

    async def serve(self) -> Mapping[str, Service]:
        """Start what answers at the ports, by their names."""
        ground, doors = self.ground, self.doors
        ends, cors = self._ends, ground.settings.cors
        ends.push_async_callback(self.logs.close)
        ends.push_async_callback(self.launcher.close)
        ends.push_async_callback(self.catalog.close)
        ends.callback(self.functions.close)
        ends.push_async_callback(self.queue.close)
        router, room = self.queue.router, WaitingRoom(ground.settings.limits)
        grpc = self._start_grpc()
        api = self._make_api()
        api.on_shutdown.append(self._end_streams)
        services = {"api": Service(await doors.start_http(api, ends, self.drain), grpc)}
        for name, gateway in (
            (
                "run",
                RunGateway(
                    router,
                    room,
                    cors=cors,
                    playgrounds=self._playgrounds,
                    traffic=self.traffic,
                ),
            ),
            ("queue", QueueGateway(router, self.queue, self.logs, ground.urls)),
            ("ws", WebSocketGateway(router, room, traffic=self.traffic)),
        ):
            answer: Answer = gateway.answer
            if ground.exports is not None:
                answer = ground.exports.trace(name, answer)
            server = serve_gateway(self._duties.guard(answer), cors=cors)
            services[name] = Service(doors.start_gateway(server, ends, self.drain))
        return services

    async def start(self) -> None:
        """Read the state, and continue what an earlier server has left."""
        fleet_metrics = FleetMetrics(self.catalog, self.queue, self.functions)
        registry = self.ground.metrics.registry
        registry.register(fleet_metrics)
        self._ends.callback(registry.unregister, fleet_metrics)
        if self.ground.exports is not None:
            sending = asyncio.create_task(self.ground.exports.send_metrics(registry))
            self._ends.push_async_callback(_end_task, sending)
        await asyncio.to_thread(self.data.drop_left)
        await self.launcher.hosts.look()
        await self.deployments.start()
        await self.queue.start()

    def keep_house(self) -> None:
        """Begin to renew and to delete what has expired."""
        ground = self.ground
        rounds = Housekeeping(
            certificate=self.doors.certificate,
            blobs=ground.blobs,
            stored_files=ground.stored_files,
            contexts=self.contexts,
            values=self.values,
            requests=self.queue.requests,
            responses=self.queue.responses,
            logs=self.logs,
            responses_kept=ground.settings.limits.responses_kept,
        )
        self._ends.push_async_callback(_end_task, asyncio.create_task(rounds.run()))
        counting = self.traffic.run(
            lambda: count_applications(self.catalog, self.queue), ground.identity.store_uses
        )
        self._ends.push_async_callback(_end_task, asyncio.create_task(counting))

    async def break_off(self) -> None:
        """End at once, as another replica decides. Requests that are not answered are told so."""
        self.drain.seconds = MOMENT
        self._duties.end()
        await self.close()

    async def close(self) -> None:
        """Give requests time to finish, and end. Runners of applications go on."""
        await self._ends.aclose()

    def _make_controller(self) -> Controller:
        """Make the gRPC service from the objects that implement its methods."""
        ground = self.ground
        runs = RunMethods(self.calls, ground.urls)
        runners = RunnerMethods(self.catalog, self.functions)
        return Controller(
            ground.identity,
            ground.metrics,
            KeyMethods(ground.database, ground.identity),
            StageMethods(ground.stages, ground.vault),
            runs,
            MapMethods(self.calls, ground.settings.limits.most_inputs),
            InteractiveMethods(runs),
            self._applications(),
            runners,
            ShellMethods(runners.find),
        )

    def _applications(self) -> ApplicationMethods:
        return ApplicationMethods(self.launcher, self.deployments, self.ground.urls)

    def _make_api(self) -> web.Application:
        """Make the HTTP side of the API."""
        ground = self.ground
        blobs, identity, urls = ground.blobs, ground.identity, ground.urls
        shares = self.shares
        dashboard = self._make_dashboard()
        storage = StorageRoutes(ground.stored_files, blobs, shares, identity, urls)
        return make_application(
            identity,
            ground.metrics,
            [
                OpenRoute("GET", "/health", healthy),
                OpenRoute("GET", KEYS, self.queue.webhooks.signatures.answer),
                *AccountRoutes(ground.database).routes(),
                *ApplicationRoutes(self.catalog, self.queue).routes(),
                *RunnerRoutes(self.catalog).routes(),
                *LogRoutes(self.logs, identity.revocations).routes(),
                *AppFileRoutes(ground.files, blobs, shares).routes(),
                *storage.routes(),
                *AccountDataRoutes(self.data).routes(),
                *KeyValueRoutes(self.values).routes(),
                *GpuRoutes(self.catalog, self.functions).routes(),
                *WorkflowRoutes(self._applications(), self.catalog).routes(),
                *TokenRoutes(identity, self.catalog, urls).routes(),
                *dashboard.routes(),
            ],
        )

    def _make_dashboard(self) -> Dashboard:
        """Make what answers the dashboard."""
        ground, traffic = self.ground, self.traffic
        snapshots = Snapshots(self.catalog, self.functions, self.queue, traffic)
        revocations = ground.identity.revocations
        self._live = LiveRoutes(snapshots, traffic.measurements, revocations)
        methods = (
            KeyMethods(ground.database, ground.identity),
            StageMethods(ground.stages, ground.vault),
            self._applications(),
            RunnerMethods(self.catalog, self.functions),
        )
        return Dashboard(
            SessionRoutes(ground.database, ground.identity, self._playgrounds, ground.urls),
            self._live,
            RequestRoutes(self.queue),
            ControlRoutes(methods, ground.database, self.launcher),
        )

    def _start_grpc(self) -> GrpcServer:
        """Start what answers gRPC connections."""
        server = GrpcServer(self._make_controller().answer, self.ground.settings.limits)

        async def stop() -> None:
            await server.close(self.drain.left())

        self._ends.push_async_callback(stop)
        return server

    async def _end_streams(self, _: web.Application) -> None:
        self.logs.end_following()
        if self._live is not None:
            await self._live.end()


def make_queue(ground: Ground, router: Router) -> RequestQueue:
    """Make the queue of requests, which is not started yet."""
    limits, requests = ground.settings.limits, QueuedRequests(ground.database)
    files = BodyFiles(ground.store.below("requests"))
    responses = KeptResponses(ground.database, files, largest=limits.largest_responses)
    webhooks = Webhooks(
        requests,
        responses,
        WebhookSignatures(ground.keys.read(WEBHOOKS_KEY)),
        [ip_network(each) for each in ground.settings.webhook_networks],
        most=limits.most_webhooks,
        observe=lambda outcome: ground.metrics.deliveries.labels(outcome).inc(),
    )
    return RequestQueue(
        router,
        requests,
        files,
        responses,
        webhooks,
        DiskReserve(ground.store.disk, limits.disk_reserve),
        limits,
        no_span if ground.exports is None else ground.exports.make_span,
    )


async def healthy(_: BaseRequest) -> web.Response:
    """Answer that the server runs, and what it can do."""
    return web.json_response({"status": "ok"}, headers={"Fal-Core-Abilities": ABILITIES})


async def _end_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
