"""Webhook addresses: the addresses to which the server sends webhooks."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from fal_core_worker.serving.addresses import is_address, is_public, read_address
from fal_server.errors import Invalid

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_LONGEST_URL = 2048

#: How many names are looked up at once.
_LOOKUPS = 128


class AddressForbidden(OSError):
    """A host name resolves to no address that webhooks may reach."""


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
    """Return whether *address* is public, or in one of the *allowed* networks."""
    try:
        found = read_address(address)
    except ValueError:
        return False
    return is_public(found) or any(found in network for network in allowed)
