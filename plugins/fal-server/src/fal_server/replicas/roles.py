"""Roles: a replica decides, or follows another one that does, and changes from one to the other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import platform
import secrets
from collections.abc import Callable, Mapping
from importlib.metadata import version

import attrs

from fal_server.claims.claims import APPLICATIONS, Fence, refuse_writes
from fal_server.claims.memberships import Membership, Standing
from fal_server.claims.replicas import (
    Replica,
    check_others,
    name_files,
    name_machine,
    read_replicas,
)
from fal_server.errors import Fenced, ServerError
from fal_server.listeners.doors import Doors, Service
from fal_server.replicas.deciders import Decider
from fal_server.replicas.followers import Follower
from fal_server.replicas.grounds import Ground
from fal_server.replicas.leftovers import Leftovers
from fal_server.replicas.lines import Lines, share_secret
from fal_server.replicas.seats import Seats
from fal_server.store.runner_records import RunnerRecords

logger = logging.getLogger(__name__)

#: Addresses that stand for all interfaces, and what reaches a server there from its machine.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}

#: Seconds between two looks at the certificate.
_ROUND = 3600.0


@attrs.define(eq=False)
class Roles:
    """
    What a server does among others on one database.

    Arguments:
        decides: Called with what decides here, and with None when that has ended.
    """

    ground: Ground
    doors: Doors
    decides: Callable[[Decider | None], None]
    _seats: Seats = attrs.field(factory=Seats)
    _lines: Lines = attrs.field(init=False)
    _follower: Follower = attrs.field(init=False)
    _services: Mapping[str, Service] = attrs.field(factory=dict)
    _membership: Membership | None = None
    _standing: Standing | None = None
    _decider: Decider | None = None
    _token: int = 0
    _news: asyncio.Event = attrs.field(factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None
    _renewing: asyncio.Task[None] | None = None
    _watching: asyncio.Task[None] | None = None
    _began: asyncio.Future[None] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        secret = share_secret(self.ground.keys.read("signing.key"))
        self.doors.connections.relay_secret = secret
        self._lines = Lines(self._seats, secret)
        self._follower = Follower(self.ground, self.doors, self._lines, self._announce)
        self.ground.database.fence = refuse_writes
        self._began = asyncio.get_running_loop().create_future()

    async def serve(self) -> Mapping[str, Service]:
        """Start what answers at the ports while another replica decides, by their names."""
        self._services = await self._follower.serve()
        return self._services

    async def start(self) -> None:
        """
        Join the other replicas, and return when this one decides or has found out who does.

        Raises:
            ServerError: The others cannot reach this one, or it reads no state.
        """
        settings = self.ground.settings
        address = settings.advertise or _ANY.get(settings.host, settings.host)
        machine = name_machine()
        me = Replica(
            id=f"{platform.node().partition('.')[0]}-{secrets.token_hex(4)}",
            address=address,
            ports=dict(self.ground.ports),
            authority=(self.ground.directory.tls / "ca.pem").read_text(),
            machine=machine,
            files=name_files(settings.files, self.ground.directory.path, machine),
            version=version("fal-server"),
        )
        check_others(me, await self.ground.database.read(read_replicas))
        self._membership = Membership(self.ground.database.url, me, self._changed, self._woken)
        self._task = asyncio.create_task(self._follow())
        leftovers = Leftovers(RunnerRecords(self.ground.database), machine)
        self._watching = asyncio.create_task(
            leftovers.watch(lambda: self._is_elsewhere(machine))
        )
        self._renewing = asyncio.create_task(self._renew())
        self._membership.start()
        await asyncio.shield(self._began)

    async def close(self) -> None:
        """
        Give requests time to finish, and let another replica decide.

        Until they have finished, this one is among the others: what it has stored meanwhile is
        announced to the leader, and what it has passed on is answered.
        """
        membership, ends = self._membership, [self._follower.close()]
        for task in (self._task, self._watching, self._renewing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._decider is not None:
            ends.append(self._decider.close())
        elif membership is not None:
            membership.resign()
        await asyncio.gather(*ends)
        if membership is not None:
            await asyncio.to_thread(membership.close)
        await self._lines.close()

    # -- what the membership tells ---------------------------------------------------------

    def _changed(self, standing: Standing) -> None:
        self._standing = standing
        self._seats.change(standing.decider, standing.token)
        self._news.set()

    def _announce(self) -> None:
        if self._membership is not None:
            self._membership.announce()

    def _woken(self) -> None:
        assert self._membership is not None
        self.ground.database.clock = self._membership.clock
        if self._decider is not None:
            self._decider.queue.take_arrivals()

    async def _renew(self) -> None:
        """Renew the certificate in time, whether this replica decides or not."""
        while True:
            await asyncio.sleep(_ROUND)
            try:
                self.doors.certificate.renew()
            except (OSError, ServerError):
                # The certificate is valid for another month.
                logger.exception("The certificate could not be renewed")

    def _is_elsewhere(self, machine: str) -> bool:
        """Return whether a replica on another machine decides."""
        seat = self._seats.now
        return self._decider is None and seat is not None and seat.replica.machine != machine

    # -- changes ---------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Do what the claim says."""
        while True:
            await self._news.wait()
            self._news.clear()
            standing = self._standing
            assert standing is not None
            if self._decider is not None and self._token != standing.token:
                await self._step_down()
            if standing.is_mine and self._decider is None:
                await self._decide(standing.token)
            if not self._began.done():
                self._began.set_result(None)

    async def _decide(self, token: int) -> None:
        """Begin to run the applications, unless another replica does so meanwhile."""
        ground, membership = self.ground, self._membership
        assert membership is not None
        ground.database.fence = Fence(APPLICATIONS, membership.me.id, token)
        ground.identity.runner_keys.clear()
        ground.vault.clear_cache()
        decider: Decider | None = None
        try:
            decider = Decider(ground, self.doors)
            services = await decider.serve()
            await decider.start()
        except BaseException as error:
            if decider is not None:
                with contextlib.suppress(Exception):
                    await decider.break_off()
            membership.give_back(token)
            if not isinstance(error, Exception):
                raise
            if not self._began.done():
                self._began.set_exception(error)
            elif not isinstance(error, Fenced):
                logger.exception("This replica cannot decide")
            return
        self._decider, self._token = decider, token
        self.decides(decider)
        self.doors.hand_over(services)
        decider.keep_house()
        membership.answers(token)

    async def _step_down(self) -> None:
        """
        Leave the applications to another replica. What is under way here breaks off, and
        runners of applications go on.
        """
        decider, self._decider = self._decider, None
        assert decider is not None
        self.ground.database.fence = refuse_writes
        self.doors.hand_over(self._services)
        self.decides(None)
        try:
            await decider.break_off()
        except Exception:
            logger.exception("What this replica did could not be ended in order")
