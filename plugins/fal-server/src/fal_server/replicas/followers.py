"""
Followers: what a replica answers while another one decides.

It accepts requests for the queue, and reads their status and their responses. All else is
passed on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

import attrs
from aiohttp import web
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from fal_server.access.callers import Caller
from fal_server.access.identities import shown_key
from fal_server.errors import Refusal, Unauthenticated
from fal_server.gateways.http_servers import Handler, is_websocket, serve_gateway, with_token
from fal_server.gateways.queue_gateway import QueueGateway
from fal_server.listeners.doors import Doors, Service
from fal_server.listeners.drains import Drain
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.listeners.http_connections import is_relayed, recognise
from fal_server.logs.logs import StoredLogs
from fal_server.replicas.accepting import AcceptingQueue
from fal_server.replicas.deciders import healthy, make_queue
from fal_server.replicas.grounds import Ground
from fal_server.replicas.grpc_relays import GrpcRelay
from fal_server.replicas.http_relays import HttpRelay, refuse_relayed
from fal_server.replicas.lines import Lines
from fal_server.replicas.stored_applications import StoredApplications
from fal_server.replicas.websocket_relays import WebSocketRelay
from fal_server.routing.routers import Router, split_path
from fal_server.routing.waiting_room import WaitingRoom
from fal_server.store.revisions import Revisions


@attrs.define(eq=False)
class Follower:
    """
    Answers at the ports of a replica while another one decides.

    Attributes:
        announce: Called when a request was accepted for the queue.
    """

    ground: Ground
    doors: Doors
    lines: Lines
    announce: Callable[[], None]
    _ends: contextlib.AsyncExitStack = attrs.field(factory=contextlib.AsyncExitStack)
    _room: WaitingRoom = attrs.field(init=False)
    _relay: HttpRelay = attrs.field(init=False)
    _sockets: WebSocketRelay = attrs.field(init=False)
    _applications: StoredApplications = attrs.field(init=False)
    _queue: AcceptingQueue = attrs.field(init=False)
    _gateway: QueueGateway = attrs.field(init=False)
    _drain: Drain = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        ground = self.ground
        self._drain = Drain(ground.settings.drain)
        self._room = WaitingRoom(ground.settings.limits)
        self._relay = HttpRelay(self.lines, self._room)
        self._sockets = WebSocketRelay(self.lines, self._room, ground.identity.revocations)
        self._applications = StoredApplications(Revisions(ground.database))
        router = Router(self._applications, ground.identity)
        whole = make_queue(ground, router)
        self._queue = AcceptingQueue(
            ground.database,
            whole.reception,
            whole.requests,
            whole.responses,
            whole.webhooks,
            self.announce,
        )
        logs = StoredLogs(ground.database)
        self._gateway = QueueGateway(router, self._queue, logs, ground.urls)

    async def serve(self) -> Mapping[str, Service]:
        """
        Start what answers at the ports, by their names.
        """
        doors, ends = self.doors, self._ends
        ends.push_async_callback(self._queue.close)
        grpc = self._start_grpc()
        services = {}
        answers: Mapping[str, Handler] = {
            "api": self._answer_api,
            "run": self._answer_run,
            "queue": self._answer_queue,
            "ws": self._answer_websocket,
        }
        for name, answer in answers.items():
            cors = self.ground.settings.cors and name != "api"
            server = serve_gateway(answer, cors=cors)
            http = doors.start_gateway(server, ends, self._drain)
            services[name] = Service(http, grpc if name == "api" else None)
        return services

    async def close(self) -> None:
        """
        End what is passed on.
        """
        await self._ends.aclose()

    async def _answer_api(self, request: BaseRequest) -> web.StreamResponse:
        if request.path == "/health" and request.method == "GET":
            return await healthy(request)
        return await self._relay.forward(request, "api", await self._identify(request))

    async def _answer_run(self, request: BaseRequest) -> web.StreamResponse:
        caller = await self._identify(request)
        if is_websocket(request):
            return await self._sockets.forward(request, "run", caller)
        return await self._relay.forward(request, "run", caller)

    async def _answer_websocket(self, request: BaseRequest) -> web.StreamResponse:
        caller = await self._identify(request)
        if is_websocket(request):
            return await self._sockets.forward(request, "ws", caller)
        return await self._relay.forward(request, "ws", caller)

    async def _answer_queue(self, request: BaseRequest) -> web.StreamResponse:
        """
        Accept a request, or answer what is read of one.
        """
        if is_relayed(request):
            return refuse_relayed()
        is_ours = not self._shows_runner_key(request) and not _cancels(request)
        if is_ours and await self._applications.load(*_name_of(request)):
            await self._queue.look()
            return await self._gateway.answer(request)
        # Applications that live as long as a run are known to whoever runs them.
        return await self._relay.forward(request, "queue", await self._identify(request))

    async def _identify(self, request: BaseRequest) -> Caller | None:
        """
        Return who sends a request, as far as this replica knows. Who may do what is decided
        where the request is passed on to.
        """
        headers = with_token(request)
        if "Authorization" not in headers or self._shows_runner_key(request):
            return None
        try:
            caller = await self.ground.identity.authenticate_http(headers)
        except Refusal:
            return None
        recognise(request)
        return caller

    def _shows_runner_key(self, request: BaseRequest) -> bool:
        shown = shown_key({"authorization": request.headers.get("Authorization", "")})
        return shown is not None and self.ground.identity.runner_keys.made(shown.id)

    async def _admit(self, headers: CIMultiDict[str]) -> None:
        """
        Check the key of a gRPC call.

        Raises:
            Unauthenticated: It is not valid.
        """
        shown = shown_key(headers)
        if shown is not None and self.ground.identity.runner_keys.made(shown.id):
            if not self.ground.identity.runner_keys.is_genuine(shown.id, shown.secret):
                raise Unauthenticated("The key is not valid.")
            return
        await self.ground.identity.authenticate(headers)

    def _start_grpc(self) -> GrpcServer:
        relay = GrpcRelay(self.lines, self._admit)
        server = GrpcServer(relay.answer, self.ground.settings.limits)

        async def stop() -> None:
            await server.close(self._drain.left())

        self._ends.push_async_callback(stop)
        return server


def _name_of(request: BaseRequest) -> tuple[str, str]:
    """
    Return the owner and the alias in the URL of a request, empty where there are none.
    """
    owner, alias, _ = split_path(request.rel_url.raw_path)
    return owner, alias


def _cancels(request: BaseRequest) -> bool:
    """
    Return whether a request changes a queued one.
    """
    parts = request.rel_url.raw_path.rstrip("/").split("/")
    return len(parts) > 3 and parts[3] == "requests" and request.method not in ("GET", "HEAD")
