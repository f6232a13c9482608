"""
Webhook addresses: the addresses to which the server sends webhooks.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The addresses of IPv6 that can be public, and those that NAT64 translates to IPv4.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

#: How many names are looked up at once.
_LOOKUPS = 128


class AddressForbidden(OSError):
    """
    A host name resolves to no address that webhooks may reach.
    """


class GuardedResolver(AbstractResolver):
    """
    A resolver that returns public addresses, and those of *allowed* networks, only.

    The client connects to the addresses that it returns, so a name cannot resolve to
    another address between the check and the connection.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = tuple(allowed)
        # Of its own: names that take long to resolve must not hold up other work in threads.
        self._threads = ThreadPoolExecutor(_LOOKUPS, "webhook-lookup")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        look_up = functools.partial(
            socket.getaddrinfo,
            host,
            port,
            family=family,
            type=socket.SOCK_STREAM,
            flags=socket.AI_ADDRCONFIG,
        )
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        reachable = [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=int(address[1]),
                family=found_family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for found_family, _, protocol, _, address in found
            if may_reach(str(address[0]), self._allowed)
        ]
        if not reachable:
            raise AddressForbidden(f"{host} resolves to no address that webhooks may reach.")
        return reachable

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def may_reach(address: str, allowed: Sequence[Network]) -> bool:
    """
    Return whether *address* is public, or in one of the *allowed* networks.
    """
    try:
        unwrapped = _unwrap(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return False
    if any(unwrapped in network for network in allowed):
        return True
    public = unwrapped.is_global and not unwrapped.is_multicast
    return public and (unwrapped.version == 4 or unwrapped in _UNICAST)


def is_address(host: str) -> bool:
    """
    Return whether *host* is an address rather than a name, in any notation that the system
    accepts without a lookup, such as ``127.1``, ``2130706433`` and ``0x7f.1``.
    """
    last = host.rstrip(".").rpartition(".")[2].lower()
    return ":" in host or last.isdigit() or last.startswith("0x")


def _unwrap(address: Address) -> Address:
    """
    Return the IPv4 address that *address* embeds, or *address* itself.
    """
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
