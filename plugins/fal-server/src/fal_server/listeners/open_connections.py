"""
Open connections: how many there are, and which of them are closed to make room for others.

A client is a stranger until it has shown a valid key. Strangers may take all the room there
is, but keep nobody out: at a limit, the stranger that came first is closed.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import attrs

from fal_server.limits import Limits
from fal_server.state.tasks import wait_for_event

logger = logging.getLogger(__name__)

#: Open files that are not for connections: the database, logs, runners, and what is built.
_KEPT_FILES = 128

#: The most files that a connection takes: itself, and the connection with a runner.
_FILES_EACH = 2

#: Seconds without a closed connection after which the next one is logged again.
_QUIET = 60.0

#: Seconds after which a listener tries again that could not accept, if nothing was closed.
_PAUSE = 1.0

#: The part of an IPv6 address that one site may choose freely is not looked at.
_SITE = 64


@attrs.define(eq=False)
class OpenConnection:
    """
    One connection, from when it is accepted until it has ended.

    Attributes:
        abort: Closes it at once. The protocol that handles the connection sets it.

        is_known: Whether its client has shown a valid key.

        site: The address that it counts for. Empty where none is counted.

        among: The connections that it is one of. None where nobody counts them.

        is_counted: Whether it still counts.

        is_relayed: Whether it comes from another replica of this server.
    """

    abort: Callable[[], Any] = lambda: None
    is_known: bool = False
    site: str = ""
    among: OpenConnections | None = None
    is_counted: bool = False
    is_relayed: bool = False

    def check_relay(self, secret: str) -> None:
        """Note that it comes from another replica, if *secret* is what replicas share."""
        shared = self.among.relay_secret if self.among is not None else ""
        if shared and hmac.compare_digest(
            secret.encode(errors="surrogateescape"), shared.encode()
        ):
            self.is_relayed = True
            self.recognise()

    def recognise(self) -> None:
        """Note that its client has shown a valid key: it is not closed to make room."""
        if not self.is_known:
            self.is_known = True
            if self.among is not None:
                self.among.recognise(self)

    def has_ended(self) -> None:
        """Note that it has ended."""
        if self.among is not None:
            self.among.remove(self)


@attrs.define(eq=False)
class _Crowd:
    """Connections that share a limit: all of them, or those of one address."""

    most: int
    count: int = 0
    #: The one that came first is the first.
    strangers: dict[OpenConnection, None] = attrs.field(factory=dict)

    def add(self, connection: OpenConnection) -> None:
        self.count += 1
        self.strangers[connection] = None

    def remove(self, connection: OpenConnection) -> None:
        self.count -= 1
        self.strangers.pop(connection, None)


class OpenConnections:
    """
    The connections of all listeners of a server.

    Arguments:
        proxies: Addresses and networks of reverse proxies, as in ``10.0.0.0/8``, which
            have connections of many clients.

        files: How many files the server may have open. None for any number.
    """

    def __init__(
        self, limits: Limits, proxies: Iterable[str] = (), *, files: int | None = None
    ) -> None:
        most = limits.most_connections
        if files is not None:
            most = max(1, min(most, (files - _KEPT_FILES) // _FILES_EACH))
        #: What the replicas of this server share. Empty where there is one server alone.
        self.relay_secret = ""
        self._most = most
        self._all = _Crowd(most)
        self._lowered_until = 0.0
        self._most_of_address = limits.most_connections_by_address
        self._proxies = [ipaddress.ip_network(each) for each in proxies]
        self._sites: dict[str, _Crowd] = {}
        self._has_ended = asyncio.Event()
        self._too_many, self._too_many_of_address, self._exhausted = (
            _Burst(),
            _Burst(),
            _Burst(),
        )

    @property
    def most(self) -> int:
        """The most connections at once."""
        return self._most

    def __len__(self) -> int:
        return self._all.count

    def add(self, address: str) -> OpenConnection | None:
        """
        Count a connection from *address*, and close another one if there are too many.

        Return None if there is no room, as all the others are of clients with a key.
        """
        if self._all.most < self._most and time.monotonic() > self._lowered_until:
            self._all.most = self._most
        connection = OpenConnection(site=self._site_of(address), among=self)
        crowds = [self._all]
        if connection.site:
            crowds = [self._sites.setdefault(connection.site, _Crowd(self._most_of_address))]
            crowds.append(self._all)
        for crowd in crowds:
            if crowd.count >= crowd.most and not self._close_oldest(crowd):
                self._forget_empty(connection.site)
                return None
        if connection.site:
            # It is forgotten when the last of its connections is closed to make room.
            self._sites[connection.site] = crowds[0]
        for crowd in crowds:
            crowd.add(connection)
        connection.is_counted = True
        return connection

    async def wait_for_room(self, error: OSError) -> None:
        """
        Make room for other connections, after the system has refused to open one with
        *error*, and wait until there is some.

        For a while there are fewer connections, so that those which are accepted have the
        files that they need besides.
        """
        self._exhausted.note("No connection could be opened: %s.", error.strerror or error)
        self._has_ended.clear()
        count = self._all.count
        self._all.most = max(1, min(self._all.most, count - max(_FILES_EACH, count // 4)))
        self._lowered_until = time.monotonic() + _QUIET
        while self._all.count > self._all.most and self._close_one(self._all):
            pass
        await wait_for_event(self._has_ended, _PAUSE)

    def recognise(self, connection: OpenConnection) -> None:
        """Take *connection* out of those that are closed to make room."""
        for crowd in self._crowds_of(connection):
            crowd.strangers.pop(connection, None)

    def remove(self, connection: OpenConnection) -> None:
        """Note that *connection* has ended."""
        self._uncount(connection)
        self._has_ended.set()

    def _close_oldest(self, crowd: _Crowd) -> bool:
        """Close the stranger that came first. Return False if there is none."""
        burst, whose = self._too_many, ""
        if crowd is not self._all:
            burst, whose = self._too_many_of_address, " of one address"
        burst.note(
            "There are %d connections%s. To make room, those that came first are closed, of "
            "clients that have shown no key.",
            crowd.most,
            whose,
        )
        return self._close_one(crowd)

    def _close_one(self, crowd: _Crowd) -> bool:
        oldest = next(iter(crowd.strangers), None)
        if oldest is None:
            return False
        self._uncount(oldest)
        oldest.abort()
        return True

    def _uncount(self, connection: OpenConnection) -> None:
        if connection.is_counted:
            connection.is_counted = False
            for crowd in self._crowds_of(connection):
                crowd.remove(connection)
            self._forget_empty(connection.site)

    def _crowds_of(self, connection: OpenConnection) -> list[_Crowd]:
        site = self._sites.get(connection.site)
        return [self._all] if site is None else [self._all, site]

    def _forget_empty(self, site: str) -> None:
        if site in self._sites and not self._sites[site].count:
            del self._sites[site]

    def _site_of(self, address: str) -> str:
        """Return what an address counts for. Empty for this machine, and for proxies."""
        found = read_address(address)
        if found is None or found.is_loopback:
            return ""
        if any(found in network for network in self._proxies):
            return ""
        if isinstance(found, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((found, _SITE), strict=False))
        return str(found)


class _Burst:
    """Something that may happen often in a short time, and is logged once then."""

    def __init__(self) -> None:
        self._last = -_QUIET

    def note(self, message: str, *arguments: Any) -> None:
        now = time.monotonic()
        if now - self._last >= _QUIET:
            logger.warning(message, *arguments)
        self._last = now


def read_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address that *text* stands for, without a zone. None if it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
