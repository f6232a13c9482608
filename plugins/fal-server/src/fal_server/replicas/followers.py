"""
Followers: what a replica answers while another one decides.

It accepts requests for the queue, and reads their status and their responses. All else is
passed on.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

import aiohttp
import attrs
from aiohttp import WSCloseCode, web
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from fal_server.access.callers import Caller
from fal_server.access.identities import shown_key
from fal_server.access.revocations import Revocations
from fal_server.errors import NotFound, Refusal, Unauthenticated, Unavailable
from fal_server.gateways.http_servers import Handler, is_websocket, serve_gateway, with_token
from fal_server.gateways.incoming_websockets import IncomingWebSocket, accept_websocket
from fal_server.gateways.queue_gateway import QueueGateway
from fal_server.gateways.websocket_relays import relay_to_the_end
from fal_server.listeners.doors import Doors, Service
from fal_server.listeners.drains import Drain
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.listeners.http_connections import RELAY, Unreadable, is_relayed, recognise
from fal_server.logs.logs import StoredLogs
from fal_server.replicas.accepting import AcceptingQueue
from fal_server.replicas.deciders import healthy, make_queue
from fal_server.replicas.grounds import Ground
from fal_server.replicas.grpc_relays import GrpcRelay
from fal_server.replicas.http_relays import PAUSE, HttpRelay, NotBegun, refuse_relayed
from fal_server.replicas.lines import Line, Lines
from fal_server.replicas.seats import PATIENCE
from fal_server.routing.applications import Application
from fal_server.routing.headers import without_hops
from fal_server.routing.revision_pools import make_closed_pool
from fal_server.routing.routers import Router, split_path
from fal_server.routing.waiting_room import WaitingRoom
from fal_server.specs.request_retries import RequestRetries, read_retries
from fal_server.store.revisions import Alias, Revisions

#: What a client is told whose websocket ends with the replica that decided.
_LOST = b"The replica of the server that had the websocket was lost: connect again."


@attrs.define(eq=False)
class WebSocketRelay:
    """Passes websockets on to the replica that decides."""

    lines: Lines
    room: WaitingRoom
    revocations: Revocations

    async def forward(
        self, request: BaseRequest, listener: str, caller: Caller | None
    ) -> web.StreamResponse:
        """
        Relay a websocket of the replica that decides, at its port for *listener*, until
        either end closes it.

        Raises:
            NobodyDecides: No replica has decided for a while.
        """
        if is_relayed(request):
            return refuse_relayed()
        if not web.WebSocketResponse().can_prepare(request):
            raise Unreadable
        until = asyncio.get_running_loop().time() + PATIENCE
        with accept_websocket(request, self.room, caller) as accepted:
            while True:
                line = await self.lines.wait(until)
                try:
                    return await self._relay(line, accepted, listener, caller)
                except NotBegun:
                    await asyncio.sleep(PAUSE)
                    if asyncio.get_running_loop().time() > until:
                        raise

    async def _relay(
        self, line: Line, accepted: IncomingWebSocket, listener: str, caller: Caller | None
    ) -> web.StreamResponse:
        request = accepted.request
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        headers = without_hops(request.headers)
        for name in [each for each in headers if each.lower().startswith("sec-websocket")]:
            headers.popall(name, None)
        headers[RELAY] = self.lines.secret
        opened = line.http.connect(
            line.seat.replica.url(listener),
            request.rel_url.raw_path_qs,
            headers=headers,
            protocols=tuple(each.strip() for each in offered.split(",") if each.strip()),
        )
        has_opened = False
        try:
            async with opened as upstream:
                has_opened = True
                chosen = (upstream.protocol,) if upstream.protocol else ()
                socket = accepted.make_response(chosen)
                hold = self.revocations.hold(caller)
                code = await relay_to_the_end(accepted, socket, upstream, hold)
                code = code or upstream.close_code or WSCloseCode.OK
        except aiohttp.WSServerHandshakeError as error:
            return _refuse(error)
        except (aiohttp.ClientError, OSError) as error:
            if has_opened:
                raise ConnectionResetError from error
            raise NotBegun from error
        is_lost = code == WSCloseCode.ABNORMAL_CLOSURE
        with suppress(Exception):
            # The sender may take its time to agree.
            await socket.close(
                code=WSCloseCode.SERVICE_RESTART if is_lost else code,
                message=_LOST if is_lost else b"",
            )
        return socket


def _refuse(error: aiohttp.WSServerHandshakeError) -> web.Response:
    """
    Return what the replica that decides has answered in place of opening a websocket.

    Raises:
        NotBegun: It does not decide.
    """
    headers: Mapping[str, str] = error.headers or {}
    if RELAY in headers:
        raise NotBegun from error
    if error.status < 400:
        raise Unavailable("The websocket could not be opened.") from error
    passed = {
        name: value for name, value in headers.items() if name.lower().startswith("x-fal")
    }
    detail = "The websocket was refused."
    return web.json_response({"detail": detail}, status=error.status, headers=passed)


#: Seconds for which an application is known, and the most that are.
_REMEMBERED, _MANY = 1.0, 4096

#: The owner and the alias of an application.
Name = tuple[str, str]


@attrs.define(eq=False)
class StoredApplications:
    """Finds applications in the state."""

    revisions: Revisions
    _known: dict[Name, tuple[float, Application]] = attrs.field(factory=dict)
    #: What never changes of a revision.
    _declared: dict[str, tuple[RequestRetries, bool]] = attrs.field(factory=dict)

    async def load(self, owner_name: str, alias: str) -> bool:
        """Read an application, unless that was done a moment ago, and return whether there is it."""
        name, now = (owner_name, alias), time.monotonic()
        known = self._known.get(name)
        if known is not None and now - known[0] < _REMEMBERED:
            return True
        found = await self.revisions.find_alias(owner_name, alias)
        if found is None:
            self._known.pop(name, None)
            return False
        if len(self._known) >= _MANY:
            self._known.clear()
        self._known[name] = now, await self._make(found)
        return True

    def find(self, owner_name: str, alias: str) -> Application:
        """
        Return an application that was loaded.

        Raises:
            NotFound: There is none.
        """
        known = self._known.get((owner_name, alias))
        if known is None:
            raise NotFound(f"Application {owner_name[:80]}/{alias[:80]} was not found.")
        return known[1]

    async def _make(self, alias: Alias) -> Application:
        if alias.revision not in self._declared:
            if len(self._declared) >= _MANY:
                self._declared.clear()
            request = await self.revisions.request_of(alias.revision)
            self._declared[alias.revision] = read_retries(request), request.private_logs
        retries, private_logs = self._declared[alias.revision]
        return Application(
            owner=alias.account_id,
            owner_name=alias.owner_name,
            alias=alias.alias,
            auth_mode=alias.auth_mode,
            pool=make_closed_pool(),
            stage=alias.stage,
            revision=alias.revision,
            scaling=alias.scaling,
            retries=retries,
            private_logs=private_logs,
        )


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
        """Start what answers at the ports, by their names."""
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
        """End what is passed on."""
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
        """Accept a request, or answer what is read of one."""
        if is_relayed(request):
            return refuse_relayed()
        is_ours = not self._shows_runner_key(request) and not _cancels(request)
        if is_ours and await self._applications.load(*_name_of(request)):
            await self._queue.look()
            return await self._gateway.answer(request)
        # Applications that live as long as a run are known to the leader, which runs them.
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
    """Return the owner and the alias in the URL of a request, empty where there are none."""
    owner, alias, _ = split_path(request.rel_url.raw_path)
    return owner, alias


def _cancels(request: BaseRequest) -> bool:
    """Return whether a request changes a queued one."""
    parts = request.rel_url.raw_path.rstrip("/").split("/")
    return len(parts) > 3 and parts[3] == "requests" and request.method not in ("GET", "HEAD")
