"""
Memberships: a thread that shows the others that this replica lives, and that holds the claim
to decide, or takes it when nobody does.

It has a connection of its own, so that no other work of this server delays a renewal.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import attrs
import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from fal_server.claims.claims import (
    APPLICATIONS,
    CHANNEL,
    LEASE,
    NOW,
    RENEWAL,
    Claim,
    add_claim,
    give_claim_back,
    notify,
    read_claim,
    renew_claim,
    take_claim,
)
from fal_server.claims.replicas import Replica, forget_replicas, read_replicas, show_replica
from fal_server.state.database_urls import make_engines

logger = logging.getLogger(__name__)

#: Seconds for which this replica has seen the database before it takes an expired claim: after
#: the database was gone, its holder comes first.
_SETTLED = 2.0

#: Seconds before there is another attempt to connect.
_PAUSE = 0.25

#: Seconds for which the event loop may do nothing before the claim is left to others.
_LONGEST_STANDSTILL = 15.0


@attrs.frozen(kw_only=True)
class Standing:
    """
    Who decides.

    Attributes:
        token: The token of the claim.

        is_mine: Whether this replica holds the claim.

        decider: The replica that decides, once it answers. None where none does.
    """

    token: int = 0
    is_mine: bool = False
    decider: Replica | None = None


@attrs.define(eq=False)
class Membership:
    """
    This replica among those on one database.

    Arguments:
        url: The URL of the database, which is one of PostgreSQL.

        me: What the others are told of this replica.

        changed: Called in the event loop when another replica decides, or begins to answer.

        woken: Called in the event loop when requests may have been accepted elsewhere.

    Attributes:
        clock: Seconds by which the clock of the database is ahead of this machine's.
    """

    url: str
    me: Replica
    changed: Callable[[Standing], None]
    woken: Callable[[], None]
    loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop)
    clock: float = 0.0
    _token: int | None = None
    _is_ready: bool = False
    _given_back: int | None = None
    _rests_until: float = 0.0
    _told: Standing | None = None
    _moved: float = attrs.field(factory=time.monotonic)
    _announces: bool = False
    _looks: bool = False
    _resigns: bool = False
    _is_closed: bool = False
    _is_cut_off: bool = False
    _bell: tuple[socket.socket, socket.socket] = attrs.field(factory=socket.socketpair)
    _thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._thread = threading.Thread(target=self._run, name="membership", daemon=True)
        for end in self._bell:
            end.setblocking(False)

    def start(self) -> None:
        """Join the others."""
        self._thread.start()

    def answers(self, token: int) -> None:
        """Tell the others that this replica, which holds the claim by *token*, answers."""
        if self._token == token:
            self._is_ready = self._looks = True
            self._ring()

    def give_back(self, token: int) -> None:
        """Leave the claim to others, if it is held by *token*."""
        self._given_back, self._looks = token, True
        self._ring()

    def resign(self) -> None:
        """Leave the claim to others from now on, whether it is held or not."""
        self._resigns = self._looks = True
        self._ring()

    def announce(self) -> None:
        """Tell the replica that decides that a request was accepted here."""
        if not self._announces:
            self._announces = True
            self._ring()

    def close(self) -> None:
        """Give the claim back, and leave the others."""
        self._is_closed = True
        if self._thread.ident is not None:
            self._ring()
            self._thread.join()
        for end in self._bell:
            end.close()

    def _ring(self) -> None:
        with contextlib.suppress(OSError):
            # A full bell rings already, and one that is closed needs to ring no more: the
            # leader looks for itself each second.
            self._bell[0].send(b"!")

    # -- in the thread ---------------------------------------------------------------------

    def _run(self) -> None:
        engine = _make_engine(self.url)
        try:
            while not self._is_closed:
                try:
                    with engine.connect() as connection:
                        self._belong(connection)
                except (SQLAlchemyError, OSError) as error:
                    if not self._is_cut_off:
                        self._is_cut_off = True
                        logger.warning("The database cannot be reached: %s", _reason(error))
                    engine.dispose()
                    self._sleep(self._bell[1].fileno(), seconds=_PAUSE)
        except Exception:
            logger.exception("A replica has left the others")
        finally:
            engine.dispose()

    def _belong(self, connection: sa.Connection) -> None:
        """Be one of the replicas, for as long as the connection lasts."""
        connection.execute(sa.text(f"LISTEN {CHANNEL}"))
        add_claim(connection, APPLICATIONS)
        if self._is_cut_off:
            self._is_cut_off = False
            logger.warning("The database can be reached again.")
        since = time.monotonic()
        next_look = 0.0
        while not self._is_closed:
            if self._announces:
                self._announces = False
                notify(connection, "arrivals")
            if self._looks or time.monotonic() >= next_look:
                self._looks = False
                claim = self._look(connection, may_take=time.monotonic() - since > _SETTLED)
                seconds = RENEWAL if claim.holder == self.me.id else claim.expires_in
                next_look = time.monotonic() + min(max(seconds, 0.05), RENEWAL)
            self._call(self.woken)
            self._wait(connection, max(0.0, next_look - time.monotonic()))
        self._leave(connection)

    def _look(self, connection: sa.Connection, *, may_take: bool) -> Claim:
        """Give a sign of life, renew or take the claim, and tell who decides."""
        began = time.time()
        now = cast(float, connection.scalar(sa.select(NOW)))
        self.clock = now - (began + time.time()) / 2
        show_replica(connection, attrs.evolve(self.me, clock=self.clock))
        forget_replicas(connection)
        if self._token is not None:
            self._renew(connection, self._token)
        claim = read_claim(connection, APPLICATIONS)
        is_free = not claim.holder or (claim.expires_in < 0 and may_take)
        rests = self._resigns or time.monotonic() <= self._rests_until
        if self._token is None and is_free and not rests:
            self._token = take_claim(connection, APPLICATIONS, self.me.id)
            if self._token is not None:
                self._is_ready = False
                logger.warning("This replica decides now (%s).", self.me.id)
                claim = read_claim(connection, APPLICATIONS)
        self._tell(connection, claim)
        return claim

    def _renew(self, connection: sa.Connection, token: int) -> None:
        """
        Hold the claim for longer, give it back if that was asked for, or note that it was
        lost.
        """
        if self._resigns or self._given_back == token:
            give_claim_back(connection, APPLICATIONS, self.me.id, token)
            self._token, self._rests_until = None, time.monotonic() + LEASE
            return
        if time.monotonic() - self._moved > _LONGEST_STANDSTILL:
            logger.error("This replica stands still, and leaves the claim to others.")
            return
        is_ready, was_ready = self._is_ready, self._told is not None and self._told.decider
        if not renew_claim(connection, APPLICATIONS, self.me.id, token, is_ready=is_ready):
            logger.warning("Another replica decides now, and no longer this one.")
            self._token = None
        elif is_ready and not was_ready:
            notify(connection)

    def _tell(self, connection: sa.Connection, claim: Claim) -> None:
        """Tell the event loop who decides, if that has changed."""
        decider = None
        if claim.is_ready and claim.expires_in > 0:
            told = self._told.decider if self._told is not None else None
            if told is not None and told.id == claim.holder:
                decider = told
            else:
                found = [it for it in read_replicas(connection) if it.id == claim.holder]
                decider = found[0] if found else None
        is_mine = self._token is not None and claim.token == self._token
        standing = Standing(token=claim.token, is_mine=is_mine, decider=decider)
        if standing != self._told:
            self._told = standing
            self._call(self.changed, standing)
        self._call(self._move)

    def _move(self) -> None:
        """Note, in the event loop, that it moves."""
        self._moved = time.monotonic()

    def _leave(self, connection: sa.Connection) -> None:
        if self._token is not None:
            give_claim_back(connection, APPLICATIONS, self.me.id, self._token)
        forget_replicas(connection, self.me.id)

    def _wait(self, connection: sa.Connection, seconds: float) -> None:
        """Wait so many seconds, or until there is a notification."""
        driver = connection.connection.driver_connection
        assert driver is not None
        self._sleep(driver.fileno(), self._bell[1].fileno(), seconds=seconds)
        for told in driver.notifies(timeout=0):
            self._looks = self._looks or told.payload == "claims"

    def _sleep(self, *files: int, seconds: float) -> None:
        """Sleep until there is something in one of *files*, and empty the bell."""
        with selectors.DefaultSelector() as selector:
            for file in files:
                selector.register(file, selectors.EVENT_READ)
            selector.select(seconds)
        with contextlib.suppress(BlockingIOError):
            self._bell[1].recv(4096)

    def _call(self, callback: Callable[..., Any], *arguments: Any) -> None:
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback, *arguments)


def _make_engine(url: str) -> sa.Engine:
    """
    Make an engine whose connection commits each statement, and notices a database that has
    vanished.
    """
    parsed = sa.engine.make_url(url)
    patience = {"connect_timeout": "3", "tcp_user_timeout": "5000"}
    limited = parsed.update_query_dict({**patience, **parsed.query})
    engines = make_engines(limited.render_as_string(hide_password=False), readers=1)
    return engines.writing.execution_options(isolation_level="AUTOCOMMIT")


def _reason(error: Exception) -> str:
    return str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
