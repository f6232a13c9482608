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
from yarl import URL

from fal_server.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: The addresses of IPv6 that can be public, and those that NAT64 translates to IPv4.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")

_LONGEST_URL = 2048

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


def check_url(url: str, allowed: Sequence[Network], what: str = "webhook") -> URL:
    """
    Return *url* if the server may send requests there. A name in it may still resolve to an
    address that it may not reach.

    Arguments:
        what: What the URL is of, in one word.

    Raises:
        Invalid: It may not.
    """
    if len(url) > _LONGEST_URL:
        raise Invalid(f"A {what} URL must have at most {_LONGEST_URL} characters.")
    try:
        # The client parses it the same way when it sends the request.
        parts = URL(url)
        host = parts.raw_host
    except ValueError as error:
        raise Invalid(f"The {what} is not a valid URL.") from error
    has_credentials = parts.raw_user is not None or parts.raw_password is not None
    if parts.scheme not in ("http", "https") or not host or has_credentials:
        raise Invalid(f"A {what} must be an HTTP or HTTPS URL without credentials.")
    if is_address(host) and not may_reach(host, allowed):
        raise Invalid(f"The {what} points to an address that {what}s may not reach.")
    return parts


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
