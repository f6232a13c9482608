"""Open connections: which are closed to make room, and which stay."""

from __future__ import annotations

import asyncio
import errno
import logging

import pytest

from fal_server.limits import Limits
from fal_server.listeners.open_connections import OpenConnection, OpenConnections

HERE, THERE, ELSEWHERE = "127.0.0.1", "192.0.2.7", "198.51.100.9"


class Visitors:
    """Clients that open connections."""

    def __init__(
        self, most: int, of_address: int = 99, proxies: tuple[str, ...] = (), **given: int
    ) -> None:
        limits = Limits(most_connections=most, most_connections_by_address=of_address)
        self.all = OpenConnections(limits, proxies, **given)
        self.closed: list[str] = []

    def open(self, name: str, address: str = HERE) -> OpenConnection | None:
        """Open a connection, whose name is noted when it is closed to make room."""
        connection = self.all.add(address)
        if connection is not None:
            connection.abort = lambda: self.closed.append(name)
        return connection


def test_stranger_that_came_first_makes_room():
    """
    At the limit, the connection that came first is closed, of a client that has shown no
    key; where all have shown one, a further connection is refused.
    """
    visitors = Visitors(3)
    known = visitors.open("known")
    assert known is not None
    known.recognise()
    for name in ("first", "second", "third"):
        visitors.open(name)
    assert (visitors.closed, len(visitors.all)) == (["first"], 3)
    for name in ("second", "third"):
        found = visitors.open(f"after {name}")
        assert found is not None
        found.recognise()
    assert visitors.closed == ["first", "second", "third"]
    assert visitors.open("too much") is None
    known.has_ended()
    assert visitors.open("again") is not None
    assert visitors.closed == ["first", "second", "third"]


def test_connections_of_one_address():
    """
    One address has only so many connections, and keeps no other out. This machine, and
    proxies, have as many as they like.
    """
    visitors = Visitors(100, of_address=2, proxies=("198.51.100.0/24",))
    for number in range(5):
        visitors.open(f"there {number}", THERE)
        visitors.open(f"here {number}", HERE)
        visitors.open(f"six {number}", "::1")
        visitors.open(f"proxy {number}", ELSEWHERE)
    assert visitors.closed == ["there 0", "there 1", "there 2"]
    assert len(visitors.all) == 17


def test_only_connection_of_an_address_makes_room():
    """A connection that takes the place of the only other one of its address counts too."""
    visitors = Visitors(100, of_address=1)
    for number in range(4):
        visitors.open(str(number), THERE)
    assert visitors.closed == ["0", "1", "2"]


def test_addresses_of_one_site():
    """Addresses that one client may choose among count as one."""
    visitors = Visitors(100, of_address=2)
    for number, address in enumerate(("2001:db8::1", "2001:db8::2:2%eth0", "2001:db8::3")):
        visitors.open(f"site {number}", address)
    visitors.open("other", "2001:db8:0:1::1")
    visitors.open("mapped 0", f"::ffff:{THERE}")
    visitors.open("mapped 1", THERE)
    visitors.open("mapped 2", f"::ffff:{THERE}")
    assert visitors.closed == ["site 0", "mapped 0"]


def test_files_limit_connections():
    """There are only as many connections as there may be open files for."""
    assert Visitors(100).all.most == 100
    assert Visitors(100, files=65_536).all.most == 100
    assert Visitors(100, files=248).all.most == 60
    assert Visitors(100, files=20).all.most == 1


def test_no_more_open_files(caplog: pytest.LogCaptureFixture):
    """
    A listener that cannot accept goes on once a connection has ended. Until then there are
    fewer, so that files are left for what the others need.
    """

    async def main() -> None:
        visitors = Visitors(100)
        opened = [visitors.open(str(number)) for number in range(40)]
        error = OSError(errno.EMFILE, "Too many open files")
        waiting = asyncio.create_task(visitors.all.wait_for_room(error))
        # It begins to wait.
        await asyncio.sleep(0)
        assert visitors.closed == [str(number) for number in range(10)]
        assert not waiting.done()
        assert opened[0] is not None
        opened[0].has_ended()
        await waiting
        visitors.open("another")
        assert visitors.closed[10:] == ["10"]

    asyncio.run(main())
    assert "No connection could be opened: Too many open files." in caplog.text


def test_flood_is_logged_once(caplog: pytest.LogCaptureFixture):
    """However many connections are closed, one line says so."""
    caplog.set_level(logging.INFO)
    visitors = Visitors(2, of_address=1)
    for number in range(50):
        visitors.open(str(number), HERE)
    for number in range(50):
        visitors.open(str(number), THERE)
    assert [record.getMessage() for record in caplog.records] == [
        f"There are {most} connections{whose}. To make room, those that came first are "
        "closed, of clients that have shown no key."
        for most, whose in ((2, ""), (1, " of one address"))
    ]


def test_only_the_secret_of_replicas_shows_a_replica():
    """Whatever else a client sends in its place changes nothing."""
    visitors = Visitors(most=1)
    visitors.all.relay_secret = "shared"
    connection = visitors.open("client")
    assert connection is not None
    for text in ("", "shared?", "\udcff"):
        connection.check_relay(text)
        assert not connection.is_relayed
    connection.check_relay("shared")
    assert connection.is_relayed
    assert connection.is_known
