"""Webhook addresses: those that webhooks may reach, in any notation."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from typing import Any

import pytest

from fal_server.errors import Invalid
from fal_server.queue.webhook_addresses import (
    AddressForbidden,
    GuardedResolver,
    may_reach,
)


def test_addresses_of_allowed_networks(served_plane):
    """Webhooks may reach an allowed network, and no other private address."""
    webhooks = served_plane.plane.plane.queue.webhooks
    assert webhooks.check("http://127.0.0.2/")
    assert webhooks.check("http://[::ffff:127.0.0.2]/")
    with pytest.raises(Invalid):
        webhooks.check("http://127.0.0.3/")


@pytest.mark.parametrize(
    ("address", "reachable"),
    [
        ("93.184.215.14", True),
        ("127.0.0.1", False),
        ("10.0.0.1", False),
        ("100.64.0.1", False),
        ("169.254.169.254", False),
        ("224.0.0.1", False),
        ("0.0.0.0", False),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("::1", False),
        ("fe80::1%lo", False),
        ("fc00::1", False),
        ("ff0e::1", False),
        ("::127.0.0.1", False),
        ("fec0::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:93.184.215.14", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::5db8:d70e", True),
        ("2002:7f00:1::", False),
        ("words", False),
        ("10.20.0.1", True),
        ("::ffff:10.20.0.1", True),
        ("64:ff9b::a14:1", True),
        ("fd00::7", True),
    ],
)
def test_reachable_addresses(address: str, reachable: bool):
    """
    Public addresses are reached, and those of allowed networks, also where they stand in an
    address of IPv6.
    """
    allowed = [ipaddress.ip_network("10.20.0.0/16"), ipaddress.ip_network("fd00::/64")]
    assert may_reach(address, allowed) is reachable


def test_name_resolves_to_reachable_addresses_alone():
    """
    A name that resolves to forbidden addresses resolves to nothing, and says so; allowed
    ones are returned.
    """

    async def resolve(*allowed: str) -> list[str]:
        resolver = GuardedResolver([ipaddress.ip_network(each) for each in allowed])
        try:
            found = await resolver.resolve("localhost", 80, socket.AF_UNSPEC)
        finally:
            await resolver.close()
        return [each["host"] for each in found]

    with pytest.raises(AddressForbidden, match="localhost resolves to no address"):
        asyncio.run(resolve("10.0.0.0/8"))
    assert set(asyncio.run(resolve("127.0.0.0/8"))) == {"127.0.0.1"}


def test_names_that_take_long_hold_up_no_files(monkeypatch: pytest.MonkeyPatch):
    """Names that take long to be looked up hold up neither others nor work on files."""
    ended = threading.Event()
    look_up = socket.getaddrinfo

    def wait(host: str, *arguments: Any, **named: Any) -> Any:
        if host.startswith("slow"):
            ended.wait(60)
        return look_up("127.0.0.1", *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", wait)

    async def main() -> None:
        resolver = GuardedResolver([ipaddress.ip_network("127.0.0.0/8")])
        slow = [
            asyncio.ensure_future(resolver.resolve(f"slow{number}")) for number in range(64)
        ]
        try:
            (found,) = await resolver.resolve("quick", 80)
            assert (found["host"], found["port"]) == ("127.0.0.1", 80)
            assert await asyncio.to_thread(lambda: True)
            assert not any(each.done() for each in slow)
        finally:
            ended.set()
        await asyncio.gather(*slow)
        await resolver.close()

    asyncio.run(asyncio.wait_for(main(), 60))
